//! The connection of the migrations: its settings, its lock, and what its errors mean.

use crate::error::{Context, Error, ErrorKind, Result};
use crate::postgres::{Judged, MIGRATIONS_LOCK, Target, Task, close, execute, failed, interrupt};
use sqlx::migrate::{MigrateError, Migration};
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::{Duration, Instant};

/// How long a migration in a transaction waits for a lock. Writers queue up behind one who waits, so not long.
const LOCK_TIMEOUT_MS: u32 = 5_000;

/// How long a concurrent build waits for transactions that are open. Nobody waits behind it, and a night's report may be running.
const CONCURRENT_LOCK_TIMEOUT_MS: u32 = 600_000;

/// How long one run of the migrations waits for another one to end, and how often it looks.
const TURN_TIMEOUT: Duration = Duration::from_secs(600);
const TURN_INTERVAL: Duration = Duration::from_millis(100);

/// CREATE OR REPLACE TRIGGER is known from here on, and no validator has an older one.
const SERVER_MIN: u32 = 140_000;

pub(super) struct Session {
    pub connection: PgConnection,
    /// The server's version as a number, 150004 for 15.4.
    pub server: u32,
    /// A `lock_timeout` that the URL, the role or the database asks for stands above ours.
    own_lock_timeout: bool,
}

impl Session {
    pub async fn open(url: &str) -> Result<Session> {
        let doing = || "connecting to the database for its migrations".to_owned();
        let mut connection = Target::parse(url)?.connect(Task::Migrate, "recount migrate", "migrations").await?;
        // What the role or the database sets is for other work, and must not even end the first question. The session is ours, and is
        // given back as it was.
        let own = "SET statement_timeout = '1h'; SET idle_in_transaction_session_timeout = 0";
        execute(&mut connection, own).await.judged(Task::Migrate, doing)?;
        let (server, lock_timeout): (i32, String) =
            sqlx::query_as("SELECT current_setting('server_version_num')::int, current_setting('lock_timeout')")
                .fetch_one(&mut connection)
                .await
                .doing(ErrorKind::Database, doing)?;
        let session = Session { connection, server: server.unsigned_abs(), own_lock_timeout: lock_timeout != "0" };
        Ok(session)
    }

    /// Makes the session fit for changes: an old server is refused, other runs are waited for, builds may take their time.
    pub async fn prepare(&mut self) -> Result<()> {
        if self.server < SERVER_MIN {
            let detail = format!("the server is PostgreSQL {}; 14 is the oldest that works", self.server / 10_000);
            return Err(Error::new(ErrorKind::Contract, "preparing the migrations", detail));
        }
        self.set("SET statement_timeout = 0; SET client_min_messages = warning".to_owned()).await?;
        self.take_turn().await
    }

    /// `concurrent`: for a statement that nobody has to wait for.
    pub async fn set_lock_timeout(&mut self, concurrent: bool) -> Result<()> {
        if self.own_lock_timeout {
            return Ok(());
        }
        let milliseconds = if concurrent { CONCURRENT_LOCK_TIMEOUT_MS } else { LOCK_TIMEOUT_MS };
        self.set(format!("SET lock_timeout = {milliseconds}")).await
    }

    pub async fn close(mut self) {
        // All is done; whether the farewell reaches the server changes nothing. A pooler may give the session to others.
        let _ = execute(&mut self.connection, "RESET ALL; SELECT pg_catalog.pg_advisory_unlock_all()").await;
        close(self.connection).await;
    }

    /// Asks again and again, never waiting inside of a statement: see `record` in the module above.
    async fn take_turn(&mut self) -> Result<()> {
        let doing = || "waiting for another run of the migrations".to_owned();
        let started = Instant::now();
        loop {
            let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(MIGRATIONS_LOCK)
                .fetch_one(&mut self.connection)
                .await
                .doing(ErrorKind::Database, doing)?;
            if ours {
                return Ok(());
            }
            if interrupt::is_asked() {
                return Err(Error::new(ErrorKind::Interrupted, doing(), "interrupted before anything was changed"));
            }
            if started.elapsed() > TURN_TIMEOUT {
                let detail = format!("it has not ended within {} s", TURN_TIMEOUT.as_secs());
                return Err(Error::new(ErrorKind::Retry, doing(), detail)
                    .hint("its session has the application_name `recount migrate` in pg_stat_activity"));
            }
            tokio::time::sleep(TURN_INTERVAL).await;
        }
    }

    async fn set(&mut self, statement: String) -> Result<()> {
        let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connection).await;
        done.doing(ErrorKind::Database, || "setting up the session of the migrations".to_owned())?;
        Ok(())
    }
}

/// Puts an error of the migrator into our words, with what can be done about it.
pub(super) fn describe(error: MigrateError, migration: &Migration) -> Error {
    let doing = format!("applying migration {} ({})", migration.version, migration.description);
    let cause = match &error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause,
        _ => return Error::new(ErrorKind::Database, doing, &error).caused_by(error),
    };
    failed(Task::Migrate, doing, cause).caused_by(error)
}
