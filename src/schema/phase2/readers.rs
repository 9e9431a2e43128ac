//! The statements that still name a wide column, from `pg_stat_statements` where it is at work.
//!
//! Its texts carry no values; recount's own statements and the changes of the schema are no readers.

use sqlx::PgConnection;

use crate::error::Result;
use crate::postgres::{Judged, Task, execute};

use super::super::session::is_there;
use super::table::{Remark, StatsTable};

const FOUND: &str = "
    SELECT format('query %s', queryid), format('%s calls: %s', calls, left(regexp_replace(query, '\\s+', ' ', 'g'), 120))
    FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND query ~ ('\\y(' || array_to_string($1, '|') || ')\\y') AND query !~* '^\\s*(copy \\(|alter|create|comment|do|grant|with stats)'
      AND query !~ '\\y(recount|rollup)_|\\yweather_(lead_scores|legacy_lead_scores|forecast_stats_wide_values)\\y|\\ynum_nonnulls\\('
    ORDER BY calls DESC LIMIT 20";

/// Texts that the server shows to nobody else than their own role and members of pg_read_all_stats.
const HIDDEN: &str = "
    SELECT count(*) FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query = '<insufficient privilege>'";

/// The extension was created, but the server was not started with it.
const NOT_LOADED: &str = "55000";

/// What cannot be read takes nothing else of the transaction with it. Texts that are hidden from us are in the way, since
/// nobody can tell what they name.
pub(super) async fn statements(connection: &mut PgConnection, table: &StatsTable) -> Result<Vec<Remark>> {
    let wide = table.wide_names();
    let doing = || "reading pg_stat_statements".to_owned();
    if !is_there(connection, "pg_stat_statements").await.judged(Task::Migrate, doing)? || wide.is_empty() {
        return Ok(Vec::new());
    }
    execute(connection, "SAVEPOINT statements").await.judged(Task::Migrate, doing)?;
    match read(connection, &wide).await {
        Ok(remarks) => Ok(remarks),
        Err(error) => {
            execute(connection, "ROLLBACK TO SAVEPOINT statements").await.judged(Task::Migrate, doing)?;
            let loaded = error.as_database_error().and_then(|e| e.code()).is_none_or(|code| code != NOT_LOADED);
            let detail = if loaded { "cannot be read" } else { "is not loaded into the server" };
            Ok(vec![Remark { blocks: loaded, ..unknown(detail.to_owned()) }])
        }
    }
}

async fn read(connection: &mut PgConnection, wide: &[String]) -> std::result::Result<Vec<Remark>, sqlx::Error> {
    let found: Vec<(String, String)> = sqlx::query_as(FOUND).bind(wide).fetch_all(&mut *connection).await?;
    let remark = |(object, detail)| Remark { code: "statement".to_owned(), object, detail, blocks: false };
    let mut remarks: Vec<Remark> = found.into_iter().map(remark).collect();
    let hidden: i64 = sqlx::query_scalar(HIDDEN).fetch_one(connection).await?;
    if hidden > 0 {
        remarks.push(unknown(format!("{hidden} statements of others are hidden; GRANT pg_read_all_stats TO this role")));
    }
    Ok(remarks)
}

fn unknown(detail: String) -> Remark {
    Remark::blocking("statements_unknown", "pg_stat_statements", detail)
}
