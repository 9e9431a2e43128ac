-- weather_step_record(…): the one way to write a step. An upsert, keyed as the table is, NULL equal to NULL: the same news twice is one
-- row, and news may come late or twice, in any order.
--
--   before a try      pending, queued, waiting_for_truth
--   a try             in_progress
--   between tries     retry_scheduled
--   the end           failed (a later try or a late success is taken), succeeded (for good)
--
-- Refused (check_violation): a status that is none of these; going back before the first try once there was one, but for `queued` while a
-- retry is scheduled; a schedule without its time where no policy could tell one. Late news about a step that has succeeded changes no
-- more than the first start and the number of retries. Whatever comes, the first started_at stays and retry_count never falls.

CREATE OR REPLACE FUNCTION weather_step_transition(was text, becomes text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN becomes NOT IN ('pending', 'queued', 'waiting_for_truth', 'in_progress', 'retry_scheduled', 'failed', 'succeeded') THEN 'refused'
        -- The table may hold statuses of writers that we do not know; they are treated as if no try was made.
        WHEN was IS NULL OR was NOT IN ('in_progress', 'retry_scheduled', 'failed', 'succeeded') THEN 'taken'
        WHEN becomes IN ('pending', 'waiting_for_truth') OR becomes = 'queued' AND was <> 'retry_scheduled' THEN 'refused'
        WHEN was = 'succeeded' AND becomes <> 'succeeded' THEN 'late'
        ELSE 'taken' END
$$;

CREATE OR REPLACE FUNCTION weather_step_record(
    run integer, uid integer, hotkey text, step text, part text, lead integer, becomes text,
    started timestamptz DEFAULT NULL, completed timestamptz DEFAULT NULL, retries integer DEFAULT NULL,
    next_retry timestamptz DEFAULT NULL, latency integer DEFAULT NULL, error jsonb DEFAULT NULL, note jsonb DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    stored weather_forecast_steps;
    verdict text;
    tries integer;
BEGIN
    -- All news about a step wait for each other; what they wait for is committed before they look.
    PERFORM pg_advisory_xact_lock(hashtextextended(jsonb_build_array('step', run, uid, step, part, lead)::text, 0));
    SELECT * INTO stored FROM weather_forecast_steps s
    WHERE s.run_id = run AND s.miner_uid = uid AND s.step_name = step
      AND s.substep IS NOT DISTINCT FROM part AND s.lead_hours IS NOT DISTINCT FROM lead
    ORDER BY coalesce(s.completed_at, s.started_at) DESC NULLS LAST, s.id DESC LIMIT 1
    FOR UPDATE;

    verdict := weather_step_transition(stored.status, becomes);
    IF verdict = 'refused' THEN
        RAISE EXCEPTION 'step %/% of miner % in run % cannot become % from %', step, coalesce(part, '-'), uid, run, becomes,
            coalesce(stored.status, 'nothing') USING ERRCODE = 'check_violation';
    END IF;
    tries := greatest(coalesce(stored.retry_count, 0), coalesce(retries, 0));
    IF becomes = 'retry_scheduled' AND next_retry IS NULL THEN
        next_retry := coalesce(completed, now())
            + weather_retry_delay(weather_retry_policy(step), greatest(tries - 1, 0), concat_ws('/', run, uid, step, part, lead));
    END IF;

    IF stored.id IS NULL THEN
        INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at,
            completed_at, retry_count, next_retry_time, latency_ms, error_json, context)
        VALUES (run, uid, hotkey, step, part, lead, becomes, started,
            completed, tries, CASE WHEN becomes = 'retry_scheduled' THEN next_retry END, latency, error, note)
        RETURNING id INTO stored.id;
    ELSIF verdict = 'late' THEN
        UPDATE weather_forecast_steps s SET started_at = least(s.started_at, started), retry_count = tries
        WHERE s.id = stored.id
          AND (s.started_at IS DISTINCT FROM least(s.started_at, started) OR s.retry_count IS DISTINCT FROM tries);
    ELSE
        UPDATE weather_forecast_steps s
        SET miner_hotkey = hotkey, status = becomes, started_at = least(s.started_at, started),
            -- The same success again, without its time, does not lose it.
            completed_at = CASE WHEN s.status = 'succeeded' THEN coalesce(completed, s.completed_at) ELSE completed END,
            retry_count = tries,
            next_retry_time = CASE WHEN becomes = 'retry_scheduled' THEN next_retry END,
            latency_ms = CASE WHEN s.status = 'succeeded' THEN coalesce(latency, s.latency_ms) ELSE latency END,
            error_json = error, context = coalesce(note, s.context)
        WHERE s.id = stored.id;
    END IF;
    RETURN stored.id;
END $$;
