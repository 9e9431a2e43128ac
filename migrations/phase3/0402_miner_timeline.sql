-- A miner's steps of a run in their order, with duration and sanitized error (E1, E2). Asked for one run and miner, an index answers.

CREATE OR REPLACE VIEW weather_miner_timeline AS
SELECT s.run_id, s.miner_uid, s.miner_hotkey,
       row_number() OVER (PARTITION BY s.run_id, s.miner_uid
                          ORDER BY coalesce(s.started_at, s.completed_at) NULLS LAST, s.completed_at NULLS LAST, s.id)::integer AS place,
       s.step_name, s.substep, s.lead_hours, s.status, s.started_at, s.completed_at,
       CASE WHEN s.completed_at >= s.started_at THEN extract(epoch FROM s.completed_at - s.started_at)::double precision
       END AS duration_seconds,
       s.latency_ms, s.retry_count, s.next_retry_time,
       recount_error(s.error_json) ->> 'type' AS error_type,
       recount_error(s.error_json) ->> 'message' AS error_message,
       s.id AS step_id
FROM weather_counted_steps s;
