-- What the functions of Phase 3 name is the server's own or ours, whatever the search_path of a reader or writer says.

DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOREACH ours IN ARRAY ARRAY[
        'weather_retry_policy(text)', 'weather_retry_delay(weather_retry_policies, integer, text)', 'recount_rollups_of(integer)',
        'recount_subnet_members()', 'weather_step_transition(text, text)',
        'weather_step_record(integer, integer, text, text, text, integer, text, timestamptz, timestamptz, integer, timestamptz, integer, jsonb, jsonb)',
        'recount_is_registered(integer, text)', 'weather_due_steps(timestamptz)', 'weather_stale_steps(timestamptz)',
        'recount_is_picked_up(text, text, integer)', 'recount_is_leased(integer, integer, text, timestamptz)',
        'weather_next_era5_steps(timestamptz, interval, interval)']::regprocedure[]
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', ours, current_schema());
        EXECUTE format('ALTER FUNCTION %s SET standard_conforming_strings = on', ours);
    END LOOP;
END $$;
