-- Section 5 of the rules in SQL: the rollup of each miner in each run (R), from scores, components, steps and responses alone.
--
-- One view for each part, each with one row for a (run, miner), and one that puts them together.

-- R2: of several valid Day-1 scores the latest.
CREATE OR REPLACE VIEW weather_day1_scores AS
SELECT DISTINCT ON (run_id, miner_uid) run_id, miner_uid, score, calculation_time
FROM weather_latest_scores
WHERE score_type = 'day1_qc_score' AND recount_finite(score)
ORDER BY run_id, miner_uid, calculation_time DESC, id DESC;

-- R5: the means over the components, ERA5's where there are any, else Day-1's.
CREATE OR REPLACE VIEW weather_component_means AS
SELECT run_id, miner_uid,
       recount_double(recount_mean(sum(rmse::numeric), count(rmse))) AS avg_rmse,
       recount_double(recount_mean(sum(acc::numeric), count(acc))) AS avg_acc,
       recount_double(recount_mean(sum(skill_score::numeric), count(skill_score))) AS avg_skill_score
FROM (
    SELECT l.run_id, l.miner_uid, l.score_type = max(l.score_type) OVER (PARTITION BY l.run_id, l.miner_uid) AS counts,
           CASE WHEN recount_finite(l.rmse) THEN l.rmse END AS rmse,
           CASE WHEN recount_finite(l.acc) THEN l.acc END AS acc,
           CASE WHEN recount_finite(l.skill_score) THEN l.skill_score END AS skill_score
    FROM (
        -- 'era5' comes after 'day1'.
        SELECT DISTINCT ON (s.run_id, s.miner_uid, s.score_type, s.lead_hours, s.variable_name, s.pressure_level)
               s.run_id, s.miner_uid, s.score_type, s.rmse, s.acc, s.skill_score
        FROM weather_forecast_component_scores s
        JOIN weather_miner_responses r ON r.id = s.response_id AND r.run_id = s.run_id AND r.miner_uid = s.miner_uid
        WHERE s.score_type IN ('era5', 'day1')
        ORDER BY s.run_id, s.miner_uid, s.score_type, s.lead_hours, s.variable_name, s.pressure_level, s.calculated_at DESC, s.id DESC
    ) l
) m
WHERE counts
GROUP BY run_id, miner_uid;

-- R8, R9, R10, R11: what the steps say.
CREATE OR REPLACE VIEW weather_step_summaries AS
SELECT run_id, miner_uid,
       (array_agg(miner_hotkey ORDER BY id DESC))[1] AS miner_hotkey,
       (array_agg(step_name ORDER BY heard_at DESC NULLS LAST, id DESC))[1] AS step_name,
       (array_agg(lead_hours ORDER BY heard_at DESC NULLS LAST, id DESC))[1] AS lead_hours,
       (array_agg(status ORDER BY heard_at DESC NULLS LAST, id DESC))[1] AS status,
       (array_agg(retry_count ORDER BY heard_at DESC NULLS LAST, id DESC))[1] AS retry_count,
       min(next_retry_time) FILTER (WHERE status = 'retry_scheduled') AS next_scheduled_retry,
       bool_or(failed) AS failed,
       max(heard_at) FILTER (WHERE failed) AS failed_at,
       (array_agg(error_json ORDER BY heard_at DESC NULLS LAST, id DESC)
           FILTER (WHERE (failed OR status = 'retry_scheduled') AND recount_is_error(error_json)))[1] AS error_json,
       (array_agg(status ORDER BY heard_at DESC NULLS LAST, id DESC) FILTER (WHERE probe))[1] AS probe_status,
       (array_agg(latency_ms ORDER BY heard_at DESC NULLS LAST, id DESC) FILTER (WHERE probe))[1] AS probe_latency_ms,
       (array_agg(error_json ORDER BY heard_at DESC NULLS LAST, id DESC) FILTER (WHERE probe))[1] AS probe_error
FROM (
    SELECT s.*, s.status IN ('succeeded', 'failed')
                AND (s.step_name, s.substep) IN (('fetch', 'kerchunk'), ('verify', 'open_store')) IS TRUE AS probe
    FROM weather_counted_steps s
) p
GROUP BY run_id, miner_uid;

-- R3: the leads together.
CREATE OR REPLACE VIEW weather_era5_scores AS
SELECT run_id, miner_uid, count(*) FILTER (WHERE scored) AS scored, max(last_calculation) AS last_calculation,
       sum(era5_score::numeric) / (SELECT cardinality(expected_leads) FROM weather_scoring_rules) AS combined
FROM weather_lead_scores
GROUP BY run_id, miner_uid;

-- The parts side by side, for every (run, miner) that has a response or a step (I8).
CREATE OR REPLACE VIEW weather_rollup_parts AS
SELECT k.run_id, k.miner_uid,
       coalesce(r.miner_hotkey, s.miner_hotkey) AS miner_hotkey,
       format('forecast_%s_to_%s', to_char(w.gfs_init_time_utc AT TIME ZONE 'UTC', 'YYYYMMDD_HH24'),
              to_char(w.target_forecast_time_utc AT TIME ZONE 'UTC', 'YYYYMMDD_HH24')) AS forecast_run_id,
       w.gfs_init_time_utc AS forecast_init_time,
       r.id IS NOT NULL AS responded, r.response_time, r.verification_passed, r.error_message, r.inference_started_at,
       r.inference_completed_at, d.score AS day1, coalesce(e.scored, 0) AS scored, e.combined, e.last_calculation,
       m.avg_rmse, m.avg_acc, m.avg_skill_score,
       s.step_name, s.lead_hours, s.status AS step_status, s.retry_count, s.next_scheduled_retry, s.failed_at, s.error_json,
       s.probe_status, s.probe_latency_ms, s.probe_error,
       CASE WHEN e.scored = cardinality(c.expected_leads) THEN 'completed'
            WHEN r.status = ANY (c.failed_response_statuses) OR s.failed THEN 'failed'
            WHEN e.scored > 0 THEN 'era5_scoring'
            WHEN d.score IS NOT NULL THEN 'day1_scored'
            WHEN r.id IS NOT NULL THEN 'input_received'
            ELSE 'pending' END AS forecast_status
FROM (
    SELECT run_id, miner_uid FROM weather_miner_responses
    UNION
    SELECT s.run_id, s.miner_uid FROM weather_forecast_steps s CROSS JOIN weather_scoring_rules c
    WHERE s.miner_hotkey <> 'coordinator' AND s.step_name <> ALL (c.run_level_steps)
) k
JOIN weather_forecast_runs w ON w.id = k.run_id
CROSS JOIN weather_scoring_rules c
LEFT JOIN weather_miner_responses r ON r.run_id = k.run_id AND r.miner_uid = k.miner_uid
LEFT JOIN weather_step_summaries s ON s.run_id = k.run_id AND s.miner_uid = k.miner_uid
LEFT JOIN weather_day1_scores d ON d.run_id = k.run_id AND d.miner_uid = k.miner_uid
LEFT JOIN weather_era5_scores e ON e.run_id = k.run_id AND e.miner_uid = k.miner_uid
LEFT JOIN weather_component_means m ON m.run_id = k.run_id AND m.miner_uid = k.miner_uid;

-- R: the columns of weather_forecast_stats that the rules define, under its names and in its types.
CREATE OR REPLACE VIEW weather_forecast_rollups AS
SELECT p.miner_uid, p.miner_hotkey,
       CASE WHEN p.combined IS NOT NULL THEN (CASE c.rank_method
           WHEN 'dense' THEN dense_rank() OVER (PARTITION BY p.run_id ORDER BY recount_double(p.combined) DESC NULLS LAST)
           ELSE rank() OVER (PARTITION BY p.run_id ORDER BY recount_double(p.combined) DESC NULLS LAST) END)::integer
       END AS miner_rank,
       p.forecast_run_id::varchar(100) AS forecast_run_id, p.run_id, p.forecast_init_time,
       p.forecast_status::varchar(50) AS forecast_status,
       (CASE WHEN p.forecast_status = 'completed' THEN 'complete'
             WHEN p.step_name IS NULL THEN p.forecast_status
             WHEN p.step_name = 'era5' AND p.lead_hours > 0 THEN format('era5_scoring_%sh', p.lead_hours)
             WHEN p.step_name = 'era5' THEN 'era5_scoring'
             WHEN p.step_name = 'day1' THEN 'day1_scoring'
             WHEN p.step_name = 'verify' THEN 'verification'
             WHEN p.step_name = 'query' THEN 'inference_requested'
             WHEN p.step_name IN ('poll', 'inference') THEN 'inference_running'
             ELSE p.step_name END)::varchar(100) AS current_forecast_stage,
       (CASE WHEN p.forecast_status = 'completed' THEN 'completed'
             ELSE CASE p.step_status WHEN 'pending' THEN 'initialized' WHEN 'succeeded' THEN 'completed' WHEN 'failed' THEN 'error'
                                     WHEN 'retry_scheduled' THEN 'waiting_retry' ELSE p.step_status END
        END)::varchar(50) AS current_forecast_status,
       p.error ->> 'message' AS last_error_message,
       (CASE WHEN p.step_name IS NULL THEN coalesce((c.max_retries ->> 'default')::bigint, 3)
             ELSE greatest(0, coalesce(c.max_retries ->> p.step_name, c.max_retries ->> 'default', '3')::bigint - p.retry_count)
        END)::integer AS retries_remaining,
       p.next_scheduled_retry,
       p.error AS forecast_error_msg,
       p.day1 + 0.0 AS forecast_score_initial,
       recount_double(p.combined) AS era5_combined_score,
       p.scored::double precision / cardinality(c.expected_leads) AS era5_completeness,
       CASE WHEN p.scored > 0 OR p.day1 IS NOT NULL THEN recount_double(least(greatest(
           ((c.era5_weight * coalesce(recount_double(p.combined), 0)
             + c.day1_weight * CASE WHEN p.day1 >= c.day1_pass_threshold THEN 1 ELSE 0 END)
            / (c.era5_weight + c.day1_weight))::numeric, 0), 1)) END AS overall_forecast_score,
       p.avg_rmse, p.avg_acc, p.avg_skill_score,
       CASE WHEN isfinite(p.inference_started_at) AND isfinite(p.inference_completed_at) AND seconds BETWEEN 0 AND 2147483647
            THEN seconds::integer END AS forecast_inference_duration_seconds,
       (CASE p.probe_status
             WHEN 'succeeded' THEN 'accessible'
             WHEN 'failed' THEN CASE recount_error_class((p.probe ->> 'type') || ' ' || coalesce(p.probe ->> 'message', ''))
                 WHEN 'timeout' THEN 'timeout' WHEN 'connection' THEN 'inaccessible' WHEN 'not_found' THEN 'inaccessible'
                 ELSE 'error' END
             ELSE CASE p.verification_passed WHEN true THEN 'accessible' WHEN false THEN 'inaccessible' END
        END)::varchar(50) AS hosting_status,
       CASE WHEN p.probe_status = 'succeeded' THEN p.probe_latency_ms END AS hosting_latency_ms
FROM (
    SELECT q.*,
           CASE WHEN q.forecast_status <> 'completed'
                THEN recount_error(coalesce(q.error_json, to_jsonb(q.error_message))) END AS error,
           CASE WHEN q.probe_status = 'failed' THEN recount_error(q.probe_error) END AS probe,
           floor(extract(epoch FROM q.inference_completed_at) - extract(epoch FROM q.inference_started_at)) AS seconds
    FROM weather_rollup_parts q
) p
CROSS JOIN weather_scoring_rules c;
