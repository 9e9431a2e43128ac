//! Runs the steps of a job in one transaction: all of it, or nothing.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row};

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Watch;
use crate::model::sanitize::sanitize;
use crate::model::writing::Applied;

use super::commit::commit;
use super::load::Staged;
use super::plan::Work;
use super::script::{BEGIN, Step, settings, steps};
use super::session::{Session, failed, is_rejection};
use super::sql::{RANGE, row_of};
use super::{already, pause, report};

/// How often a transaction is tried that met a lock or a conflict. The last time, missing rows are left: they need the most.
const ATTEMPTS_MAX: u32 = 8;
const BACKOFF: Duration = Duration::from_millis(25);
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

pub use crate::postgres::JOBS_LOCK as LOCK_KEY;

/// Runs a job. A deadlock, a lock that is not to be had and a serialization failure are tried again, and nothing else.
pub async fn run(url: &str, work: &Work, command: &str, watch: &dyn Watch) -> Result<Applied> {
    let start = Instant::now();
    if work.is_empty() {
        return report::after(url, work, Applied::default(), start, watch).await;
    }
    let mut attempt = 1;
    let applied = loop {
        match try_once(url, work, command, attempt < ATTEMPTS_MAX, watch).await {
            Err(error) if error.kind() == ErrorKind::Retry && attempt < ATTEMPTS_MAX => {
                tracing::info!("attempt {attempt} of {ATTEMPTS_MAX}: {error}; trying again");
                tokio::time::sleep(BACKOFF * (1 << attempt.min(6))).await;
                attempt += 1;
            }
            outcome => break outcome?,
        }
    };
    report::after(url, work, Applied { attempts: attempt, ..applied }, start, watch).await
}

async fn try_once(url: &str, work: &Work, command: &str, inserts: bool, watch: &dyn Watch) -> Result<Applied> {
    let mut session = Session::open(url, command, watch).await?;
    match prepare(&mut session, work, inserts).await {
        Ok(applied) if applied.done_by.is_some() => {
            session.execute("ending the transaction", "ROLLBACK").await?;
            session.close().await;
            Ok(applied)
        }
        Ok(applied) => {
            let note = commit(session, url, &work.record.id, watch).await?;
            Ok(Applied { notes: applied.notes.into_iter().chain(note).collect(), ..applied })
        }
        Err(error) => {
            // Without this, the lock of the job would outlive it until the server notices that we are gone.
            let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut session.connection);
            let _ = tokio::time::timeout(ROLLBACK_TIMEOUT, rollback).await;
            session.close().await;
            Err(error)
        }
    }
}

/// Everything but COMMIT.
async fn prepare(session: &mut Session<'_>, work: &Work, inserts: bool) -> Result<Applied> {
    session.execute("starting the transaction", BEGIN).await?;
    for setting in settings(work) {
        session.execute("setting up the transaction", &setting).await?;
    }
    let pause = pause::take(session, work.pause_validator).await?;
    take_lock(session).await?;
    if let Some(done_by) = already::done_by(session, work).await? {
        return Ok(Applied { done_by: Some(done_by), ..Applied::default() });
    }
    for step in steps(work, inserts) {
        session.check()?;
        let start = Instant::now();
        perform(session, &step).await?;
        tracing::debug!("{} ms: {}", start.elapsed().as_millis(), step.doing());
    }
    let applied = report::read(session, work).await?;
    session.check()?;
    Ok(Applied { notes: pause.into_iter().collect(), ..applied })
}

/// One job at a time; a second one ends at once and says who is at work.
async fn take_lock(session: &mut Session<'_>) -> Result<()> {
    let doing = "taking the lock of jobs that write";
    if try_lock(session, doing).await? {
        return Ok(());
    }
    const HOLDER: &str = "
        SELECT coalesce(a.application_name, '?') || ', process ' || a.pid || coalesce(', since ' ||
               to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '')
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = ($1 >> 32)::int8::oid
          AND l.objid = ($1 & 4294967295)::oid AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let query = sqlx::query_scalar::<_, String>(HOLDER).bind(LOCK_KEY);
    let holder = session.wait(doing, async |c| query.fetch_optional(c).await).await?;
    let detail = format!("another job is at work: {}", holder.unwrap_or_else(|| "it has just ended".to_owned()));
    Err(Error::new(ErrorKind::Refused, "starting the job", detail)
        .hint("nothing was written; run it again when that one is done"))
}

pub async fn try_lock(session: &mut Session<'_>, doing: &str) -> Result<bool> {
    let query = sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_xact_lock($1)").bind(LOCK_KEY);
    session.wait(doing, async |c| query.fetch_one(c).await).await
}

async fn perform(session: &mut Session<'_>, step: &Step<'_>) -> Result<()> {
    match step {
        Step::Run { doing, sql } => session.execute(doing, sql).await.map(drop),
        Step::Load { staged, extra } => load(session, staged, extra).await,
        Step::Write { table, change, sql } => write(session, table, change, sql).await,
        Step::Check { doing, sql } => check(session, doing, sql).await,
    }
}

async fn load(session: &mut Session<'_>, staged: &Staged, extra: &str) -> Result<()> {
    let doing = format!("loading {}", staged.table);
    session.execute(&doing, &staged.create(extra)).await?;
    for piece in staged.pieces() {
        let arguments = staged.arguments(piece).map_err(|e| failed(&doing, &sqlx::Error::Encode(e)))?;
        let insert = sqlx::query_with(AssertSqlSafe(staged.insert()), arguments).persistent(false);
        session.wait(&doing, async |c| insert.execute(c).await).await?;
    }
    Ok(())
}

/// Runs a statement that writes rows. Where the server rejects it, the row is looked for, so that it can be named.
async fn write(session: &mut Session<'_>, table: &str, change: &str, sql: &str) -> Result<()> {
    let doing = format!("correcting {table}");
    session.execute(&doing, "SAVEPOINT recount_write").await?;
    let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match session.attempt(async |c| statement.execute(c).await).await? {
        Ok(_) => session.execute(&doing, "RELEASE SAVEPOINT recount_write").await.map(drop),
        Err(rejection) if is_rejection(&rejection) => {
            let row = find_rejected(session, table, change, sql).await?;
            // A trigger's message may quote anything.
            let message = rejection.as_database_error().map_or_else(String::new, |e| sanitize(e.message()));
            let detail = format!("the database rejects the {change} of the row {row}: {message}");
            Err(Error::new(ErrorKind::Data, doing, detail).hint("everything was rolled back, nothing was written"))
        }
        Err(error) => Err(failed(&doing, &error)),
    }
}

/// Halves the rows until one is left that is rejected by itself.
async fn find_rejected(session: &mut Session<'_>, table: &str, change: &str, sql: &str) -> Result<String> {
    let doing = format!("looking for the rejected row of {table}");
    const BACK: &str = "ROLLBACK TO SAVEPOINT recount_write";
    session.execute(&doing, BACK).await?;
    let bounds = format!("SELECT min(n), max(n) FROM pg_temp.recount_rows WHERE target = '{table}' AND change = '{change}'");
    let query = sqlx::query_as::<_, (i32, i32)>(AssertSqlSafe(bounds));
    let (mut first, mut last) = session.wait(&doing, async |c| query.fetch_one(c).await).await?;
    while first < last {
        let middle = first + (last - first) / 2;
        let half = sqlx::raw_sql(AssertSqlSafe(sql.replace(RANGE, &format!("r.n BETWEEN {first} AND {middle}"))));
        let rejected = session.attempt(async |c| half.execute(c).await).await?.is_err();
        session.execute(&doing, BACK).await?;
        (first, last) = if rejected { (first, middle) } else { (middle + 1, last) };
    }
    let query = sqlx::query_scalar(AssertSqlSafe(row_of(first)));
    session.wait(&doing, async |c| query.fetch_one(c).await).await
}

async fn check(session: &mut Session<'_>, doing: &str, sql: &str) -> Result<()> {
    let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    let Some(wrong) = session.wait(doing, async |c| query.fetch_optional(c).await).await? else { return Ok(()) };
    let detail = format!("{} does not hold what was written to it", wrong.try_get::<String, _>(0).unwrap_or_default());
    Err(Error::new(ErrorKind::Data, doing, detail)
        .hint("everything was rolled back, nothing was written; does a trigger change or skip rows of this table?"))
}
