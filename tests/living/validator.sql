-- A validator at work, as far as its statements on our tables go: what each part of it writes, when, and with which habits.
-- Times of evidence are given (the validator's clock); `updated_at` is the server's own, as in its statements.
CREATE SCHEMA played;

-- A number in [0, 1) that depends on the text alone.
CREATE FUNCTION played.unit(text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || substr(md5($1), 1, 8))::bit(32)::bigint / 4294967296.0::float8 $$;

CREATE FUNCTION played.run_name(init timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT format('forecast_%1$s_to_%1$s', to_char(init AT TIME ZONE 'UTC', 'YYYYMMDD_HH24')) $$;

-- One way to write a step: insert it, or go on with the one that is there.
CREATE FUNCTION played.step(run int, uid int, name text, sub text, lead int, state text, start timestamptz, finish timestamptz,
                            failure jsonb DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE weather_forecast_steps SET status = state, started_at = coalesce(start, started_at),
           completed_at = finish, error_json = failure, latency_ms = CASE WHEN finish IS NOT NULL THEN 900 END
    WHERE run_id = run AND miner_uid = uid AND step_name = name
      AND substep IS NOT DISTINCT FROM sub AND lead_hours IS NOT DISTINCT FROM lead;
    IF NOT FOUND THEN
        INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status,
                                            started_at, completed_at, error_json, latency_ms)
        SELECT run, n.uid, hotkey, name, sub, lead, state, start, finish, failure, CASE WHEN finish IS NOT NULL THEN 900 END
        FROM node_table n WHERE n.uid = step.uid;
    END IF;
END $$;

-- A new run: a rollup row and a pending Day-1 step for every miner. A second run of one initialisation takes over its rollup rows.
CREATE FUNCTION played.seed(init timestamptz) RETURNS int LANGUAGE plpgsql AS $$
DECLARE run int;
BEGIN
    INSERT INTO weather_forecast_runs (run_initiation_time, target_forecast_time_utc, gfs_init_time_utc, status)
    VALUES (init + interval '10 min', init, init, 'created') RETURNING id INTO run;
    INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, run_id, forecast_init_time, forecast_status,
                                        validator_hotkey)
    SELECT uid, hotkey, played.run_name(init), run, init, 'seeded', 'validator' FROM node_table
    ON CONFLICT (miner_uid, forecast_run_id) DO UPDATE SET run_id = excluded.run_id,
        forecast_init_time = excluded.forecast_init_time, forecast_status = excluded.forecast_status,
        validator_hotkey = excluded.validator_hotkey;
    INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, status)
    SELECT run, uid, hotkey, 'day1', 'pending' FROM node_table;
    INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, status, started_at, completed_at)
    SELECT run, uid, hotkey, 'seed', 'download_gfs', 'succeeded', init, init + interval '5 min'
    FROM node_table ORDER BY uid LIMIT 1;
    RETURN run;
END $$;

-- Miners are asked, and polled until their forecast is there. Of miner 4 every third run's forecast never is.
CREATE FUNCTION played.respond(run int, init timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE miner record; absent boolean;
BEGIN
    FOR miner IN SELECT * FROM node_table ORDER BY uid LOOP
        absent := miner.uid = 4 AND run % 3 = 0;
        INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time, status, verification_passed,
                                             inference_started_at, inference_completed_at, error_message)
        VALUES (run, miner.uid, miner.hotkey, init + interval '20 min', CASE WHEN absent THEN 'failed' ELSE 'forecast_ready' END,
                CASE WHEN NOT absent THEN true END, init + interval '21 min',
                CASE WHEN NOT absent THEN init + interval '51 min' END,
                CASE WHEN absent THEN 'inference did not end' END);
        PERFORM played.step(run, miner.uid, 'query', 'initiate_fetch', NULL, 'succeeded', init + interval '20 min', init + interval '21 min');
        UPDATE weather_forecast_stats SET current_forecast_status = 'polling_for_inference', last_error_message = 'Polling attempt 2/20'
        WHERE run_id = run AND miner_uid = miner.uid;
        IF absent THEN
            UPDATE weather_forecast_stats SET current_forecast_stage = 'inference_failed', current_forecast_status = 'failed',
                   last_error_message = 'inference did not end', updated_at = clock_timestamp(),
                   forecast_error_msg = '{"type": "inference_error", "message": "inference did not end"}'
            WHERE run_id = run AND miner_uid = miner.uid;
            PERFORM played.step(run, miner.uid, 'poll', 'status_check', NULL, 'failed', init + interval '50 min', init + interval '55 min',
                                '{"error": "inference did not end"}');
        ELSE
            UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 1800,
                   current_forecast_status = 'inference_complete', current_forecast_stage = 'awaiting_scoring', last_error_message = NULL
            WHERE run_id = run AND miner_uid = miner.uid;
            PERFORM played.step(run, miner.uid, 'inference', 'poll', NULL, 'succeeded', init + interval '51 min', init + interval '51 min');
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION played.score_day1(run int, init timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE answer record; score float8; at timestamptz := init + interval '80 min';
BEGIN
    FOR answer IN SELECT * FROM weather_miner_responses WHERE run_id = run AND status = 'forecast_ready' ORDER BY miner_uid LOOP
        score := played.unit(format('day1 %s %s', run, answer.miner_uid));
        INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, score, calculation_time, variable_level)
        VALUES (answer.id, run, answer.miner_uid, answer.miner_hotkey, 'day1_qc_score', score, at, 'overall_day1');
        INSERT INTO weather_forecast_component_scores (run_id, response_id, miner_uid, miner_hotkey, score_type, lead_hours,
                                                       valid_time_utc, variable_name, rmse, acc, skill_score, calculated_at)
        SELECT run, answer.id, answer.miner_uid, answer.miner_hotkey, 'day1', 12, init + interval '12 h', name,
               score + 1, score, score / 2, at FROM unnest(ARRAY['2t', 'msl']) name;
        UPDATE weather_forecast_stats s SET forecast_status = 'day1_scored', current_forecast_stage = 'day1_scored',
               forecast_score_initial = score, updated_at = clock_timestamp(),
               overall_forecast_score = 0.05 * CASE WHEN score >= 0.1 THEN 1 ELSE 0 END,
               (avg_rmse, avg_acc, avg_skill_score) = (SELECT avg(rmse), avg(acc), avg(skill_score) FROM weather_forecast_component_scores c
                                                       WHERE c.run_id = run AND c.miner_uid = s.miner_uid AND c.score_type = 'day1')
        WHERE run_id = run AND miner_uid = answer.miner_uid;
        PERFORM played.step(run, answer.miner_uid, 'day1', 'score', NULL, 'succeeded', at - interval '1 min', at);
        PERFORM played.step(run, answer.miner_uid, 'day1', NULL, NULL, 'succeeded', at - interval '1 min', at);
        UPDATE weather_miner_responses SET day1_scoring_completed_at = at WHERE id = answer.id;
    END LOOP;
END $$;

-- The score of one lead from its rows, by L2 to L4 of the rules.
CREATE FUNCTION played.lead_score(run int, uid int, lead int) RETURNS float8 LANGUAGE sql STABLE AS $$
    WITH scores AS (SELECT score_type, score FROM weather_miner_scores
                    WHERE run_id = run AND miner_uid = uid AND lead_hours = lead),
         errors AS (SELECT array_agg(score ORDER BY score) AS e FROM scores WHERE score_type LIKE 'era5\_rmse\_%')
    SELECT 0.6 * (SELECT avg(least(greatest(score, 0), 1)) FROM scores WHERE score_type LIKE 'era5\_skill\_%')
         + 0.3 * (SELECT avg((score + 1) / 2) FROM scores WHERE score_type LIKE 'era5\_acc\_%')
         + 0.1 * (SELECT avg(1 / (1 + x / e[cardinality(e) / 2 + 1])) FROM errors, unnest(e) x) $$;

-- Whatever truth has come out by now: a lead is known five days after its hour, and not scored twice.
CREATE FUNCTION played.score_era5(now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE due record; value float8; at timestamptz := now + interval '7 h';
BEGIN
    FOR due IN
        SELECT a.id, a.run_id, a.miner_uid, a.miner_hotkey, r.gfs_init_time_utc AS init, lead
        FROM weather_miner_responses a JOIN weather_forecast_runs r ON r.id = a.run_id, generate_series(24, 240, 24) lead
        WHERE a.status = 'forecast_ready' AND r.gfs_init_time_utc + make_interval(hours => lead, days => 5) <= now
          AND NOT EXISTS (SELECT FROM weather_miner_scores s WHERE s.response_id = a.id AND s.lead_hours = lead)
        ORDER BY a.run_id, a.miner_uid, lead
    LOOP
        INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, score, calculation_time,
                                          lead_hours, variable_level, valid_time_utc)
        SELECT due.id, due.run_id, due.miner_uid, due.miner_hotkey, format('era5_%s_%s_%sh', kind, name, due.lead),
               played.unit(format('%s %s %s %s %s', due.run_id, due.miner_uid, due.lead, kind, name)) * 0.9 + 0.05,
               at, due.lead, name, due.init + make_interval(hours => due.lead)
        FROM unnest(ARRAY['rmse', 'acc', 'skill_gfs']) kind, unnest(ARRAY['2t', '10u', '10v', 'msl', 't', 'u', 'v', 'q', 'z']) name;
        INSERT INTO weather_forecast_component_scores (run_id, response_id, miner_uid, miner_hotkey, score_type, lead_hours,
                                                       valid_time_utc, variable_name, rmse, acc, skill_score, calculated_at)
        SELECT run_id, response_id, miner_uid, miner_hotkey, 'era5', lead_hours, valid_time_utc, variable_level,
               score, score / 2, score / 3, at
        FROM weather_miner_scores WHERE response_id = due.id AND lead_hours = due.lead AND score_type LIKE 'era5\_rmse\_%';
        value := played.lead_score(due.run_id, due.miner_uid, due.lead);
        EXECUTE format('UPDATE weather_forecast_stats SET era5_score_%sh = $1 WHERE run_id = $2 AND miner_uid = $3', due.lead)
            USING value, due.run_id, due.miner_uid;
        UPDATE weather_forecast_stats s SET
               (era5_combined_score, era5_completeness) = (SELECT coalesce(sum(v), 0) / 10, count(v) / 10.0::float8 FROM played.leads(s) v),
               forecast_status = CASE WHEN due.lead = 240 THEN 'completed' ELSE 'era5_scoring' END,
               current_forecast_stage = CASE WHEN due.lead = 240 THEN 'completed' ELSE 'era5_scoring' END,
               (avg_rmse, avg_acc, avg_skill_score) = (SELECT avg(rmse), avg(acc), avg(skill_score) FROM weather_forecast_component_scores c
                                                       WHERE c.run_id = due.run_id AND c.miner_uid = due.miner_uid AND c.score_type = 'era5'),
               updated_at = clock_timestamp()
        WHERE run_id = due.run_id AND miner_uid = due.miner_uid;
        UPDATE weather_forecast_stats SET overall_forecast_score = 0.95 * era5_combined_score
               + 0.05 * CASE WHEN forecast_score_initial >= 0.1 THEN 1 ELSE 0 END
        WHERE run_id = due.run_id AND miner_uid = due.miner_uid;
        PERFORM played.step(due.run_id, due.miner_uid, 'era5', 'score', due.lead, 'succeeded', at - interval '1 min', at);
    END LOOP;
END $$;

CREATE FUNCTION played.leads(s weather_forecast_stats) RETURNS SETOF float8 LANGUAGE sql STABLE AS $$
    SELECT v FROM (VALUES (s.era5_score_24h), (s.era5_score_48h), (s.era5_score_72h), (s.era5_score_96h), (s.era5_score_120h),
                          (s.era5_score_144h), (s.era5_score_168h), (s.era5_score_192h), (s.era5_score_216h), (s.era5_score_240h)) l (v) $$;

-- Every ten minutes: ranks of the newest runs, and the lifetime rows.
CREATE FUNCTION played.aggregate() RETURNS void LANGUAGE sql AS $$
    UPDATE weather_forecast_stats w SET miner_rank = ranked.position
    FROM (SELECT id, dense_rank() OVER (PARTITION BY run_id ORDER BY era5_combined_score DESC NULLS LAST) AS position
          FROM weather_forecast_stats) ranked
    WHERE w.id = ranked.id AND w.miner_rank IS DISTINCT FROM ranked.position;
    INSERT INTO miner_stats (miner_uid, miner_hotkey, miner_rank, avg_forecast_score, successful_forecasts, failed_forecasts,
        forecast_success_ratio, hosting_successes, hosting_failures, host_reliability_ratio, avg_day1_score, avg_era5_score,
        avg_era5_completeness, best_forecast_score, worst_forecast_score, score_std_dev, last_successful_forecast,
        last_failed_forecast, first_seen, last_active, total_inference_time, avg_inference_time, common_errors, error_rate_by_type,
        validator_hotkey, updated_at)
    SELECT w.miner_uid, (SELECT miner_hotkey FROM weather_forecast_stats l WHERE l.miner_uid = w.miner_uid
                         ORDER BY updated_at DESC NULLS LAST LIMIT 1), max(miner_rank), avg(era5_combined_score),
        count(*) FILTER (WHERE forecast_status = 'completed'), count(*) FILTER (WHERE forecast_status = 'failed'),
        count(*) FILTER (WHERE forecast_status = 'completed')::float8 / count(*), 0, 0, 0, avg(forecast_score_initial),
        avg((SELECT coalesce(sum(v), 0) / 10 FROM played.leads(w) v)), avg((SELECT count(v) / 10.0 FROM played.leads(w) v)),
        max(era5_combined_score), min(era5_combined_score), stddev(era5_combined_score),
        max(updated_at) FILTER (WHERE forecast_status = 'completed'), max(updated_at) FILTER (WHERE forecast_status = 'failed'),
        min(created_at), max(created_at), coalesce(sum(forecast_inference_duration_seconds), 0),
        avg(forecast_inference_duration_seconds),
        (SELECT jsonb_object_agg(kind, n) FROM (SELECT forecast_error_msg ->> 'type' AS kind, count(*) AS n FROM weather_forecast_stats e
                                                WHERE e.miner_uid = w.miner_uid AND forecast_error_msg IS NOT NULL
                                                GROUP BY 1 ORDER BY n DESC, kind LIMIT 5) kinds),
        CASE WHEN count(forecast_error_msg) > 0
             THEN jsonb_build_object('10day', count(forecast_error_msg)::float8 / count(*)) END,
        'validator', clock_timestamp()
    FROM weather_forecast_stats w GROUP BY miner_uid
    ON CONFLICT (miner_uid) DO UPDATE SET miner_hotkey = excluded.miner_hotkey, miner_rank = excluded.miner_rank,
        avg_forecast_score = excluded.avg_forecast_score, successful_forecasts = excluded.successful_forecasts,
        failed_forecasts = excluded.failed_forecasts, forecast_success_ratio = excluded.forecast_success_ratio,
        avg_day1_score = excluded.avg_day1_score, avg_era5_score = excluded.avg_era5_score,
        avg_era5_completeness = excluded.avg_era5_completeness, best_forecast_score = excluded.best_forecast_score,
        worst_forecast_score = excluded.worst_forecast_score, score_std_dev = excluded.score_std_dev,
        last_successful_forecast = excluded.last_successful_forecast, last_failed_forecast = excluded.last_failed_forecast,
        first_seen = excluded.first_seen, last_active = excluded.last_active, total_inference_time = excluded.total_inference_time,
        avg_inference_time = excluded.avg_inference_time, common_errors = excluded.common_errors,
        error_rate_by_type = excluded.error_rate_by_type, updated_at = excluded.updated_at;
$$;

-- At 00 and 12 UTC, over the last 32 runs, the newest first: nothing scored is 0.0 here.
CREATE FUNCTION played.recompute() RETURNS void LANGUAGE plpgsql AS $$
DECLARE run int;
BEGIN
    FOR run IN SELECT id FROM weather_forecast_runs ORDER BY id DESC LIMIT 32 LOOP
        UPDATE weather_forecast_stats s SET
            (era5_combined_score, era5_completeness) = (SELECT coalesce(sum(v), 0) / 10, count(v) / 10.0::float8 FROM played.leads(s) v),
            overall_forecast_score = 0.95 * (SELECT coalesce(sum(v), 0) / 10 FROM played.leads(s) v)
                                     + 0.05 * CASE WHEN forecast_score_initial >= 0.1 THEN 1 ELSE 0 END,
            updated_at = clock_timestamp()
        WHERE run_id = run;
    END LOOP;
END $$;

CREATE FUNCTION played.retain(now timestamptz) RETURNS void LANGUAGE sql AS $$
    DELETE FROM weather_forecast_steps WHERE coalesce(completed_at, started_at) < now - interval '30 days'
        AND status NOT IN ('pending', 'in_progress', 'retry_scheduled', 'waiting_for_truth');
    DELETE FROM weather_forecast_runs WHERE gfs_init_time_utc < now - interval '90 days';
$$;

-- A uid that another miner has taken over: what its former one was scored by goes, in all runs.
CREATE FUNCTION played.change_hotkey(uid int) RETURNS void LANGUAGE sql AS $$
    UPDATE node_table SET hotkey = hotkey || '-new' WHERE node_table.uid = change_hotkey.uid;
    DELETE FROM weather_miner_responses WHERE miner_uid = uid;
$$;
