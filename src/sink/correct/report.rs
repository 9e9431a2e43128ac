//! What a job did.

use std::time::Instant;

use sqlx::AssertSqlSafe;

use crate::error::{ErrorKind, Result};
use crate::model::difference::RowKey;
use crate::model::job::Watch;
use crate::model::writing::{Applied, Left};

use super::plan::Work;
use super::session::Session;

/// Reads what the transaction is about to commit.
pub async fn read(session: &mut Session<'_>, work: &Work) -> Result<Applied> {
    let doing = "reading what the job did";
    let query = sqlx::query_scalar::<_, Option<String>>("SELECT counts::text FROM rollup_jobs WHERE id = $1::uuid");
    let query = query.bind(&work.record.id);
    let counts = session.wait(doing, async |c| query.fetch_one(c).await).await?.unwrap_or_default();
    const LEFT: &str = "
        SELECT r.target, r.miner_uid, r.forecast_run_id, r.scope, r.run_id, l.column_name, coalesce(l.reason, r.state, 'left')
        FROM pg_temp.recount_rows r LEFT JOIN pg_temp.recount_left l USING (n)
        WHERE r.state IS DISTINCT FROM 'done' OR l.n IS NOT NULL ORDER BY r.n, l.column_name";
    type Row = (String, Option<i32>, Option<String>, Option<String>, Option<i32>, Option<String>, String);
    let query = sqlx::query_as::<_, Row>(AssertSqlSafe(LEFT));
    let rows = session.wait(doing, async |c| query.fetch_all(c).await).await?;
    let left = |(table, miner_uid, forecast_run_id, scope, run_id, column, reason)| Left {
        table,
        key: RowKey { miner_uid, forecast_run_id, scope, run_id },
        column,
        reason,
    };
    Ok(Applied {
        job: Some(work.record.id.clone()),
        tables: serde_json::from_str(&counts).unwrap_or_default(),
        left: rows.into_iter().map(left).collect(),
        ..Applied::default()
    })
}

/// What comes after COMMIT: materialized views are refreshed, and what could not be corrected is said.
pub async fn after(url: &str, work: &Work, mut applied: Applied, start: Instant, watch: &dyn Watch) -> Result<Applied> {
    if applied.done_by.is_some() {
        return Ok(Applied { elapsed: start.elapsed(), ..applied });
    }
    applied.incomplete |= !work.notes.is_empty();
    applied.notes.extend(work.notes.iter().cloned());
    for view in &work.refresh {
        match refresh(url, view, watch).await {
            Ok(()) => applied.notes.push(format!("{view} is a materialized view: it was refreshed")),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                applied.incomplete = true;
                applied.notes.push(format!("{view} is a materialized view, and refreshing it failed: {error}"));
            }
        }
    }
    applied.elapsed = start.elapsed();
    Ok(applied)
}

async fn refresh(url: &str, view: &str, watch: &dyn Watch) -> Result<()> {
    let mut session = Session::open(url, "refresh", watch).await?;
    let doing = format!("refreshing {view}");
    session.begin("BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0").await?;
    session.execute(&doing, &format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {view}")).await?;
    let refreshed = session.execute(&doing, "COMMIT").await;
    session.close().await;
    refreshed.map(drop)
}
