-- A run that comes in: as OLD was, 400 days later, with the id NEW.
INSERT INTO weather_forecast_runs (id, run_initiation_time, target_forecast_time_utc, gfs_init_time_utc)
SELECT NEW, run_initiation_time + interval '400 days', target_forecast_time_utc + interval '400 days',
       gfs_init_time_utc + interval '400 days'
FROM weather_forecast_runs WHERE id = OLD;
INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time, status, verification_passed)
SELECT NEW, miner_uid, miner_hotkey, response_time, status, verification_passed
FROM weather_miner_responses WHERE run_id = OLD;
INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours,
    variable_level, valid_time_utc)
SELECT r.id, NEW, s.miner_uid, s.miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level, valid_time_utc
FROM weather_miner_scores s JOIN weather_miner_responses r ON r.run_id = NEW AND r.miner_uid = s.miner_uid
WHERE s.run_id = OLD;
INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at, completed_at)
SELECT NEW, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at, completed_at
FROM weather_forecast_steps WHERE run_id = OLD;
