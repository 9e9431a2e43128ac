-- What a correction does: the stored rollups and their wide columns become what the rules say, from the views of the rules.
DO $$
DECLARE
    derived text := (SELECT string_agg(format('%1$I = d.%1$I', a.attname), ', ') FROM pg_attribute a
                     WHERE a.attrelid = 'weather_forecast_rollups'::regclass AND a.attnum > 0);
    names text := (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
                   WHERE a.attrelid = 'weather_forecast_rollups'::regclass AND a.attnum > 0);
    wide record;
BEGIN
    EXECUTE format('UPDATE weather_forecast_stats s SET %s FROM weather_placed_rollups d
                    WHERE d.miner_uid = s.miner_uid AND d.forecast_run_id = s.forecast_run_id', derived);
    EXECUTE format('INSERT INTO weather_forecast_stats (%1$s) SELECT %1$s FROM weather_placed_rollups
                    ON CONFLICT (miner_uid, forecast_run_id) DO NOTHING', names);
    FOR wide IN SELECT a.attname, substring(a.attname::text FROM 'score_([0-9]+)h')::int AS lead FROM pg_attribute a
                WHERE a.attrelid = 'weather_forecast_stats'::regclass AND a.attname ~ '^era5_score_[0-9]+h$' AND NOT a.attisdropped LOOP
        EXECUTE format('UPDATE weather_forecast_stats s SET %I = (SELECT l.era5_score FROM weather_lead_scores l
                        WHERE l.run_id = s.run_id AND l.miner_uid = s.miner_uid AND l.lead_hours = %s)
                        WHERE EXISTS (SELECT FROM weather_forecast_rollups r WHERE r.run_id = s.run_id AND r.miner_uid = s.miner_uid)', wide.attname, wide.lead);
    END LOOP;
END $$;
