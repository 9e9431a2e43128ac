//! `recount steps`: what is due, what was left behind, what the log does not tell. Each finding is one set of rows from the database; with
//! `apply` it becomes one transaction, with a job in `rollup_jobs` and every row before and after beside it.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::{Error, ErrorKind, Result};
use crate::model::settings::Scoring;
use crate::model::time::Micros;
use crate::postgres::{Judged, Task};

use super::phase2::write_rules;
use super::session::{Session, is_there};

/// A correction and a recovery take turns.
use crate::postgres::JOBS_LOCK as JOB_LOCK;

/// A step, and what is to become of it, or became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    pub run_id: i32,
    pub miner_uid: i32,
    pub step_name: String,
    pub substep: Option<String>,
    pub lead_hours: Option<i32>,
    /// Its status from then on; [`NOT_SCHEDULED`] where it is only told of.
    pub becomes: String,
    pub retries: i32,
    pub next_retry: Option<String>,
    pub why: String,
}
crate::postgres::from_row!(StepLine { run_id, miner_uid, step_name, substep, lead_hours, becomes, retries, next_retry, why });

/// What is found and left as it is; `why` tells the reason.
pub const NOT_SCHEDULED: &str = "not scheduled";

impl StepLine {
    /// Whether `apply` does something about it.
    pub fn acts(&self) -> bool {
        self.becomes != NOT_SCHEDULED
    }
}

/// What a command found and, with `apply`, did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub lines: Vec<StepLine>,
    /// The job that did it.
    pub job: Option<String>,
}

/// What `recover` looks for beside steps left in progress: leads whose truth is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub era5_delay_seconds: u64,
    pub era5_buffer_seconds: u64,
}

const DUE: &str = "
    SELECT run_id, miner_uid, step_name::text, substep::text, lead_hours, 'in_progress' AS becomes, coalesce(retry_count, 0) AS retries,
           to_char(next_retry_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS next_retry, 'due' AS why
    FROM weather_due_steps($1::timestamptz)";

const STALE: &str = "
    SELECT run_id, miner_uid, step_name, substep, lead_hours, becomes, retries,
           to_char(next_retry_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS next_retry, why
    FROM weather_stale_steps($1::timestamptz)";

const MISSING: &str = "
    SELECT run_id, miner_uid, 'era5' AS step_name, 'score' AS substep, lead_hours, becomes, 0 AS retries,
           to_char(next_retry_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS next_retry, why
    FROM weather_next_era5_steps($1::timestamptz, make_interval(secs => $2), make_interval(secs => $3))";

const UNTOLD: &str = "
    SELECT run_id, miner_uid, step_name, substep, lead_hours, status AS becomes, 0 AS retries, NULL::text AS next_retry,
           'told by responses and scores' AS why
    FROM weather_untold_steps ORDER BY run_id, miner_uid, step_name, lead_hours";

/// $1: the time, $2: the job. A row that somebody has moved on meanwhile is left to them.
const RECOVER_STALE: &str = "
    WITH stale AS MATERIALIZED (
        SELECT * FROM weather_stale_steps($1::timestamptz) WHERE becomes <> 'not scheduled'
    ), locked AS MATERIALIZED (
        SELECT s.id, to_jsonb(s) AS before FROM weather_forecast_steps s
        WHERE s.id IN (SELECT step_id FROM stale) AND s.status = 'in_progress' AND s.completed_at IS NULL
        ORDER BY s.id FOR UPDATE
    ), changed AS (
        UPDATE weather_forecast_steps s
        SET status = t.becomes, retry_count = t.retries, next_retry_time = t.next_retry_time,
            completed_at = CASE t.becomes WHEN 'failed' THEN $1::timestamptz END,
            error_json = jsonb_build_object('type', 'stale', 'message', t.why),
            context = coalesce(s.context, '{}') || '{\"source\": \"recovery\"}'
        FROM stale t JOIN locked l ON l.id = t.step_id
        WHERE s.id = l.id
        RETURNING s.id, l.before, to_jsonb(s) AS after
    )
    INSERT INTO rollup_step_changes (job_id, step_id, before, after) SELECT $2::uuid, id, before, after FROM changed";

/// $1: the time, $2: the job, $3 and $4: delay and buffer in seconds.
const CREATE_MISSING: &str = "
    WITH made AS (
        INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, retry_count, next_retry_time,
            context)
        SELECT run_id, miner_uid, miner_hotkey, 'era5', 'score', lead_hours, becomes, 0, next_retry_time, '{\"source\": \"recovery\"}'
        FROM weather_next_era5_steps($1::timestamptz, make_interval(secs => $3), make_interval(secs => $4))
        WHERE becomes <> 'not scheduled'
        ON CONFLICT DO NOTHING
        RETURNING id, to_jsonb(weather_forecast_steps) AS after
    )
    INSERT INTO rollup_step_changes (job_id, step_id, after) SELECT $2::uuid, id, after FROM made";

/// $1: the job.
const CREATE_UNTOLD: &str = "
    WITH made AS (
        INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at,
            completed_at, retry_count, error_json, context)
        SELECT run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at, completed_at, 0, error_json,
               '{\"source\": \"backfill\"}'
        FROM recount_untold
        ON CONFLICT DO NOTHING
        RETURNING id, to_jsonb(weather_forecast_steps) AS after
    )
    INSERT INTO rollup_step_changes (job_id, step_id, after) SELECT $1::uuid, id, after FROM made";

/// Found before anybody is kept out.
const FIND_UNTOLD: &str = "CREATE TEMPORARY TABLE recount_untold ON COMMIT DROP AS SELECT * FROM weather_untold_steps";

/// PostgreSQL 14 has room for a few thousand new keys with NULLs in one transaction (see migration 0103), and the history has more. A set
/// that is free of equal keys, and DO NOTHING where one is there already, need no trigger; other writers wait for so long.
const TRIGGER_OFF: &str = "ALTER TABLE weather_forecast_steps DISABLE TRIGGER recount_steps_row";
const TRIGGER_ON: &str = "ALTER TABLE weather_forecast_steps ENABLE TRIGGER recount_steps_row";
const NULLS_NOT_DISTINCT: u32 = 150_000;

/// $1: the job. Rows that were touched since stay as they are.
const UNDO: [&str; 2] = [
    "UPDATE weather_forecast_steps s
     SET status = b.status, completed_at = b.completed_at, retry_count = b.retry_count, next_retry_time = b.next_retry_time,
         error_json = b.error_json, context = b.context
     FROM rollup_step_changes c CROSS JOIN LATERAL jsonb_populate_record(NULL::weather_forecast_steps, c.before) b
     WHERE c.job_id = $1::uuid AND c.before IS NOT NULL AND s.id = c.step_id AND to_jsonb(s) = c.after",
    "DELETE FROM weather_forecast_steps s USING rollup_step_changes c
     WHERE c.job_id = $1::uuid AND c.before IS NULL AND s.id = c.step_id AND to_jsonb(s) = c.after",
];

/// Retries whose time has come.
pub async fn due(url: &str, scoring: &Scoring) -> Result<Found> {
    let mut session = open(url).await?;
    begin(&mut session, false, "steps due", scoring).await?;
    let at = time(&mut session.connection, scoring).await?;
    let due = sqlx::query_as(DUE).bind(&at).fetch_all(&mut session.connection).await;
    let lines = due.judged(Task::Migrate, || "looking for steps that are due".to_owned())?;
    session.commit().await?;
    session.close().await;
    Ok(Found { lines, job: None })
}

/// Steps left in progress, and ERA5 steps that are missing; with `apply`, puts them right.
pub async fn recover(url: &str, scoring: &Scoring, recovery: &Recovery, apply: bool) -> Result<Found> {
    let mut session = open(url).await?;
    let doing = || "recovering steps".to_owned();
    let (delay, buffer) = (recovery.era5_delay_seconds as f64, recovery.era5_buffer_seconds as f64);
    let job = begin(&mut session, apply, "steps recover", scoring).await?;
    let connection = &mut session.connection;
    let at = time(connection, scoring).await?;
    let mut lines: Vec<StepLine> =
        sqlx::query_as(STALE).bind(&at).fetch_all(&mut *connection).await.judged(Task::Migrate, doing)?;
    let missing: Vec<StepLine> = sqlx::query_as(MISSING)
        .bind(&at)
        .bind(delay)
        .bind(buffer)
        .fetch_all(&mut *connection)
        .await
        .judged(Task::Migrate, doing)?;
    lines.extend(missing);
    if let Some(job) = &job {
        let stale = sqlx::query(RECOVER_STALE).bind(&at).bind(job);
        stale.execute(&mut *connection).await.judged(Task::Migrate, doing)?;
        let missing = sqlx::query(CREATE_MISSING).bind(&at).bind(job).bind(delay).bind(buffer);
        missing.execute(&mut *connection).await.judged(Task::Migrate, doing)?;
    }
    let job = end(connection, job).await?;
    session.close().await;
    Ok(Found { lines, job })
}

/// Steps that responses and scores tell of; with `apply`, writes them.
pub async fn backfill(url: &str, scoring: &Scoring, apply: bool) -> Result<Found> {
    let mut session = open(url).await?;
    let native = session.server >= NULLS_NOT_DISTINCT;
    let doing = || "backfilling steps".to_owned();
    let job = begin(&mut session, apply, "steps backfill", scoring).await?;
    let connection = &mut session.connection;
    let lines = sqlx::query_as(UNTOLD).fetch_all(&mut *connection).await.judged(Task::Migrate, doing)?;
    if let Some(job) = &job {
        execute(connection, FIND_UNTOLD).await?;
        if !native {
            execute(connection, TRIGGER_OFF).await?;
        }
        sqlx::query(CREATE_UNTOLD).bind(job).execute(&mut *connection).await.judged(Task::Migrate, doing)?;
        if !native {
            execute(connection, TRIGGER_ON).await?;
        }
    }
    let job = end(connection, job).await?;
    session.close().await;
    Ok(Found { lines, job })
}

/// What an undo did, and how many rows it left because they were touched since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    pub restored: u64,
    pub left: u64,
    /// The job that has taken it back before; then nothing was done now.
    pub done_by: Option<String>,
}

/// Takes a job of `recover` or `backfill` back.
pub async fn undo(url: &str, job: &str) -> Result<Undone> {
    let mut session = open(url).await?;
    session.begin_writing().await?;
    let connection = &mut session.connection;
    let doing = || format!("undoing job {job}");
    take_lock(connection).await?;
    let known: Option<(String, Option<String>, i64)> = sqlx::query_as(
        "SELECT j.command, (SELECT max(u.id::text) FROM rollup_jobs u WHERE u.undoes = j.id),
                (SELECT count(*) FROM rollup_step_changes c WHERE c.job_id = j.id)
         FROM rollup_jobs j WHERE j.id::text = $1 AND j.command LIKE 'steps %'",
    )
    .bind(job)
    .fetch_optional(&mut *connection)
    .await
    .judged(Task::Migrate, doing)?;
    let changes = match known {
        None => return Err(Error::new(ErrorKind::Usage, doing(), "there is no such job of `recount steps`").hint("recount jobs")),
        Some((command, ..)) if command == "steps undo" => {
            let detail = "it is an undo itself, and what it took back can be done again";
            return Err(Error::new(ErrorKind::Usage, doing(), detail)
                .hint("`recount steps recover --apply` and `recount steps backfill --apply` find anew what is to be done"));
        }
        Some((_, Some(done_by), _)) => {
            session.close().await;
            return Ok(Undone { restored: 0, left: 0, done_by: Some(done_by) });
        }
        Some((_, None, changes)) => changes.unsigned_abs(),
    };
    let mut restored = 0;
    for statement in UNDO {
        let done = sqlx::query(statement).bind(job).execute(&mut *connection).await.judged(Task::Migrate, doing)?;
        restored += done.rows_affected();
    }
    sqlx::query(
        "INSERT INTO rollup_jobs (id, command, started_at, finished_at, source, outcome, undoes)
         VALUES (gen_random_uuid(), 'steps undo', now(), clock_timestamp(), current_database(), $2, $1::uuid)",
    )
    .bind(job)
    .bind(if restored == changes { "complete" } else { "partial" })
    .execute(&mut *connection)
    .await
    .judged(Task::Migrate, doing)?;
    execute(connection, "COMMIT").await?;
    session.close().await;
    Ok(Undone { restored, left: changes - restored, done_by: None })
}

async fn open(url: &str) -> Result<Session> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let there = is_there(&mut session.connection, "rollup_step_changes").await;
    if there.judged(Task::Migrate, || "looking for the tables of Phase 3".to_owned())? {
        super::fit::check(&mut session.connection).await?;
        session.commit().await?;
        return Ok(session);
    }
    Err(Error::new(ErrorKind::Refused, "reading steps", "Phase 3 is not applied").hint("run `recount phase3 apply` first"))
}

/// The time that is asked about: `snapshot_time` of the settings, else now, as PostgreSQL writes it.
async fn time(connection: &mut PgConnection, scoring: &Scoring) -> Result<String> {
    sqlx::query_scalar("SELECT coalesce(to_timestamp($1::float8 / 1000000), now())::text")
        .bind(scoring.snapshot_time.map(|Micros(time)| time as f64))
        .fetch_one(connection)
        .await
        .judged(Task::Migrate, || "asking for the time".to_owned())
}

/// Opens the transaction; with `apply` a job, without it read-only at the server.
async fn begin(session: &mut Session, apply: bool, command: &str, scoring: &Scoring) -> Result<Option<String>> {
    if !apply {
        session.begin_reading().await?;
        return Ok(None);
    }
    session.begin_writing().await?;
    let connection = &mut session.connection;
    take_lock(connection).await?;
    write_rules(connection, scoring).await?;
    let job = sqlx::query_scalar(
        "INSERT INTO rollup_jobs (id, command, started_at, source) VALUES (gen_random_uuid(), $1, now(), current_database()) RETURNING id::text",
    )
    .bind(command)
    .fetch_one(connection)
    .await
    .judged(Task::Migrate, || "recording the job".to_owned())?;
    Ok(Some(job))
}

async fn take_lock(connection: &mut PgConnection) -> Result<()> {
    let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(JOB_LOCK)
        .fetch_one(connection)
        .await
        .judged(Task::Migrate, || "taking the lock of jobs".to_owned())?;
    if ours {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, "starting the job", "another job is at work").hint("run it again when that one is done"))
}

/// Ends the transaction. A job that changed nothing is none.
async fn end(connection: &mut PgConnection, job: Option<String>) -> Result<Option<String>> {
    let Some(job) = job else {
        execute(connection, "COMMIT").await?;
        return Ok(None);
    };
    let changed: i64 = sqlx::query_scalar(
        "UPDATE rollup_jobs j SET finished_at = clock_timestamp(), outcome = 'complete',
             counts = jsonb_build_object('weather_forecast_steps', jsonb_build_object('updated', n.updated, 'inserted', n.inserted))
         FROM (SELECT count(before) AS updated, count(*) - count(before) AS inserted FROM rollup_step_changes WHERE job_id = $1::uuid) n
         WHERE j.id = $1::uuid RETURNING n.updated + n.inserted",
    )
    .bind(&job)
    .fetch_one(&mut *connection)
    .await
    .judged(Task::Migrate, || "recording the job".to_owned())?;
    execute(connection, if changed == 0 { "ROLLBACK" } else { "COMMIT" }).await?;
    Ok((changed > 0).then_some(job))
}

async fn execute(connection: &mut PgConnection, sql: &str) -> Result<()> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.judged(Task::Migrate, || "talking to the database".to_owned())?;
    Ok(())
}
