-- I7 in SQL: the steps of miners, merged with their duplicates; `failed` tells a failure that no later success has superseded.

CREATE OR REPLACE VIEW weather_counted_steps AS
SELECT m.*, coalesce(m.completed_at, m.started_at) AS heard_at,
       m.status = 'failed' AND NOT coalesce(bool_or(m.status = 'succeeded') OVER (
           PARTITION BY m.run_id, m.miner_uid, m.step_name, coalesce(m.lead_hours, 0)
           ORDER BY coalesce(m.completed_at, m.started_at) NULLS FIRST, m.id
           ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), false) AS failed
FROM (
    SELECT DISTINCT ON (s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours)
           s.id, s.run_id, s.miner_uid, s.miner_hotkey, s.step_name, s.substep, s.lead_hours, s.status,
           min(s.started_at) OVER one AS started_at, s.completed_at,
           max(coalesce(s.retry_count, 0)) OVER one AS retry_count, s.next_retry_time, s.latency_ms, s.error_json
    FROM weather_forecast_steps s
    CROSS JOIN weather_scoring_rules c
    WHERE s.miner_hotkey <> 'coordinator' AND s.step_name <> ALL (c.run_level_steps)
    WINDOW one AS (PARTITION BY s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours)
    ORDER BY s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours,
             coalesce(s.completed_at, s.started_at) DESC NULLS LAST, s.id DESC
) m;
