//! A database of its own for each test, with plain calls that work in synchronous and asynchronous tests alike.

use super::cluster::Cluster;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row, ValueRef};
use std::future::Future;
use std::process::id;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::runtime::{Builder, Runtime};

/// A database that is dropped with this value.
pub struct Database<'c> {
    cluster: &'c Cluster,
    name: String,
}

/// Runs a statement in a database of a server.
pub fn execute_on(cluster: &Cluster, database: &str, sql: &str) {
    execute(&cluster.socket_url(database), sql);
}

/// A new, empty database on the shared server.
pub fn database() -> Database<'static> {
    Database::create(Cluster::shared())
}

impl<'c> Database<'c> {
    /// A new, empty database on this server.
    pub fn create(cluster: &'c Cluster) -> Database<'c> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", id(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(&cluster.socket_url("postgres"), &format!("CREATE DATABASE {name}"));
        Database { cluster, name }
    }

    /// The URL over TCP, with a password.
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> PgConnection {
        connect(&self.cluster.socket_url(&self.name)).await
    }

    /// Runs any number of statements; panics with the server's message.
    pub fn execute(&self, sql: &str) {
        execute(&self.cluster.socket_url(&self.name), sql);
    }

    /// Runs statements that may fail; what a failed one has done is gone.
    pub fn try_execute(&self, sql: &str) -> Result<(), String> {
        let done = block_on_anywhere(run(self.cluster.socket_url(&self.name), sql.to_owned()));
        done.map(drop).map_err(|error| error.to_string())
    }

    /// Runs statements that should fail, and gives the server's message.
    pub fn refuses(&self, sql: &str) -> String {
        match block_on_anywhere(run(self.cluster.socket_url(&self.name), sql.to_owned())) {
            Ok(rows) => panic!("this should have failed, but gave {} rows:\n{sql}", rows.len()),
            Err(error) => error.to_string(),
        }
    }

    /// The rows of a query as text, NULL as `None`.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let rows = execute(&self.cluster.socket_url(&self.name), sql);
        rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect()).collect()
    }

    /// The rows of a query as psql's unaligned output: a line for each, `|` between the columns, `∅` for NULL.
    pub fn psql(&self, sql: &str) -> String {
        let line =
            |row: Vec<Option<String>>| row.into_iter().map(|v| v.unwrap_or_else(|| "∅".to_owned())).collect::<Vec<_>>().join("|");
        self.rows(sql).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A test may have stopped its server, and a panic in here would hide the one that matters.
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = block_on_anywhere(run(self.cluster.socket_url("postgres"), sql));
    }
}

/// Whether the shared server knows NULLS NOT DISTINCT: PostgreSQL 15 and later.
pub fn nulls_not_distinct() -> bool {
    let server = Database { cluster: Cluster::shared(), name: "postgres".to_owned() };
    let version = server.psql("SHOW server_version_num");
    // Not ours to drop.
    std::mem::forget(server);
    version.parse::<u32>().expect("a number") >= 150_000
}

/// Runs a future to its end, in a test without a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// The same for tests with and without a runtime: one must not be entered from within another, hence a thread for it.
fn block_on_anywhere<F: Future<Output: Send> + Send>(future: F) -> F::Output {
    std::thread::scope(|scope| match scope.spawn(|| runtime().block_on(future)).join() {
        Ok(output) => output,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap_or_else(|e| panic!("connecting to {url}: {e}"))
}

fn execute(url: &str, sql: &str) -> Vec<PgRow> {
    block_on_anywhere(run(url.to_owned(), sql.to_owned())).unwrap_or_else(|error| panic!("{error}\nin\n{sql}"))
}

async fn run(url: String, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut connection = PgConnection::connect(&url).await?;
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    connection.close().await?;
    rows
}

/// The simple protocol of `raw_sql` gives every value as the server prints it.
fn text(row: &PgRow, column: usize) -> Option<String> {
    let value = row.try_get_raw(column).expect("a column");
    (!value.is_null()).then(|| value.as_str().expect("text").to_owned())
}
