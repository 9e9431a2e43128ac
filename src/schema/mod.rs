//! The migrations, phase by phase: what is applied, what is pending, and applying them.
//!
//! The SQL stands in `migrations/phase1`, one statement about the database a file, each safe to run twice, and is part of the program.
//! Its history is in a table of our own: the validator's tables have a history of their own, by another tool.
//! A file that builds an index stands for itself alone, outside of a transaction (`CREATE INDEX CONCURRENTLY`); whether it is needed, and
//! what an interrupted build left behind, is seen to in [`index`].

pub mod checkup;
mod fit;
mod grants;
mod guard;
mod history;
mod index;
mod old_names;
pub mod phase2;
pub mod phase3;
mod session;
pub mod steps;
pub mod track;

use crate::error::{Error, ErrorKind, Result};
use crate::model::time::Micros;
use crate::postgres::{Judged, Task, execute};
use session::Session;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static PHASE1: LazyLock<Migrator> = LazyLock::new(|| migrator(files::PHASE1));
/// The rules as views and functions, which Phases 2 and 3 stand on.
static RULES: LazyLock<Migrator> = LazyLock::new(|| migrator(files::RULES));
static PHASE2: LazyLock<Migrator> = LazyLock::new(|| migrator(files::PHASE2));
static PHASE3: LazyLock<Migrator> = LazyLock::new(|| migrator(files::PHASE3));

/// The names and texts of the files of each folder in `migrations`, which build.rs lists.
mod files {
    include!(concat!(env!("OUT_DIR"), "/migrations.rs"));
}

/// What `sqlx::migrate!` makes of a folder. That macro would have all of sqlx compiled a second time, for the compiler itself.
fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migrations = files.iter().map(|&(name, sql)| {
        let (version, description) = name.trim_end_matches(".sql").split_once('_').expect("a number and words");
        let version = version.parse().expect("a number");
        let alone = sql.starts_with("-- no-transaction");
        Migration::new(version, description.replace('_', " ").into(), MigrationType::Simple, sql.into_sql_str(), alone)
    });
    Migrator::with_migrations(migrations.collect())
}

/// All of them, by the name of their folder. `recount migrate` applies the first; the commands of the other phases bring theirs.
static PHASES: [(&str, &LazyLock<Migrator>); 4] =
    [("phase1", &PHASE1), ("rules", &RULES), ("phase2", &PHASE2), ("phase3", &PHASE3)];

/// A phase and its migrations, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseStatus {
    pub phase: &'static str,
    pub migrations: Vec<MigrationStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The number its file begins with; the first digits name the phase.
    pub version: i64,
    /// The rest of the name of its file, in words.
    pub description: String,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Done at this time, or found to be without need.
    Applied {
        at: Micros,
    },
    Pending,
    /// Applied, but with another text than this program has: by another version of it.
    Changed {
        at: Micros,
    },
}

/// What a run of the migrations did, file by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub phase: &'static str,
    pub migrations: Vec<Migrated>,
    /// Whether it waited for the validator, or paused it.
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    pub version: i64,
    pub description: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Applied {
        elapsed: Duration,
    },
    /// An earlier run did it.
    AlreadyApplied,
    /// There is nothing to do here: an index like this is there under another name, or is for other versions of PostgreSQL.
    NotNeeded,
}

/// Tells, per phase, which migrations are applied and which pending. Changes nothing, and needs no more than the right to read.
pub async fn status(url: &str) -> Result<Vec<PhaseStatus>> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let history = history::read(&mut session.connection).await?;
    let status = |m: &Migration| MigrationStatus {
        version: m.version,
        description: m.description.to_string(),
        state: history::state(&history, m),
    };
    let phases =
        PHASES.iter().map(|(phase, migrations)| PhaseStatus { phase, migrations: migrations.iter().map(status).collect() });
    let phases = phases.collect();
    session.commit().await?;
    session.close().await;
    Ok(phases)
}

/// What a run of `migrate` is told beside the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Migrating {
    /// The database is empty and meant to be: no validator's own migrations will ever run on it.
    pub standalone: bool,
    /// The validator's workers start nothing meanwhile.
    pub pause_validator: bool,
}

/// Applies what is pending of Phase 1. A second run finds nothing to do, and two at once wait for each other.
///
/// A failure leaves what was applied before it in place; the next run goes on from there.
///
/// # Errors
/// Refused where the validator's own migrations have to run first: see `guard`.
pub async fn migrate(url: &str, migrating: Migrating) -> Result<Report> {
    let mut session = Session::open(url).await?;
    let note = session.prepare(migrating.pause_validator).await?;
    session.begin_reading().await?;
    guard::check(&mut session.connection, migrating.standalone).await?;
    session.commit().await?;
    let migrations = migrate_phase(&mut session, &PHASE1).await?;
    session.close().await;
    Ok(Report { phase: "phase1", migrations, note })
}

/// Where Phase 2 stands, which is more than its migrations tell.
pub async fn phase2_stage(url: &str) -> Result<phase2::Stage> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let stage = phase2::stage(&mut session.connection).await?;
    session.commit().await?;
    session.close().await;
    Ok(stage)
}

async fn migrate_phase(session: &mut Session, phase: &Migrator) -> Result<Vec<Migrated>> {
    let mut migrations = Vec::new();
    if !std::ptr::eq(phase, &*PHASE1) {
        session.begin_reading().await?;
        fit::check(&mut session.connection).await?;
        session.commit().await?;
    }
    for migration in phase.iter() {
        let outcome = apply(session, migration).await?;
        migrations.push(Migrated { version: migration.version, description: migration.description.to_string(), outcome });
    }
    old_names::keep(session).await?;
    Ok(migrations)
}

/// A migration and its entry in the history are one transaction, but for a build that must be in none.
async fn apply(session: &mut Session, migration: &Migration) -> Result<Outcome> {
    session.begin_reading().await?;
    let history = history::read(&mut session.connection).await?;
    session.commit().await?;
    match history::state(&history, migration) {
        State::Applied { .. } => return Ok(Outcome::AlreadyApplied),
        State::Changed { .. } => return Err(changed(migration)),
        State::Pending => {}
    }
    let started = Instant::now();
    let doing = || format!("applying migration {} ({})", migration.version, migration.description);
    old_names::make_way(session, migration).await?;
    let needed = index::prepare(session, migration).await?;
    if needed && migration.no_tx {
        let build = index::statement(session, migration);
        session.run_alone(doing, plain(&build)).await?;
    }
    session.begin().await?;
    if needed && !migration.no_tx {
        execute(&mut session.connection, plain(migration.sql.as_str())).await.judged(Task::Migrate, doing)?;
    }
    let elapsed = if needed { i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX) } else { -1 };
    history::write(&mut session.connection, migration, elapsed).await?;
    session.commit().await?;
    Ok(if needed { Outcome::Applied { elapsed: started.elapsed() } } else { Outcome::NotNeeded })
}

/// The text of a migration without characters that a database of another encoding than UTF-8 may lack. Only comments have any. What is
/// remembered of it is the hash of its file.
fn plain(sql: &str) -> String {
    sql.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

fn changed(migration: &Migration) -> Error {
    let doing = format!("checking migration {} ({})", migration.version, migration.description);
    Error::new(ErrorKind::Contract, doing, "it was applied with another text than this version of recount has")
        .hint("use the version of recount that applied it, or a later one")
}
