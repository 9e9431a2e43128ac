-- Roles for recount, written by `recount init`. Run it once as a superuser (or as the owner of the validator's tables, with CREATEROLE),
-- in the validator's database:
--
--   psql -X -v ON_ERROR_STOP=1 -1 -f roles.sql "$OWNER_URL"
--
-- and again after `recount migrate`, whose tables it gives to the corrector. What is there already stays as it is. Passwords stand in the
-- files *.env beside this one; here is only what the server checks them by.
DO $roles$
DECLARE
    place name; owner name; owner_is_superuser boolean; thing record;
    evidence CONSTANT name[] := ARRAY['node_table', 'weather_forecast_runs', 'weather_miner_responses', 'weather_miner_scores',
        'weather_forecast_component_scores', 'weather_forecast_steps', 'weather_legacy_lead_scores'];
    rollups CONSTANT name[] := ARRAY['weather_forecast_stats', 'miner_stats', 'weather_subnet_stats'];
    audit CONSTANT name[] := ARRAY['rollup_jobs', 'rollup_corrections'];
    tracking CONSTANT name[] := ARRAY['recount_migrations', 'recount_tracking', 'recount_touched_runs', 'recount_touched_units',
        'rollup_phase2_changes'];
    -- Where recount's own tables are, once `recount migrate` has run; before, the migrator needs it.
    ours CONSTANT name := 'recount';
BEGIN
    SELECT n.nspname, pg_get_userbyid(c.relowner), r.rolsuper INTO STRICT place, owner, owner_is_superuser
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
    WHERE c.relname = 'weather_forecast_runs' AND c.relkind IN ('r', 'p');

    -- The reader: it can read, and nothing else.
    IF to_regrole('recount_reader') IS NULL THEN
        CREATE ROLE recount_reader LOGIN PASSWORD '@READER@' CONNECTION LIMIT 8;
    ELSE
        RAISE NOTICE 'recount_reader is there already and keeps its password: put that into recount.env';
    END IF;
    ALTER ROLE recount_reader SET default_transaction_read_only = on;
    -- The corrector: it can change the rollups, and adds to what is written down of that.
    IF to_regrole('recount_corrector') IS NULL THEN
        CREATE ROLE recount_corrector LOGIN PASSWORD '@CORRECTOR@' CONNECTION LIMIT 8;
    ELSE
        RAISE NOTICE 'recount_corrector is there already and keeps its password: put that into corrector.env';
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO recount_reader, recount_corrector', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO recount_corrector', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO recount_reader, recount_corrector', place);

    IF to_regnamespace(ours) IS NULL AND has_database_privilege(current_database(), 'CREATE') THEN
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', ours, owner);
    END IF;
    IF to_regnamespace(ours) IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO recount_reader, recount_corrector', ours);
    END IF;

    FOR thing IN SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname IN (place, ours) AND c.relkind IN ('r', 'p', 'v', 'm') LOOP
        IF thing.relname = ANY (evidence || rollups || audit || tracking) THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO recount_reader, recount_corrector', thing.nspname, thing.relname);
        END IF;
        IF thing.relname = ANY (rollups) AND thing.relkind IN ('r', 'p') THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I.%I TO recount_corrector', thing.nspname, thing.relname);
        ELSIF thing.relname = ANY (audit) AND thing.relkind IN ('r', 'p') THEN
            EXECUTE format('GRANT INSERT ON %I.%I TO recount_corrector', thing.nspname, thing.relname);
        END IF;
    END LOOP;
    -- The numbers of new rows.
    FOR thing IN SELECT s.relname FROM pg_class s JOIN pg_namespace n ON n.oid = s.relnamespace
                 JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i') JOIN pg_class c ON c.oid = d.refobjid
                 WHERE n.nspname = place AND s.relkind = 'S' AND c.relname = ANY (rollups) LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %I.%I TO recount_corrector', place, thing.relname);
    END LOOP;
    IF to_regprocedure(format('%I.recount_lock_parents(integer[], integer[])', place)) IS NOT NULL THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.recount_lock_parents(integer[], integer[]) TO recount_corrector', place);
    END IF;
    -- Tables to come can be read as soon as their owner makes them.
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT SELECT ON TABLES TO recount_reader, recount_corrector',
                   owner, place);

    -- The migrator: for `recount migrate`, `phase2` and `phase3`. It acts as the owner of the validator's tables, which owns what it makes.
    IF owner_is_superuser THEN
        RAISE NOTICE 'the validator''s tables belong to the superuser %: no role can stand for it, so migrate as that role', owner;
    ELSE
        IF to_regrole('recount_migrator') IS NULL THEN
            CREATE ROLE recount_migrator LOGIN PASSWORD '@MIGRATOR@' CONNECTION LIMIT 8;
        ELSE
            RAISE NOTICE 'recount_migrator is there already and keeps its password: put that into migrator.env';
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO recount_migrator', current_database());
        EXECUTE format('GRANT %I TO recount_migrator', owner);
        EXECUTE format('ALTER ROLE recount_migrator SET role = %L', owner);
    END IF;
EXCEPTION
    WHEN no_data_found THEN RAISE EXCEPTION 'there is no table weather_forecast_runs: connect to the validator''s database';
    WHEN too_many_rows THEN RAISE EXCEPTION 'weather_forecast_runs is in several schemas: drop or rename those that are not the validator''s';
END $roles$;
