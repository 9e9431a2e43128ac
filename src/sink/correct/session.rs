//! The one connection of a job that writes: its settings, its interrupts, and what its errors mean.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use tokio::runtime::Builder;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::job::Watch;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a running statement looks for Ctrl-C.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that writes, with whoever may interrupt it.
pub struct Session<'w> {
    pub connection: PgConnection,
    options: PgConnectOptions,
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
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            // The parser's messages repeat parts of what they could not read, which may be a password.
            Error::new(ErrorKind::Usage, "reading the URL of the database", "it is not a valid PostgreSQL URL")
                .hint("postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        })?;
        let options = options.application_name(&format!("recount {command}"));
        let mut connection = connect(&options).await?;
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await;
        let pid = pid.map_err(|e| failed("connecting to the database", &e))?;
        Ok(Session { connection, options, watch, pid })
    }

    /// Makes the server reject every write of this session.
    pub async fn read_only(&mut self) -> Result<()> {
        self.execute("making the session read-only", "SET default_transaction_read_only = on").await.map(drop)
    }

    /// Waits for statements, or for the user to interrupt: then the server is told to end the session, which rolls back.
    pub async fn wait<T>(&mut self, doing: &str, work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<T> {
        self.attempt(work).await?.map_err(|e| failed(doing, &e))
    }

    /// As [`Session::wait`], with the server's own error.
    pub async fn attempt<T>(&mut self, work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<sqlx::Result<T>> {
        let outcome = tokio::select! {
            biased;
            outcome = work(&mut self.connection) => Some(outcome),
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
            let mut other = connect(&self.options).await.ok()?;
            let _ = sqlx::query("SELECT pg_terminate_backend($1)").bind(self.pid).execute(&mut other).await;
            other.close().await.ok()
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, ask).await;
    }

    pub async fn close(self) {
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, self.connection.close()).await;
    }
}

async fn interrupted(watch: &dyn Watch) {
    while watch.check().is_ok() {
        tokio::time::sleep(INTERRUPT_INTERVAL).await;
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let doing = format!("connecting to {}:{}", options.get_host(), options.get_port());
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(|e| failed(&doing, &e)),
        Err(_) => {
            let detail = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            Err(Error::new(ErrorKind::Database, doing, detail)
                .hint("is this the right host, and does a firewall let it through?"))
        }
    }
}

/// The SQLSTATE of an error that the server sent.
pub fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned())
}

/// True where the server refused the data of a statement: a constraint, a trigger, a value out of range.
pub fn is_rejection(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| ["22", "23", "27", "44", "P0"].contains(&&code[..2]))
}

/// The error in our words. Only its message: the detail may quote whole rows, with addresses in them.
pub fn failed(doing: &str, error: &sqlx::Error) -> Error {
    let Some(server) = error.as_database_error() else {
        let detail = format!("the connection was lost: {error}");
        return Error::new(ErrorKind::Database, doing, detail).hint("nothing was written; run it again once the server is back");
    };
    let code = code(error).unwrap_or_default();
    let (kind, hint) = match code.as_str() {
        "40001" | "40P01" | "55P03" => (ErrorKind::Retry, "nothing was written; try again"),
        "42501" => {
            (ErrorKind::Database, "nothing was written; the role needs the rights of recount_corrector, see docs/corrections.md")
        }
        "25006" => (ErrorKind::Database, "nothing was written; connect to the primary, as a role that may write"),
        "57P01" | "57P02" | "57P03" => (ErrorKind::Database, "nothing was written; the server ended the session"),
        "28P01" | "28000" => (ErrorKind::Database, "check user and password in the URL"),
        _ => (ErrorKind::Database, "nothing was written"),
    };
    Error::new(kind, doing, server.message()).hint(hint)
}
