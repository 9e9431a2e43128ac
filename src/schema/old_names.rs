//! Views under the names that tables of ours had beside the validator's, so that queries which operators have go on.

use sqlx::migrate::Migration;

use super::session::Session;
use crate::error::Result;
use crate::postgres::{Judged, Task, execute};

const NAMES: [&str; 2] = ["rollup_jobs", "rollup_corrections"];

/// A view for each table that is ours now, with the table's readers. Names in it come from the catalogue, quoted there.
const KEEP: &str = "
    DO $$
    DECLARE name text; reader text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['rollup_jobs', 'rollup_corrections'] LOOP
            CONTINUE WHEN to_regclass(format('recount.%I', name)) IS NULL
                OR to_regclass(format('%I.%I', current_schema(), name)) IS NOT NULL;
            EXECUTE format('CREATE VIEW %I.%I AS SELECT * FROM recount.%I', current_schema(), name, name);
            EXECUTE format('COMMENT ON VIEW %I.%I IS %L', current_schema(), name, 'the old name of recount.' || name);
            FOR reader IN
                SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END FROM pg_class c, aclexplode(c.relacl) a
                WHERE c.oid = to_regclass(format('recount.%I', name)) AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
            LOOP
                EXECUTE format('GRANT SELECT ON %I.%I TO %s', current_schema(), name, reader);
            END LOOP;
        END LOOP;
    END $$";

const DROP: &str = "
    DO $$
    DECLARE name text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['rollup_jobs', 'rollup_corrections'] LOOP
            IF (SELECT relkind = 'v' FROM pg_class WHERE oid = to_regclass(format('%I.%I', current_schema(), name))) THEN
                EXECUTE format('DROP VIEW %I.%I', current_schema(), name);
            END IF;
        END LOOP;
    END $$";

/// Drops the views before a migration that names the tables: it was written when there were none.
pub(super) async fn make_way(session: &mut Session, migration: &Migration) -> Result<()> {
    match NAMES.iter().any(|name| migration.sql.as_str().contains(name)) {
        true => run(session, DROP).await,
        false => Ok(()),
    }
}

/// Makes the views that are not there. They can be dropped at any time; the next run of the migrations makes them again.
pub(super) async fn keep(session: &mut Session) -> Result<()> {
    run(session, KEEP).await
}

async fn run(session: &mut Session, sql: &str) -> Result<()> {
    session.begin().await?;
    execute(&mut session.connection, sql).await.judged(Task::Migrate, || "seeing to the old names of tables".to_owned())?;
    session.commit().await
}
