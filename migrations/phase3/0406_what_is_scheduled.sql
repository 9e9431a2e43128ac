-- What `recount steps recover` may schedule beside a living validator: only what its scheduler picks up, one lead of a pair at a time, and
-- nothing that one of its jobs has in hand. The rest is told of, and becomes `not scheduled`.

-- The kinds of steps that the validator's scheduler turns into jobs.
CREATE OR REPLACE FUNCTION recount_is_picked_up(step text, part text, lead integer) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(step = 'seed' AND part = 'download_gfs' OR step = 'era5' AND part = 'score' AND lead > 0, false)
$$;

-- Whether a job of the validator has a step of a run and miner in hand, or waits to. A lease that has run out is no lease. Databases without
-- the queue, or with one of another shape, have none.
CREATE OR REPLACE FUNCTION recount_is_leased(run integer, uid integer, step text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    jobs regclass := to_regclass('validator_jobs');
    leased boolean;
BEGIN
    IF jobs IS NULL OR 5 > (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = jobs AND NOT a.attisdropped
                            AND a.attname IN ('job_type', 'status', 'run_id', 'miner_uid', 'lease_expires_at')) THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s j WHERE j.run_id = $1 AND j.miner_uid = $2 AND j.job_type::text = $3
                        AND (j.status::text IN (''pending'', ''retry_scheduled'')
                             OR j.status::text IN (''in_progress'', ''claimed'') AND coalesce(j.lease_expires_at > $4, true)))', jobs)
        INTO leased USING run, uid, 'weather.' || step, at;
    RETURN leased;
END $$;

-- As before, but for what nobody would pick up and what somebody has in hand.
CREATE OR REPLACE FUNCTION weather_stale_steps(at timestamptz)
RETURNS TABLE (step_id bigint, run_id integer, miner_uid integer, step_name text, substep text, lead_hours integer,
               becomes text, retries integer, next_retry_time timestamptz, why text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT s.id, s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours,
           CASE WHEN k.reason IS NOT NULL THEN 'not scheduled' WHEN c.again THEN 'retry_scheduled' ELSE 'failed' END,
           s.retry_count + (c.again AND k.reason IS NULL)::integer,
           CASE WHEN c.again AND k.reason IS NULL THEN at + weather_retry_delay(c.policy, s.retry_count,
               concat_ws('/', s.run_id, s.miner_uid, s.step_name, s.substep, s.lead_hours)) END,
           concat_ws(', ', 'left in progress', coalesce(k.reason, CASE WHEN c.again THEN NULL WHEN c.registered THEN 'retries are used up'
                                                                       ELSE 'the miner is not registered' END))
    FROM weather_counted_steps s
    CROSS JOIN LATERAL (SELECT p AS policy, r AS registered, r AND s.retry_count < (p).max_retries AS again
                        FROM weather_retry_policy(s.step_name) p, recount_is_registered(s.miner_uid, s.miner_hotkey) r) c
    CROSS JOIN LATERAL (SELECT CASE WHEN recount_is_leased(s.run_id, s.miner_uid, s.step_name, at) THEN 'a job of the validator has it'
                                    WHEN c.again AND NOT recount_is_picked_up(s.step_name, s.substep, s.lead_hours)
                                        THEN 'the validator''s scheduler does not pick up this kind' END AS reason) k
    WHERE s.status = 'in_progress' AND s.completed_at IS NULL AND s.started_at < at - (c.policy).stale_after
      AND NOT EXISTS (SELECT FROM weather_forecast_steps l
                      WHERE l.run_id = s.run_id AND l.miner_uid = s.miner_uid AND l.step_name = s.step_name
                        AND coalesce(l.lead_hours, 0) = coalesce(s.lead_hours, 0)
                        AND l.status = 'succeeded' AND coalesce(l.completed_at, l.started_at) >= s.started_at)
    ORDER BY s.run_id, s.miner_uid, s.id
$$;

-- Of each run and miner the earliest lead whose truth is due and that has neither a step nor a score: the validator goes from lead to lead by
-- itself. None where a step of a lead is on its way. In runs that go on, of registered miners whose forecast stands.
DROP FUNCTION IF EXISTS weather_missing_era5_steps(timestamptz, interval, interval);
CREATE OR REPLACE FUNCTION weather_next_era5_steps(at timestamptz, delay interval, buffer interval)
RETURNS TABLE (run_id integer, miner_uid integer, miner_hotkey text, lead_hours integer, becomes text, next_retry_time timestamptz, why text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT m.run_id, m.miner_uid, m.miner_hotkey, m.lead,
           CASE WHEN k.reason IS NULL THEN 'retry_scheduled' ELSE 'not scheduled' END,
           CASE WHEN k.reason IS NULL THEN at + weather_retry_delay(weather_retry_policy('era5'), 0,
               concat_ws('/', m.run_id, m.miner_uid, 'era5', 'score', m.lead)) END,
           concat_ws(', ', 'its truth is due', k.reason)
    FROM (
        SELECT DISTINCT ON (r.run_id, r.miner_uid) r.run_id, r.miner_uid, r.miner_hotkey, r.verification_passed, lead
        FROM weather_forecast_runs w
        JOIN weather_miner_responses r ON r.run_id = w.id
        CROSS JOIN weather_scoring_rules c
        CROSS JOIN LATERAL unnest(c.expected_leads) lead
        WHERE w.completion_time IS NULL AND w.status NOT IN ('completed', 'failed', 'error')
          AND w.gfs_init_time_utc + lead * interval '1 hour' + delay + buffer <= at
          AND r.status <> ALL (c.failed_response_statuses) AND r.verification_passed IS NOT FALSE
          AND recount_is_registered(r.miner_uid, r.miner_hotkey)
          AND NOT EXISTS (SELECT FROM weather_forecast_steps s WHERE s.run_id = r.run_id AND s.miner_uid = r.miner_uid
                          AND s.step_name = 'era5' AND (s.lead_hours = lead OR s.substep = 'score' AND s.lead_hours > 0
                              AND s.status IN ('pending', 'queued', 'in_progress', 'retry_scheduled', 'waiting_for_truth')))
          AND NOT EXISTS (SELECT FROM weather_lead_scores l WHERE l.run_id = r.run_id AND l.miner_uid = r.miner_uid
                          AND l.lead_hours = lead AND l.scored)
        ORDER BY r.run_id, r.miner_uid, lead
    ) m
    CROSS JOIN LATERAL (
        SELECT CASE WHEN m.verification_passed IS NOT TRUE THEN 'its response is not verified'
                    WHEN recount_is_leased(m.run_id, m.miner_uid, 'era5', at) THEN 'a job of the validator has it'
                    WHEN EXISTS (SELECT FROM weather_forecast_steps f WHERE f.run_id = m.run_id AND f.miner_uid = m.miner_uid
                                 AND f.step_name = 'era5' AND f.substep = 'score' AND f.lead_hours < m.lead AND f.status = 'failed'
                                 AND NOT EXISTS (SELECT FROM weather_lead_scores l WHERE l.run_id = f.run_id AND l.miner_uid = f.miner_uid
                                                 AND l.lead_hours = f.lead_hours AND l.scored))
                        THEN 'an earlier lead has failed' END AS reason
    ) k
    ORDER BY m.run_id, m.miner_uid
$$;
