//! Option `table`, taken back: the wide columns stand where they stood, so that `SELECT *` and an INSERT without a list of columns mean
//! what they meant.
//!
//! PostgreSQL puts a column at the end of its table, and nowhere else. So the columns that came after the wide ones are moved behind them:
//! the table stays the same table, with its grants, keys, triggers, policies and all who refer to it; what stands on a moved column is
//! made again. Where that cannot be done without a loss, nothing is moved, and the reason told.

use sqlx::PgConnection;

use crate::error::Result;
use crate::postgres::{Judged, Task};

use super::statements::WIDE_VIEW;
use super::table::{STATS, StatsTable};

/// The old order of the columns, quoted: that of the view of the old shape.
pub(super) async fn old(connection: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
    .bind(WIDE_VIEW)
    .fetch_all(connection)
    .await
    .judged(Task::Migrate, || format!("reading the columns of {WIDE_VIEW}"))
}

/// The statements that restore the order, or what keeps them from it.
pub(super) async fn restored(
    connection: &mut PgConnection,
    table: &StatsTable,
    old: &[String],
) -> Result<std::result::Result<Vec<String>, String>> {
    let doing = || format!("reading what stands on the columns of {STATS}");
    let moved = moved(table, old);
    if moved.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let kept: Vec<String> = sqlx::query_scalar(include_str!("unmovable.sql"))
        .bind(&moved)
        .fetch_all(&mut *connection)
        .await
        .judged(Task::Migrate, doing)?;
    if !kept.is_empty() {
        return Ok(Err(kept.join(", ")));
    }
    let statements = sqlx::query_scalar(include_str!("order.sql")).bind(&moved).fetch_all(connection).await;
    statements.judged(Task::Migrate, doing).map(Ok)
}

/// The columns that belong behind the first run of wide ones, in their order; those that came since the change are last.
fn moved(table: &StatsTable, old: &[String]) -> Vec<String> {
    let names: Vec<&String> = table.columns.iter().map(|column| &column.name).collect();
    let is_wide = |name: &String| table.wide().any(|(column, _)| column.name == *name);
    let later = old.iter().skip_while(|name| !is_wide(name)).skip_while(|name| is_wide(name)).filter(|name| names.contains(name));
    let new = names.iter().copied().filter(|name| !old.contains(name) && !is_wide(name));
    later.chain(new).cloned().collect()
}

/// The triggers of users, as statements that silence them and that bring each back as it was: a change of the schema is no write.
pub(super) async fn triggers(connection: &mut PgConnection) -> Result<(Vec<String>, Vec<String>)> {
    let pairs: Vec<(String, String)> = sqlx::query_as(
        "SELECT format('ALTER TABLE weather_forecast_stats DISABLE TRIGGER %I', tgname),
                format('ALTER TABLE weather_forecast_stats ENABLE %sTRIGGER %I',
                       CASE tgenabled WHEN 'R' THEN 'REPLICA ' WHEN 'A' THEN 'ALWAYS ' END, tgname)
         FROM pg_trigger WHERE tgrelid = to_regclass('weather_forecast_stats') AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY tgname",
    )
    .fetch_all(connection)
    .await
    .judged(Task::Migrate, || format!("reading the triggers of {STATS}"))?;
    Ok(pairs.into_iter().unzip())
}
