-- Takes the locks that a foreign key would take on miners and runs, but never waits for one: gives the ids that it got.
--
-- A correction that inserts rows must not wait while others wait for it, or a writer might get a deadlock error. Locking a row takes
-- the right to update its table, which the corrector's role does not have; so this runs with the rights of the tables' owner, and
-- can do nothing else with them. Nobody may call it until the corrector's role is given EXECUTE.

DO $$
BEGIN
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION recount_lock_parents(uids integer[], runs integer[], OUT uid integer, OUT run integer)
        RETURNS SETOF record LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = %1$I, pg_temp AS $body$
            SELECT n.uid, NULL::integer
            FROM (SELECT t.uid FROM %1$I.node_table t WHERE t.uid = ANY (uids) ORDER BY t.uid FOR KEY SHARE SKIP LOCKED) n
            UNION ALL
            SELECT NULL::integer, r.id
            FROM (SELECT t.id FROM %1$I.weather_forecast_runs t WHERE t.id = ANY (runs) ORDER BY t.id FOR KEY SHARE SKIP LOCKED) r
        $body$ $create$, current_schema());
    REVOKE ALL ON FUNCTION recount_lock_parents(integer[], integer[]) FROM PUBLIC;
END $$;
