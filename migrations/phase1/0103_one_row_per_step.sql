-- From here on a second write of a step leaves one row, where substep or lead_hours is NULL too.
--
-- The trouble: in the writers' own unique constraint NULLs are different, so their ON CONFLICT never sees a conflict there; and a second
-- unique index that does see it makes their statement fail, for it is none of those that the statement asked about. So the row is
-- brought to the one that is there before PostgreSQL looks for conflicts, by the triggers below. Keys without NULL are none of their
-- business: the constraint does its work.
--
-- PostgreSQL 15 and later: once recount_steps_one_per_key (NULLS NOT DISTINCT, migrations 0105 and 0106) is there, ON CONFLICT takes it
-- into account along with the constraint, as it is on the same columns. Then DO UPDATE is left to PostgreSQL: it does exactly what the
-- writer's SET list says, and RETURNING works. There the triggers only catch INSERTs without DO UPDATE. (A writer that names the
-- constraint, ON CONFLICT ON CONSTRAINT …, asks about that one alone, and gets a unique violation for a second NULL key.)
--
-- PostgreSQL 14, and any version while that index is built: the triggers stand in for DO UPDATE. They don't know its SET list, and do
-- this: status, completed_at, next_retry_time, latency_ms, error_json and miner_hotkey become those of the new row, for they are one
-- statement about the step; context and columns of which we know nothing (job_id) do so where the new row has a value; the first
-- started_at and the greatest retry_count are kept. The INSERT then reports no row: none in RETURNING, none in the count.
--
-- An INSERT without DO UPDATE (a plain one, or DO NOTHING; a trigger cannot tell them apart) takes the place of the stored row only if it
-- is about something later, by coalesce(completed_at, started_at), as if both rows were there and merged (rule I7). Seeding a run again,
-- with rows that are pending and have no time, changes nothing.
--
-- Two transactions that write the same new key wait for each other by an advisory lock for each key, held until the end of the
-- transaction as a unique index would hold it; with recount_steps_one_per_key there is none, the index does it. On PostgreSQL 14 this
-- bounds how many new steps with NULL keys one transaction can write (max_locks_per_transaction × max_connections, 6,400 by default).
-- REPEATABLE READ and SERIALIZABLE writers get an error, to be retried, where another one has written the same key meanwhile: as ever.

-- Notes how the table is being written, for the rows that follow. DO UPDATE runs the statement triggers of INSERT, then those of UPDATE,
-- and only then the row triggers of INSERT. The argument `native` comes with migration 0106.
CREATE OR REPLACE FUNCTION recount_steps_statement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key_index regclass := to_regclass(format('%I.recount_steps_one_per_key', TG_TABLE_SCHEMA));
    native boolean := TG_NARGS > 0 AND EXISTS (SELECT FROM pg_index WHERE indexrelid = key_index AND indisvalid);
BEGIN
    PERFORM set_config('recount.steps_do_update', CASE TG_OP WHEN 'UPDATE' THEN 'on' ELSE 'off' END, true);
    PERFORM set_config('recount.steps_native', CASE WHEN native THEN 'on' ELSE 'off' END, true);
    RETURN NULL;
END $$;

-- Brings a row with a NULL in its key to the stored row of that key, if there is one, and lets it in otherwise.
CREATE OR REPLACE FUNCTION recount_steps_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    do_update text := coalesce(current_setting('recount.steps_do_update', true), 'off');
    native text := coalesce(current_setting('recount.steps_native', true), 'off');
    steps text := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    stored record;
    extra text;
BEGIN
    IF native = 'on' AND do_update = 'on' THEN
        RETURN NEW;
    END IF;
    IF native = 'off' THEN
        -- Held until the end of the transaction. Each statement below sees what was committed while we waited.
        PERFORM pg_advisory_xact_lock(hashtextextended(
            jsonb_build_array(NEW.run_id, NEW.miner_uid, NEW.step_name, NEW.substep, NEW.lead_hours)::text, TG_RELID::bigint));
    END IF;

    EXECUTE format('SELECT id, started_at, completed_at FROM %s
                    WHERE run_id = $1 AND miner_uid = $2 AND step_name = $3
                      AND substep IS NOT DISTINCT FROM $4 AND lead_hours IS NOT DISTINCT FROM $5
                    ORDER BY coalesce(completed_at, started_at) DESC NULLS LAST, id DESC LIMIT 1 FOR UPDATE', steps)
        INTO stored USING NEW.run_id, NEW.miner_uid, NEW.step_name, NEW.substep, NEW.lead_hours;
    IF stored.id IS NULL THEN
        RETURN NEW;
    END IF;

    IF do_update = 'on' OR coalesce(NEW.completed_at, NEW.started_at)
                           >= coalesce(stored.completed_at, stored.started_at, '-infinity') THEN
        SELECT string_agg(format(', %1$I = coalesce(($1).%1$I, s.%1$I)', attname), '') INTO extra
        FROM pg_attribute
        WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
          AND attname <> ALL ('{id,run_id,miner_uid,miner_hotkey,step_name,substep,lead_hours,status,started_at,completed_at,retry_count,
                                next_retry_time,latency_ms,error_json}'::name[]);
        EXECUTE format('UPDATE %s s SET status = ($1).status, completed_at = ($1).completed_at,
                            next_retry_time = ($1).next_retry_time, latency_ms = ($1).latency_ms, error_json = ($1).error_json,
                            miner_hotkey = ($1).miner_hotkey, started_at = least(s.started_at, ($1).started_at),
                            retry_count = greatest(s.retry_count, ($1).retry_count) %s
                        WHERE id = $2', steps, extra)
            USING NEW, stored.id;
    ELSE
        EXECUTE format('UPDATE %s s SET started_at = least(s.started_at, $1), retry_count = greatest(s.retry_count, $2)
                        WHERE id = $3 AND (s.started_at IS DISTINCT FROM least(s.started_at, $1)
                                           OR s.retry_count IS DISTINCT FROM greatest(s.retry_count, $2))', steps)
            USING NEW.started_at, NEW.retry_count, stored.id;
    END IF;
    -- The UPDATE above was noted as well; the next row of this INSERT must not be taken for a part of it.
    PERFORM set_config('recount.steps_do_update', do_update, true);
    RETURN NULL;
END $$;

-- Again from its beginning, when this file is run a second time: 0106 follows.
CREATE OR REPLACE TRIGGER recount_steps_statement BEFORE INSERT OR UPDATE ON weather_forecast_steps
    FOR EACH STATEMENT EXECUTE FUNCTION recount_steps_statement();

CREATE OR REPLACE TRIGGER recount_steps_row BEFORE INSERT ON weather_forecast_steps
    FOR EACH ROW WHEN (NEW.substep IS NULL OR NEW.lead_hours IS NULL) EXECUTE FUNCTION recount_steps_row();
