//! What the audit tables remember.

use serde_json::Value as Json;

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Watch;
use crate::model::writing::{JobCells, JobLine};

use super::catalogue::check_phase1;
use super::parse_id;
use super::session::{Session, run};
use super::transaction::try_lock;

const JOBS: &str = "
SELECT to_jsonb(s)::text FROM (
    SELECT id, command, started_at AT TIME ZONE 'UTC' AS started_at, finished_at AT TIME ZONE 'UTC' AS finished_at, source,
           snapshot_at AT TIME ZONE 'UTC' AS snapshot_at, digest, settings, counts, outcome, undoes,
           (SELECT max(u.id::text) FROM rollup_jobs u WHERE u.undoes = j.id) AS undone_by
    FROM rollup_jobs j WHERE $1::uuid IS NULL OR id = $1::uuid) s
ORDER BY s.started_at DESC, s.id";

/// All jobs, newest first.
pub fn jobs(url: &str, watch: &dyn Watch) -> Result<Vec<JobLine>> {
    run(async {
        let mut session = reading(url, watch).await?;
        let jobs = read(&mut session, None).await;
        session.close().await;
        jobs
    })
}

/// One job, and what it changed by column. Texts are shown by their length: they may hold addresses.
pub fn show(url: &str, job: &str, watch: &dyn Watch) -> Result<(JobLine, Vec<JobCells>)> {
    const CELLS: &str = "
        SELECT DISTINCT ON (table_name, column_name) table_name, column_name,
               count(*) OVER (PARTITION BY table_name, column_name),
               concat_ws(' ', miner_uid, forecast_run_id, scope, run_id),
               CASE WHEN length(before) > 40 THEN length(before) || ' characters' ELSE before END,
               CASE WHEN length(after) > 40 THEN length(after) || ' characters' ELSE after END
        FROM rollup_corrections WHERE job_id = $1::uuid
        ORDER BY table_name, column_name, miner_uid, forecast_run_id, scope, run_id";
    type Row = (String, Option<String>, i64, String, Option<String>, Option<String>);
    let id = parse_id(job)?;
    run(async {
        let mut session = reading(url, watch).await?;
        let Some(line) = read(&mut session, Some(&id)).await?.pop() else {
            return Err(Error::new(ErrorKind::Usage, format!("showing job {id}"), "there is no such job in rollup_jobs")
                .hint("`recount jobs` lists them; a job that is not there has changed nothing, or was pruned"));
        };
        let query = sqlx::query_as::<_, Row>(CELLS).bind(&id);
        let rows = session.wait("reading rollup_corrections", async |c| query.fetch_all(c).await).await?;
        session.close().await;
        let text = |column: &Option<String>, text: Option<String>| {
            let secret = matches!(column.as_deref(), Some("last_error_message" | "forecast_error_msg"));
            if secret { text.map(|text| crate::model::sanitize::sanitize(&text)) } else { text }
        };
        let cells = rows.into_iter().map(|(table, column, cells, key, before, after)| JobCells {
            table,
            cells,
            key,
            before: text(&column, before),
            after: text(&column, after),
            column,
        });
        Ok((line, cells.collect()))
    })
}

/// How many jobs ended longer ago than this.
pub fn prunable(url: &str, keep_seconds: u64, watch: &dyn Watch) -> Result<u64> {
    run(async {
        let mut session = reading(url, watch).await?;
        let sql = format!("SELECT count(*) FROM rollup_jobs WHERE finished_at < now() - interval '{keep_seconds} seconds'");
        let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql));
        let jobs = session.wait("counting old jobs", async |c| query.fetch_one(c).await).await?;
        session.close().await;
        Ok(jobs.unsigned_abs())
    })
}

/// Deletes jobs that ended longer ago than this, and what they wrote down: they can no longer be undone.
pub fn prune(url: &str, keep_seconds: u64, watch: &dyn Watch) -> Result<u64> {
    run(async {
        let mut session = Session::open(url, "jobs prune", watch).await?;
        let doing = "deleting old jobs";
        session.begin("BEGIN").await?;
        session.execute(doing, "SET LOCAL lock_timeout = '5s'").await?;
        check_phase1(&mut session).await?;
        if !try_lock(&mut session, doing).await? {
            session.close().await;
            return Err(
                Error::new(ErrorKind::Refused, doing, "another job is at work").hint("run it again when that one is done")
            );
        }
        let sql = format!(
            "WITH old AS (DELETE FROM rollup_jobs WHERE finished_at < now() - interval '{keep_seconds} seconds' RETURNING id),
                  cells AS (DELETE FROM rollup_corrections WHERE job_id IN (SELECT id FROM old))
             SELECT id FROM old"
        );
        let deleted = session.execute(doing, &sql).await.map_err(|e| match e.to_string().contains("permission denied") {
            true => e.hint("nothing was deleted; pruning has a role of its own, recount_pruner, see docs/corrections.md"),
            false => e,
        })?;
        session.execute(doing, "COMMIT").await?;
        session.close().await;
        Ok(deleted)
    })
}

async fn reading<'w>(url: &str, watch: &'w dyn Watch) -> Result<Session<'w>> {
    let mut session = Session::open(url, "jobs", watch).await?;
    session.begin_reading().await?;
    check_phase1(&mut session).await?;
    Ok(session)
}

async fn read(session: &mut Session<'_>, id: Option<&str>) -> Result<Vec<JobLine>> {
    let query = sqlx::query_scalar::<_, String>(JOBS).bind(id);
    let rows = session.wait("reading rollup_jobs", async |c| query.fetch_all(c).await).await?;
    Ok(rows.iter().filter_map(|row| line(&crate::model::rows::parse_json(row))).collect())
}

fn line(row: &Json) -> Option<JobLine> {
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let time = |key: &str| text(key).map(|time| time + "Z");
    Some(JobLine {
        id: text("id")?,
        command: text("command")?,
        started_at: time("started_at")?,
        finished_at: time("finished_at"),
        source: text("source")?,
        snapshot_at: time("snapshot_at"),
        digest: text("digest"),
        settings: row["settings"].clone(),
        counts: row["counts"].clone(),
        outcome: text("outcome"),
        undoes: text("undoes"),
        undone_by: text("undone_by"),
    })
}
