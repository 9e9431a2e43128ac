-- What the functions of Phase 1 name is the server's own or the validator's, whatever the search_path of a writer says.

DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOREACH ours IN ARRAY ARRAY['recount_steps_statement()', 'recount_steps_row()', 'recount_lock_parents(integer[], integer[])']::regprocedure[]
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', ours, current_schema());
    END LOOP;
END $$;
