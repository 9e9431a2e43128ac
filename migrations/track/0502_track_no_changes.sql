-- Takes back 0501: the triggers go with the functions that they call.

DO $$
DECLARE
    place name;
BEGIN
    SELECT n.nspname INTO STRICT place
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'weather_miner_scores'::regclass;
    EXECUTE format('DROP FUNCTION IF EXISTS %1$I.recount_stamp_runs() CASCADE', place);
    EXECUTE format('DROP FUNCTION IF EXISTS %1$I.recount_stamp_units() CASCADE', place);
    EXECUTE format('DROP FUNCTION IF EXISTS %1$I.recount_prune_stamps(interval)', place);
    DROP TABLE IF EXISTS recount_tracking, recount_touched_runs, recount_touched_units;
END $$;
