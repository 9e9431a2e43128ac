-- From here on the triggers of 0103 leave DO UPDATE to PostgreSQL, where the key of 0105 is there.
--
-- That is not the moment at which the index becomes valid: a statement may have been planned before it, without regard to the index, and
-- run after it. Replacing the trigger waits for all transactions that have written steps, and whoever plans a statement after that
-- takes the index into account.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('recount_steps_one_per_key') AND indisvalid) THEN
        CREATE OR REPLACE TRIGGER recount_steps_statement BEFORE INSERT OR UPDATE ON weather_forecast_steps
            FOR EACH STATEMENT EXECUTE FUNCTION recount_steps_statement('native');
    END IF;
END $$;
