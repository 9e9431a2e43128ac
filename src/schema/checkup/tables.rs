//! The validator's tables: what makes reading them slow, and corrections of them wrong.

use sqlx::postgres::PgConnection;

use super::Asked;
use crate::error::Result;
use crate::model::checkup::{Check, age, megabytes};
use crate::postgres::{Judged, OURS, Task, from_row, identifier};

struct Table {
    name: String,
    bytes: i64,
    run_index: bool,
    run_key: bool,
}
from_row!(Table { name, bytes, run_index, run_key });

/// The tables that are read run by run.
const RUN_TABLES: &str = "
    SELECT c.relname::text AS name, pg_relation_size(c.oid) AS bytes,
           EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                   JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
                   WHERE i.indrelid = c.oid AND a.attname = 'run_id' AND m.amname = 'btree'
                     AND i.indisvalid AND i.indisready AND i.indpred IS NULL) AS run_index,
           EXISTS (SELECT FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = 'run_id'
                   WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.convalidated AND k.conkey = ARRAY[a.attnum]) AS run_key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') AND c.relname IN ('weather_miner_responses', 'weather_miner_scores',
        'weather_forecast_component_scores', 'weather_forecast_steps')
    ORDER BY c.relname";

const INVALID: &str = "
    SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND NOT i.indisvalid AND c.relname ~ '^(weather_|miner_stats|node_table)' ORDER BY 1";

pub async fn indexes(connection: &mut PgConnection, schema: &str, spooled: &mut u64) -> Result<Vec<Check>> {
    let doing = || "looking for indexes".to_owned();
    let tables: Vec<Table> =
        sqlx::query_as(RUN_TABLES).bind(schema).persistent(false).fetch_all(&mut *connection).await.judged(Task::Read, doing)?;
    let invalid: Vec<String> =
        sqlx::query_scalar(INVALID).bind(schema).persistent(false).fetch_all(connection).await.judged(Task::Read, doing)?;
    let mut checks = Vec::new();
    for table in tables.iter().filter(|table| !table.run_index) {
        let bytes = u64::try_from(table.bytes).unwrap_or_default();
        *spooled += bytes;
        let seen = format!(
            "{} has no index on run_id: a job copies all of it ({}) to the temporary folder",
            table.name,
            megabytes(bytes)
        );
        checks.push(Check::note("indexes", seen, "`recount migrate` makes it, as the owner and without stopping writers"));
    }
    for table in tables.iter().filter(|table| !table.run_key) {
        let seen = format!("{} has no valid foreign key on run_id: each job counts rows that belong to no run", table.name);
        checks.push(Check::note(
            "keys",
            seen,
            "restore it: ALTER TABLE … ADD FOREIGN KEY (run_id) REFERENCES weather_forecast_runs",
        ));
    }
    if !invalid.is_empty() {
        let seen = format!("not valid, so of no use to readers and a cost to writers: {}", invalid.join(", "));
        checks.push(Check::note(
            "indexes",
            seen,
            "what was being built was interrupted: DROP INDEX, then build it again, or `recount migrate`",
        ));
    }
    if checks.is_empty() {
        checks.push(Check::ok("indexes", "every table that is read run by run has its index and its foreign key"));
    }
    Ok(checks)
}

/// The keys of the rollups, without which two rows could stand for one thing.
pub async fn keys(connection: &mut PgConnection, schema: &str) -> Result<Vec<Check>> {
    let lacking: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.name, array_to_string(t.columns, ', ')
         FROM (VALUES ('weather_forecast_stats', ARRAY['forecast_run_id', 'miner_uid']), ('miner_stats', ARRAY['miner_uid']))
              AS t (name, columns)
         JOIN pg_class c ON c.relname = t.name AND c.relkind IN ('r', 'p')
         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1::text
         WHERE NOT EXISTS (
             SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
               AND t.columns = ARRAY(SELECT a.attname::text FROM pg_attribute a
                                     WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[]) ORDER BY 1))",
    )
    .bind(schema)
    .persistent(false)
    .fetch_all(connection)
    .await
    .judged(Task::Read, || "looking for unique keys".to_owned())?;
    let fault = |(table, columns): &(String, String)| {
        let seen = format!("{table} has no unique key on ({columns}): a second row of the same key stops every comparison");
        Check::fault("keys", seen, format!("remove surplus rows, then ALTER TABLE {table} ADD UNIQUE ({columns})"))
    };
    Ok(match lacking.is_empty() {
        true => vec![Check::ok("keys", "the rollups have their unique keys")],
        false => lacking.iter().map(fault).collect(),
    })
}

struct Trigger {
    table: String,
    name: String,
    stamps: bool,
}
from_row!(Trigger { table, name, stamps });

/// Triggers of others on the rollups: they run with every correction.
pub async fn triggers(connection: &mut PgConnection, schema: &str, asked: Asked) -> Result<Vec<Check>> {
    let found: Vec<Trigger> = sqlx::query_as(
        "SELECT c.relname::text AS table, t.tgname::text AS name,
                p.prosrc ~* 'updated_at' AND (t.tgtype & 2) <> 0 AND (t.tgtype & 1) <> 0 AS stamps
         FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_proc p ON p.oid = t.tgfoid
         WHERE n.nspname = $1::text AND c.relname IN ('weather_forecast_stats', 'miner_stats', 'weather_subnet_stats')
           AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND p.proname !~ '^recount_' ORDER BY 1, 2",
    )
    .bind(schema)
    .persistent(false)
    .fetch_all(connection)
    .await
    .judged(Task::Read, || "looking for triggers".to_owned())?;
    let check = |trigger: &Trigger| {
        let named = format!("the trigger {} of {}", trigger.name, trigger.table);
        match trigger.stamps {
            true if asked.keeps_updated_at => Check::fault_if(
                asked.corrects,
                "triggers",
                format!("{named} stamps updated_at: a correction that keeps the order of rows is rolled back"),
                "drop it, or correct with --updated-at now (docs/corrections.md, updated_at)",
            ),
            _ => Check::note("triggers", format!("{named} runs with every correction"), "see that it changes or skips no row"),
        }
    };
    Ok(match found.is_empty() {
        true => vec![Check::ok("triggers", "nobody's triggers are on the rollups")],
        false => found.iter().map(check).collect(),
    })
}

/// Policies that hide rows from us.
pub async fn policies(connection: &mut PgConnection, schema: &str) -> Result<Vec<Check>> {
    let hidden: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') AND c.relname ~ '^(weather_|miner_stats|node_table)'
           AND row_security_active(c.oid) ORDER BY 1",
    )
    .bind(schema)
    .persistent(false)
    .fetch_all(connection)
    .await
    .judged(Task::Read, || "looking for policies".to_owned())?;
    Ok(vec![match hidden.is_empty() {
        true => Check::ok("policies", "no policy hides rows from this role"),
        false => Check::fault(
            "policies",
            format!("policies hide rows from this role, and every row counts: {}", hidden.join(", ")),
            "connect as the owner of the tables, or ALTER ROLE … BYPASSRLS",
        ),
    }])
}

/// Tables that the planner knows nothing of.
pub async fn statistics(connection: &mut PgConnection, schema: &str) -> Result<Vec<Check>> {
    let never: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1::text AND c.relkind IN ('r', 'm') AND c.relname ~ '^(weather_|miner_stats|node_table)'
           AND c.reltuples < 0 AND pg_relation_size(c.oid) > 0 ORDER BY 1",
    )
    .bind(schema)
    .persistent(false)
    .fetch_all(connection)
    .await
    .judged(Task::Read, || "looking at statistics".to_owned())?;
    Ok(vec![match never.is_empty() {
        true => Check::ok("statistics", "the server has statistics of all tables"),
        false => Check::note(
            "statistics",
            format!("the server has never gathered statistics of {}", never.join(", ")),
            "ANALYZE, as after a restore; and see that autovacuum is on",
        ),
    }])
}

/// What the table of jobs says of the last one.
pub async fn jobs(connection: &mut PgConnection, schema: &str) -> Result<Vec<Check>> {
    let doing = || "reading the last job".to_owned();
    let jobs: Option<(String, bool)> = sqlx::query_as(
        "SELECT n.nspname::text, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ($1::text, $2::text) AND c.relname = 'rollup_jobs' ORDER BY n.nspname = $1::text LIMIT 1",
    )
    .bind(schema)
    .bind(OURS)
    .persistent(false)
    .fetch_optional(&mut *connection)
    .await
    .judged(Task::Read, doing)?;
    let schema = match jobs {
        None => return Ok(Vec::new()),
        Some((schema, false)) => {
            let schema = identifier(&schema);
            let seen = "the role may not read rollup_jobs: `recount jobs` does not work for it";
            return Ok(vec![Check::note(
                "jobs",
                seen,
                format!("GRANT SELECT ON {schema}.rollup_jobs, {schema}.rollup_corrections TO …, as the owner"),
            )]);
        }
        Some((schema, true)) => identifier(&schema),
    };
    let sql = format!(
        "SELECT command, extract(epoch FROM now() - coalesce(finished_at, started_at))::float8, coalesce(outcome, 'unfinished')
         FROM {schema}.rollup_jobs ORDER BY started_at DESC LIMIT 1"
    );
    let last: Option<(String, f64, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).persistent(false).fetch_optional(connection).await.judged(Task::Read, doing)?;
    Ok(vec![match last {
        None => Check::ok("jobs", "no job has written anything yet"),
        Some((command, seconds, outcome)) => {
            Check::ok("jobs", format!("the last job that wrote ({command}, {outcome}) was {} ago", age(seconds)))
        }
    }])
}
