-- Records which runs and units each transaction writes to, so that an incremental job reads these again and no others.
--
-- Triggers for each statement stamp the runs of its rows, as they were and as they are. They fire whatever
-- `session_replication_role` says, and run with the rights of the tables' owner, so the validator's role needs none on the stamps.
-- recount trusts the stamps only as long as no trigger was disabled, dropped or made anew, and no table was replaced.
--
-- Safe to run again: what is in force stays as it is, since jobs take a trigger that was made anew for one that was missing.

DO $$
DECLARE
    place name;
    owner name;
    watched record;
    event text;
    rows_of text;
    there record;
BEGIN
    SELECT n.nspname, pg_get_userbyid(c.relowner) INTO STRICT place, owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'weather_miner_scores'::regclass;

    IF to_regclass('recount_tracking') IS NULL THEN
        EXECUTE format($create$
            -- One stamp for each transaction and run: more would only repeat it.
            CREATE TABLE recount.recount_touched_runs (
                xid xid8 NOT NULL,
                run_id bigint NOT NULL,
                at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (xid, run_id)
            );
            -- The same for stored rows. No more than the beginning of a name, which bounds what the index has to hold.
            CREATE TABLE recount.recount_touched_units (
                xid xid8 NOT NULL,
                forecast_run_id text NOT NULL,
                at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (xid, forecast_run_id)
            );
            CREATE TABLE recount.recount_tracking (
                one boolean PRIMARY KEY DEFAULT true CHECK (one),
                -- Stamps of transactions up to this one may be gone.
                pruned_through xid8 NOT NULL,
                since timestamptz NOT NULL DEFAULT now()
            );
            INSERT INTO recount.recount_tracking (pruned_through) VALUES (pg_current_xact_id());

            CREATE OR REPLACE FUNCTION %1$I.recount_stamp_runs() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
            BEGIN
                -- Restored without our schema, the triggers must not stop the validator; jobs see that the stamps are gone.
                IF to_regclass('recount.recount_touched_runs') IS NULL THEN
                    RETURN NULL;
                END IF;
                IF TG_OP = 'INSERT' THEN
                    INSERT INTO recount.recount_touched_runs (xid, run_id)
                    SELECT DISTINCT pg_current_xact_id(), n.run_id FROM new_rows n WHERE n.run_id IS NOT NULL
                    ON CONFLICT DO NOTHING;
                ELSIF TG_OP = 'DELETE' THEN
                    INSERT INTO recount.recount_touched_runs (xid, run_id)
                    SELECT DISTINCT pg_current_xact_id(), o.run_id FROM old_rows o WHERE o.run_id IS NOT NULL
                    ON CONFLICT DO NOTHING;
                ELSE
                    INSERT INTO recount.recount_touched_runs (xid, run_id)
                    SELECT pg_current_xact_id(), t.run_id
                    FROM (SELECT o.run_id FROM old_rows o UNION SELECT n.run_id FROM new_rows n) t WHERE t.run_id IS NOT NULL
                    ON CONFLICT DO NOTHING;
                END IF;
                RETURN NULL;
            END $body$;

            CREATE OR REPLACE FUNCTION %1$I.recount_stamp_units() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
            BEGIN
                IF to_regclass('recount.recount_touched_units') IS NULL THEN
                    RETURN NULL;
                END IF;
                IF TG_OP = 'INSERT' THEN
                    INSERT INTO recount.recount_touched_units (xid, forecast_run_id)
                    SELECT DISTINCT pg_current_xact_id(), left(n.forecast_run_id::text, 100) FROM new_rows n
                    WHERE n.forecast_run_id IS NOT NULL ON CONFLICT DO NOTHING;
                ELSIF TG_OP = 'DELETE' THEN
                    INSERT INTO recount.recount_touched_units (xid, forecast_run_id)
                    SELECT DISTINCT pg_current_xact_id(), left(o.forecast_run_id::text, 100) FROM old_rows o
                    WHERE o.forecast_run_id IS NOT NULL ON CONFLICT DO NOTHING;
                ELSE
                    INSERT INTO recount.recount_touched_units (xid, forecast_run_id)
                    SELECT DISTINCT pg_current_xact_id(), left(t.forecast_run_id::text, 100)
                    FROM (SELECT o.forecast_run_id FROM old_rows o UNION SELECT n.forecast_run_id FROM new_rows n) t
                    WHERE t.forecast_run_id IS NOT NULL ON CONFLICT DO NOTHING;
                END IF;
                RETURN NULL;
            END $body$;

            -- Removes the stamps that are older than this, and gives their number. A job whose state is older reads everything.
            CREATE OR REPLACE FUNCTION %1$I.recount_prune_stamps(keep interval) RETURNS bigint
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
            DECLARE
                last xid8;
                pruned bigint;
            BEGIN
                WITH runs AS (DELETE FROM recount.recount_touched_runs WHERE at < now() - keep RETURNING xid),
                     units AS (DELETE FROM recount.recount_touched_units WHERE at < now() - keep RETURNING xid),
                     gone AS (SELECT xid FROM runs UNION ALL SELECT xid FROM units)
                SELECT (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1), (SELECT count(*) FROM gone) INTO last, pruned;
                UPDATE recount.recount_tracking SET pruned_through = last WHERE last > pruned_through;
                RETURN pruned;
            END $body$;

            REVOKE ALL ON FUNCTION %1$I.recount_stamp_runs(), %1$I.recount_stamp_units() FROM PUBLIC;
            REVOKE ALL ON FUNCTION %1$I.recount_prune_stamps(interval) FROM PUBLIC;
            -- They hold nothing but numbers of transactions and runs, and every job must read them.
            GRANT SELECT ON recount.recount_touched_runs, recount.recount_touched_units, recount.recount_tracking TO PUBLIC;

            ALTER TABLE recount.recount_touched_runs OWNER TO %2$I;
            ALTER TABLE recount.recount_touched_units OWNER TO %2$I;
            ALTER TABLE recount.recount_tracking OWNER TO %2$I;
            ALTER FUNCTION %1$I.recount_stamp_runs() OWNER TO %2$I;
            ALTER FUNCTION %1$I.recount_stamp_units() OWNER TO %2$I;
            ALTER FUNCTION %1$I.recount_prune_stamps(interval) OWNER TO %2$I;
        $create$, place, owner);
    END IF;

    FOR watched IN
        SELECT c.oid::regclass AS name, c.oid, t.stamp
        FROM (VALUES ('weather_miner_responses', 'recount_stamp_runs'), ('weather_miner_scores', 'recount_stamp_runs'),
                     ('weather_forecast_component_scores', 'recount_stamp_runs'), ('weather_forecast_steps', 'recount_stamp_runs'),
                     ('weather_forecast_stats', 'recount_stamp_units')) AS t (name, stamp)
        JOIN pg_class c ON c.oid = to_regclass(format('%I.%I', place, t.name)) AND c.relkind = 'r'
    LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete'] LOOP
            SELECT g.tgenabled = 'A' AND f.proname = watched.stamp AND f.pronamespace = quote_ident(place)::regnamespace AS in_force INTO there
            FROM pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid
            WHERE g.tgrelid = watched.oid AND g.tgname = 'recount_track_' || event;
            CONTINUE WHEN there.in_force;
            rows_of := CASE event WHEN 'insert' THEN 'NEW TABLE AS new_rows' WHEN 'delete' THEN 'OLD TABLE AS old_rows'
                                  ELSE 'OLD TABLE AS old_rows NEW TABLE AS new_rows' END;
            EXECUTE format('DROP TRIGGER IF EXISTS recount_track_%s ON %s', event, watched.name);
            EXECUTE format('CREATE TRIGGER recount_track_%s AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %I.%I()',
                           event, event, watched.name, rows_of, place, watched.stamp);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER recount_track_%s', watched.name, event);
        END LOOP;
    END LOOP;
END $$;
