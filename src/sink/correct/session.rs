//! The one connection of a job that writes: its settings, its interrupts, and what its errors mean.

use std::future::Future;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio::runtime::Builder;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::job::Watch;
use crate::model::sanitize::sanitize;
use crate::postgres::{PLAIN_SQL, Target, Task, close, guarded, schema_of, set_search_path};

pub use crate::postgres::{code, is_rejection};

/// How often a running statement looks for Ctrl-C.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that writes, and the watch that may interrupt it.
pub struct Session<'w> {
    pub connection: PgConnection,
    target: Target,
    watch: &'w dyn Watch,
    pid: i32,
}

/// Runs a job to its end on a runtime of its own.
pub fn run<T>(job: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.doing(ErrorKind::Io, || "starting the connection's runtime".to_owned())?.block_on(job)
}

impl<'w> Session<'w> {
    pub async fn open(url: &str, command: &str, watch: &'w dyn Watch) -> Result<Session<'w>> {
        let target = Target::parse(url)?;
        let connection = target.connect(Task::Correct, &format!("recount {command}"), command).await?;
        let mut session = Session { connection, target, watch, pid: 0 };
        let query = sqlx::query_scalar("SELECT pg_catalog.pg_backend_pid()");
        session.pid = session.wait("connecting to the database", async |c| query.fetch_one(c).await).await?;
        Ok(session)
    }

    /// Begins a transaction in which the server rejects every write, with the validator's schema as its only one. Nothing is set
    /// that outlives it: behind a pooler, the session is not ours.
    pub async fn begin_reading(&mut self) -> Result<()> {
        // What the role or the database sets is for other work.
        const BEGIN: &str =
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '1h'; SET LOCAL idle_in_transaction_session_timeout = 0";
        self.begin(BEGIN).await
    }

    /// Begins a transaction with the validator's schema as its only one.
    pub async fn begin(&mut self, begin: &str) -> Result<()> {
        self.execute("starting a transaction", &format!("{begin}; {PLAIN_SQL}")).await?;
        match schema_of(&mut self.connection).await? {
            Some(schema) => set_search_path(&mut self.connection, &schema).await,
            None => Ok(()),
        }
    }

    /// Waits for statements, or for the user to interrupt: then the server is told to end the session, which rolls back.
    pub async fn wait<T>(&mut self, doing: &str, work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<T> {
        self.attempt(work).await?.map_err(|e| failed(doing, &e))
    }

    /// As [`Session::wait`], with the server's own error.
    pub async fn attempt<T>(&mut self, work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<sqlx::Result<T>> {
        let outcome = tokio::select! {
            biased;
            outcome = guarded("correcting the database", work(&mut self.connection)) => Some(outcome?),
            () = interrupted(self.watch) => None,
        };
        match outcome {
            Some(outcome) => Ok(outcome),
            None => {
                self.terminate().await;
                Err(self.interruption())
            }
        }
    }

    /// Runs statements of our own making; gives how many rows they touched.
    pub async fn execute(&mut self, doing: &str, sql: &str) -> Result<u64> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        self.wait(doing, async |c| statement.execute(c).await).await.map(|done| done.rows_affected())
    }

    /// An error once the user asked to stop.
    pub fn check(&self) -> Result<()> {
        self.watch.check().map_err(|_| self.interruption())
    }

    fn interruption(&self) -> Error {
        let detail = "interrupted before COMMIT; everything was rolled back, nothing was written";
        Error::new(ErrorKind::Interrupted, "stopped", detail)
    }

    /// A statement cannot be left half way on its own connection, so another one asks for its end. Where that fails, the server
    /// rolls back as soon as it notices that we are gone: COMMIT was never sent.
    async fn terminate(&mut self) {
        let ask = async {
            let mut other = self.target.connect(Task::Correct, "recount", "ending a session").await.ok()?;
            let _ = sqlx::query("SELECT pg_terminate_backend($1)").bind(self.pid).execute(&mut other).await;
            close(other).await;
            Some(())
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, ask).await;
    }

    pub async fn close(self) {
        close(self.connection).await;
    }
}

async fn interrupted(watch: &dyn Watch) {
    while watch.check().is_ok() {
        tokio::time::sleep(INTERRUPT_INTERVAL).await;
    }
}

/// The error in our words. Only its message: the detail may quote whole rows, with addresses in them.
pub fn failed(doing: &str, error: &sqlx::Error) -> Error {
    crate::postgres::failed(Task::Correct, doing, error).map_detail(sanitize)
}
