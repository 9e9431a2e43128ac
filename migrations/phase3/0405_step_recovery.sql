-- What `recount steps` finds: steps to try now, steps that were left behind, steps that are missing. Functions of the time, so that a past
-- night can be asked about.

-- A miner is registered while node_table has its uid under the hotkey that answered.
CREATE OR REPLACE FUNCTION recount_is_registered(uid integer, hotkey text) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT FROM node_table n WHERE n.uid = $1 AND n.hotkey = $2)
$$;

-- Scheduled retries whose time has come, and that the policy still allows.
CREATE OR REPLACE FUNCTION weather_due_steps(at timestamptz) RETURNS SETOF weather_forecast_steps
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT s.* FROM weather_forecast_steps s
    WHERE s.status = 'retry_scheduled' AND s.next_retry_time <= at
      AND s.retry_count <= (weather_retry_policy(s.step_name)).max_retries
      AND recount_is_registered(s.miner_uid, s.miner_hotkey)
    ORDER BY s.next_retry_time, s.id
$$;

-- Steps that were left in progress, and what becomes of them: `retry_scheduled` with a time, or `failed` for good. One whose work was done
-- by a later success of the same step and lead is left alone.
CREATE OR REPLACE FUNCTION weather_stale_steps(at timestamptz)
RETURNS TABLE (step_id bigint, run_id integer, miner_uid integer, step_name text, substep text, lead_hours integer,
               becomes text, retries integer, next_retry_time timestamptz, why text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT s.id, s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours,
           CASE WHEN c.again THEN 'retry_scheduled' ELSE 'failed' END,
           s.retry_count + c.again::integer,
           CASE WHEN c.again THEN at + weather_retry_delay(c.policy, s.retry_count,
               concat_ws('/', s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours)) END,
           CASE WHEN c.again THEN 'left in progress' WHEN c.registered THEN 'left in progress, retries are used up'
                ELSE 'left in progress, the miner is not registered' END
    FROM weather_counted_steps s
    CROSS JOIN LATERAL (SELECT p AS policy, r AS registered, r AND s.retry_count < (p).max_retries AS again
                        FROM weather_retry_policy(s.step_name) p, recount_is_registered(s.miner_uid, s.miner_hotkey) r) c
    WHERE s.status = 'in_progress' AND s.completed_at IS NULL AND s.started_at < at - (c.policy).stale_after
      AND NOT EXISTS (SELECT FROM weather_forecast_steps l
                      WHERE l.run_id = s.run_id AND l.miner_uid = s.miner_uid AND l.step_name = s.step_name
                        AND coalesce(l.lead_hours, 0) = coalesce(s.lead_hours, 0)
                        AND l.status = 'succeeded' AND coalesce(l.completed_at, l.started_at) >= s.started_at)
    ORDER BY s.run_id, s.miner_uid, s.id
$$;

-- Leads whose truth is due and that have neither a step nor a score: in runs that go on, of registered miners whose forecast stands.
CREATE OR REPLACE FUNCTION weather_missing_era5_steps(at timestamptz, delay interval, buffer interval)
RETURNS TABLE (run_id integer, miner_uid integer, miner_hotkey text, lead_hours integer)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT r.run_id, r.miner_uid, r.miner_hotkey, lead
    FROM weather_forecast_runs w
    JOIN weather_miner_responses r ON r.run_id = w.id
    CROSS JOIN weather_scoring_rules c
    CROSS JOIN LATERAL unnest(c.expected_leads) lead
    WHERE w.completion_time IS NULL AND w.status NOT IN ('completed', 'failed', 'error')
      AND w.gfs_init_time_utc + lead * interval '1 hour' + delay + buffer <= at
      AND r.status <> ALL (c.failed_response_statuses) AND r.verification_passed IS NOT FALSE
      AND recount_is_registered(r.miner_uid, r.miner_hotkey)
      AND NOT EXISTS (SELECT FROM weather_forecast_steps s WHERE s.run_id = r.run_id AND s.miner_uid = r.miner_uid
                      AND s.step_name = 'era5' AND s.lead_hours = lead)
      AND NOT EXISTS (SELECT FROM weather_lead_scores l WHERE l.run_id = r.run_id AND l.miner_uid = r.miner_uid
                      AND l.lead_hours = lead AND l.scored)
    ORDER BY r.run_id, r.miner_uid, lead
$$;

-- The steps that responses and scores tell of and the log does not. A name that a miner's log of a run knows is left to the log, whatever
-- its substep; ERA5 is looked at lead by lead.
--
-- They are made so that no score, status or error of a rollup changes: a failure takes the response's own error and time, and what the
-- hosting status is read from is not invented. Stage and stage status (R8) do follow the log, as they should.
CREATE OR REPLACE VIEW weather_untold_steps AS
SELECT t.run_id, t.miner_uid, t.miner_hotkey, t.step_name, t.substep, t.lead_hours, t.status, t.started_at, t.completed_at, t.error_json
FROM (
    SELECT r.run_id, r.miner_uid, r.miner_hotkey, 'query' AS step_name, 'initiate_fetch' AS substep, NULL::integer AS lead_hours,
           'succeeded' AS status, NULL::timestamptz AS started_at, coalesce(r.job_accepted_at, r.response_time) AS completed_at,
           NULL::jsonb AS error_json
    FROM weather_miner_responses r
    UNION ALL
    SELECT r.run_id, r.miner_uid, r.miner_hotkey, 'inference', 'poll', NULL, 'succeeded', r.inference_started_at,
           r.inference_completed_at, NULL
    FROM weather_miner_responses r
    WHERE r.inference_completed_at >= r.inference_started_at
    UNION ALL
    SELECT r.run_id, r.miner_uid, r.miner_hotkey, 'verify', 'manifest', NULL,
           CASE WHEN r.verification_passed THEN 'succeeded' ELSE 'failed' END, NULL,
           CASE WHEN r.verification_passed THEN coalesce(r.manifest_frozen_at, r.response_time) ELSE r.response_time END,
           CASE WHEN NOT r.verification_passed AND r.error_message <> '' THEN jsonb_build_object('message', r.error_message) END
    FROM weather_miner_responses r CROSS JOIN weather_scoring_rules c
    WHERE r.verification_passed OR r.verification_passed = false AND r.status = ANY (c.failed_response_statuses)
    UNION ALL
    SELECT r.run_id, r.miner_uid, r.miner_hotkey, 'day1', 'score', NULL, 'succeeded', NULL, d.calculation_time, NULL
    FROM weather_day1_scores d
    JOIN weather_miner_responses r ON r.run_id = d.run_id AND r.miner_uid = d.miner_uid
    UNION ALL
    SELECT r.run_id, r.miner_uid, r.miner_hotkey, 'era5', 'score', l.lead_hours, 'succeeded', NULL, l.last_calculation, NULL
    FROM weather_lead_scores l
    JOIN weather_miner_responses r ON r.run_id = l.run_id AND r.miner_uid = l.miner_uid
    WHERE l.scored
) t
WHERE NOT EXISTS (
    SELECT FROM weather_forecast_steps s
    WHERE s.run_id = t.run_id AND s.miner_uid = t.miner_uid
      AND CASE t.step_name WHEN 'era5' THEN s.step_name = 'era5' AND s.substep = 'score' AND s.lead_hours = t.lead_hours
                           WHEN 'inference' THEN s.step_name IN ('inference', 'poll')
                           ELSE s.step_name = t.step_name END);

-- What a job of `recount steps` changed, row by row, for its undo: no `before`, the step was made.
CREATE TABLE IF NOT EXISTS rollup_step_changes (
    job_id uuid NOT NULL REFERENCES rollup_jobs (id) ON DELETE CASCADE,
    step_id bigint NOT NULL,
    before jsonb,
    after jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS rollup_step_changes_job ON rollup_step_changes (job_id);
