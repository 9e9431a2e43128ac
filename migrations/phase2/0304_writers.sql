-- Who writes weather_forecast_stats: a writer that still names a wide column fails once the column is gone, and one that writes the table at
-- all fails once a view has its place. `recount phase2 watch` puts triggers on the table that note them; `recount phase2 check` reads it.

CREATE TABLE IF NOT EXISTS rollup_phase2_watch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_by text NOT NULL DEFAULT current_user,
    -- The triggers as the catalogue had them: one that was switched off meanwhile, or made anew, is another one.
    triggers text NOT NULL
);

-- At most about one row a minute for each kind of statement and session that writes.
CREATE TABLE IF NOT EXISTS rollup_phase2_writes (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    role text NOT NULL,
    application text NOT NULL,
    -- INSERT, UPDATE, DELETE or TRUNCATE.
    statement text NOT NULL,
    -- It names a wide column, or no columns at all.
    wide boolean NOT NULL
);
CREATE INDEX IF NOT EXISTS rollup_phase2_writes_seen ON rollup_phase2_writes (role, application, statement, wide, at);

-- With the rights of its owner, since a writer has none on these tables; and with names of its own schema alone. Whatever fails here is a
-- warning: no statement of a writer fails for being watched.
DO $$
BEGIN
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION recount_watch_writes() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        SET standard_conforming_strings = on AS $body$
        DECLARE
            writer text := coalesce(current_setting('application_name', true), '');
            query text := coalesce(current_query(), '');
            names boolean := TG_ARGV[0] = 'wide';
            -- The table's name in a statement, with or without schema, quotes and alias.
            stats constant text := '([\w"]+\.)?"?weather_forecast_stats"?(\s+as\s+[\w"]+)?\s*';
        BEGIN
            -- recount itself knows both shapes.
            IF writer ~ '^recount( |$)' THEN
                RETURN NULL;
            END IF;
            -- An INSERT that names a column gives it a value, NULL perhaps; one without a list of columns names them all.
            IF TG_OP = 'INSERT' THEN
                names := query ~ '\yera5_score_[0-9]+h\y'
                    OR query ~* ('\yinsert\s+into\s+' || stats) AND query !~* ('\yinsert\s+into\s+' || stats || '\(')
                    OR query ~* ('\ycopy\s+' || stats) AND query !~* ('\ycopy\s+' || stats || '\(');
            END IF;
            INSERT INTO %1$I.rollup_phase2_writes (role, application, statement, wide)
            SELECT session_user, writer, TG_OP, names
            WHERE NOT EXISTS (
                SELECT FROM %1$I.rollup_phase2_writes w
                WHERE w.role = session_user::text AND w.application = writer AND w.statement = TG_OP AND w.wide = names
                  AND w.at > clock_timestamp() - interval '1 minute');
            RETURN NULL;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'recount could not note a write of weather_forecast_stats: %%', SQLERRM;
            RETURN NULL;
        END $body$ $create$,
        (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'rollup_phase2_writes'::regclass));
    REVOKE ALL ON FUNCTION recount_watch_writes() FROM PUBLIC;
END $$;
