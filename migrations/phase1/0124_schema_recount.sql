-- What is recount's alone lives in a schema of its own, so that the validator's migrations never meet it: here the tables that are there
-- already, later phases move theirs as they make them. Views, steps and what else stands on the validator's tables stay beside these.
-- RC001 is a refusal of ours: recount shows its hint.

DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'weather_forecast_runs'::regclass);
BEGIN
    IF to_regnamespace('recount') IS NULL THEN
        IF NOT has_database_privilege(current_database(), 'CREATE') THEN
            RAISE EXCEPTION 'recount keeps its own tables in a schema recount, and the role % may not create it', current_user
                USING ERRCODE = 'RC001',
                      HINT = format('as a superuser or the database''s owner: CREATE SCHEMA recount AUTHORIZATION %I', owner);
        END IF;
        EXECUTE format('CREATE SCHEMA recount AUTHORIZATION %I', owner);
        COMMENT ON SCHEMA recount IS 'what recount writes down: jobs, corrections, proofs, stamps of changes';
    -- Somebody else's could hold anything under our names.
    ELSIF NOT (SELECT pg_get_userbyid(nspowner) = current_user OR pg_has_role(nspowner, owner, 'MEMBER')
               FROM pg_namespace WHERE nspname = 'recount') THEN
        RAISE EXCEPTION 'the schema recount belongs to the role %', (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'recount')
            USING ERRCODE = 'RC001',
                  HINT = format('recount keeps its own tables in a schema of this name: rename that one, or ALTER SCHEMA recount OWNER TO %I', owner);
    END IF;
    -- The tables have rights of their own, which move with them.
    GRANT USAGE ON SCHEMA recount TO PUBLIC;
END $$;

-- Moves tables of ours from the validator's schema, and has the functions of our triggers write to them where they now are. Of a table that
-- an older file has made anew, empty, beside the one that was moved, one goes: the new one, unless that file's views read it.
CREATE OR REPLACE FUNCTION recount.take(validator name, VARIADIC names text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    name text;
    definition text;
    has_rows boolean;
    is_read boolean;
    columns text;
BEGIN
    -- Whose tables are in a schema of this name has them where they belong.
    IF validator = 'recount' THEN
        RETURN;
    END IF;
    FOREACH name IN ARRAY names LOOP
        CONTINUE WHEN to_regclass(format('%I.%I', validator, name)) IS NULL;
        IF to_regclass(format('recount.%I', name)) IS NULL THEN
            EXECUTE format('ALTER TABLE %I.%I SET SCHEMA recount', validator, name);
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', validator, name) INTO has_rows;
            IF has_rows THEN
                RAISE EXCEPTION '% has rows in the schema % and is in the schema recount too', name, validator
                    USING ERRCODE = 'RC001', HINT = 'keep the rows that you need in recount, and empty the other table';
            END IF;
            SELECT EXISTS (SELECT FROM pg_depend d WHERE d.refobjid = to_regclass(format('%I.%I', validator, name))
                           AND d.classid = 'pg_rewrite'::regclass) INTO is_read;
            IF is_read THEN
                SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns FROM pg_attribute a
                WHERE a.attrelid = to_regclass(format('recount.%I', name)) AND a.attnum > 0 AND NOT a.attisdropped;
                EXECUTE format('INSERT INTO %1$I.%2$I (%3$s) SELECT %3$s FROM recount.%2$I', validator, name, columns);
                EXECUTE format('DROP TABLE recount.%I', name);
                EXECUTE format('ALTER TABLE %I.%I SET SCHEMA recount', validator, name);
            ELSE
                EXECUTE format('DROP TABLE %I.%I', validator, name);
            END IF;
        END IF;
    END LOOP;
    FOR definition IN
        SELECT pg_get_functiondef(p.oid) FROM pg_proc p
        WHERE p.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = validator)
          AND p.proname IN ('recount_watch_writes', 'recount_stamp_runs', 'recount_stamp_units', 'recount_prune_stamps')
    LOOP
        FOREACH name IN ARRAY names LOOP
            definition := replace(definition, format(' %I.%I', validator, name), format(' recount.%I', name));
        END LOOP;
        EXECUTE definition;
    END LOOP;
END $body$;
REVOKE ALL ON FUNCTION recount.take(name, text[]) FROM PUBLIC;

-- Who refers to another one comes before it.
SELECT recount.take(current_schema(), 'recount_migrations', 'rollup_corrections', 'rollup_step_changes', 'rollup_jobs',
                    'rollup_phase2_changes', 'rollup_phase2_proofs', 'rollup_phase2_watch', 'rollup_phase2_writes',
                    'recount_tracking', 'recount_touched_runs', 'recount_touched_units');
