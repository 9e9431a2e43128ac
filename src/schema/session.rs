//! The connection of the commands that change the schema, or look at it.
//!
//! Each transaction brings its own settings, and nothing is set that outlives it: behind a pooler the session is not ours. A run of
//! migrations is many transactions, and `CREATE INDEX CONCURRENTLY` is in none. What must hold for all of it, the turn of the migrations
//! and the validator's pause lock, is held by a transaction of a second connection that does nothing else. It has no snapshot and no
//! table, so no build waits for it, and it ends with its connection, whatever becomes of us.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{
    Judged, MIGRATIONS_LOCK, PAUSE_LOCK, PLAIN_SQL, SearchPath, Target, Task, close, execute, interrupt, schema_of,
    try_pause_lock,
};

/// How long a migration in a transaction waits for a lock. Writers queue up behind one who waits, so not long.
const LOCK_TIMEOUT_MS: u32 = 5_000;

/// How long a concurrent build waits for transactions that are open. Nobody waits behind it, and a night's report may be running.
const CONCURRENT_LOCK_TIMEOUT_MS: u32 = 600_000;

/// How long one run of the migrations waits for another one to end, and for the validator's maintenance; and how often it looks.
const TURN_TIMEOUT: Duration = Duration::from_secs(600);
const PAUSE_TIMEOUT: Duration = Duration::from_secs(30);
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// CREATE OR REPLACE TRIGGER is known from here on, and no validator has an older one.
const SERVER_MIN: u32 = 140_000;

/// What the server, the database or the role sets for other work: it must neither end our statements nor change what they mean, or what
/// the catalogue answers.
const SETTINGS: &str = "
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL client_min_messages = warning;
    SET LOCAL TimeZone = 'UTC';
    SET LOCAL DateStyle = 'ISO, YMD';
    SET LOCAL IntervalStyle = 'postgres';
    SET LOCAL extra_float_digits = 1;
    SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'transaction_timeout'";

pub(super) struct Session {
    pub connection: PgConnection,
    /// The server's version as a number, 150004 for 15.4.
    pub server: u32,
    target: Target,
    /// By the schema of the validator's tables; in a database without them, by the one where they would be made. None: there is none.
    path: Option<SearchPath>,
    /// A `lock_timeout` that the URL, the role or the database asks for stands above ours.
    own_lock_timeout: bool,
    holder: Option<PgConnection>,
}

impl Session {
    pub async fn open(url: &str) -> Result<Session> {
        let doing = || "connecting to the database for its migrations".to_owned();
        let target = Target::parse(url)?;
        let mut connection = target.connect(Task::Migrate, "recount migrate", "migrations").await?;
        execute(&mut connection, format!("BEGIN READ ONLY; SET LOCAL statement_timeout = '1h';{SETTINGS}; {PLAIN_SQL}"))
            .await
            .judged(Task::Migrate, doing)?;
        let (server, lock_timeout, current): (String, String, Option<String>) = sqlx::query_as(
            "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('lock_timeout'),
                    pg_catalog.current_schema()::pg_catalog.text",
        )
        .persistent(false)
        .fetch_one(&mut connection)
        .await
        .judged(Task::Migrate, doing)?;
        let schema = schema_of(&mut connection).await?.or(current);
        let path = match schema {
            Some(schema) => Some(SearchPath::of(&mut connection, &schema).await?),
            None => None,
        };
        execute(&mut connection, "COMMIT").await.judged(Task::Migrate, doing)?;
        let own_lock_timeout = lock_timeout != "0";
        let server = server.parse().unwrap_or_default();
        Ok(Session { connection, server, target, path, own_lock_timeout, holder: None })
    }

    /// Makes the session fit for changes: an old server is refused, other runs and the validator's maintenance are waited for. With
    /// `pause`, the validator's workers start nothing until the session ends. Gives a note where it waited or paused.
    pub async fn prepare(&mut self, pause: bool) -> Result<Option<String>> {
        if self.server < SERVER_MIN {
            let detail = format!("the server is PostgreSQL {}; 14 is the oldest that works", self.server / 10_000);
            return Err(Error::new(ErrorKind::Contract, "preparing the migrations", detail));
        }
        let doing = || "preparing the migrations".to_owned();
        let mut holder = self.target.connect(Task::Migrate, "recount migrate", "its turn").await?;
        execute(
            &mut holder,
            format!("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0;{SETTINGS}; {PLAIN_SQL}"),
        )
        .await
        .judged(Task::Migrate, doing)?;
        take_turn(&mut holder).await?;
        let note = take_pause(&mut holder, pause).await?;
        self.holder = Some(holder);
        Ok(note)
    }

    /// Begins a transaction that may change the schema.
    pub async fn begin(&mut self) -> Result<()> {
        self.begin_with(SearchPath::for_making).await
    }

    /// Begins a transaction that changes rows, and nothing of the schema.
    pub async fn begin_writing(&mut self) -> Result<()> {
        self.begin_with(SearchPath::for_using).await
    }

    async fn begin_with(&mut self, path: impl Fn(&SearchPath) -> String) -> Result<()> {
        let doing = || "starting a transaction".to_owned();
        let path = self.path.as_ref().map(path).ok_or_else(|| {
            Error::new(ErrorKind::Contract, doing(), "the search_path of the role names no schema that is there")
                .hint("CREATE SCHEMA, or name one: ?options=-c search_path=… in the URL")
        })?;
        let timeout = if self.own_lock_timeout { String::new() } else { format!("; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}") };
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; SET LOCAL search_path = {path}{timeout};{SETTINGS}; {PLAIN_SQL}"
        );
        execute(&mut self.connection, begin).await.judged(Task::Migrate, doing)
    }

    /// Begins a transaction in which the server rejects every write, and that sees one moment.
    pub async fn begin_reading(&mut self) -> Result<()> {
        let path = self.search_path();
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '1h'; SET LOCAL search_path = {path};{SETTINGS}; {PLAIN_SQL}"
        );
        execute(&mut self.connection, begin).await.judged(Task::Read, || "starting a transaction".to_owned())
    }

    pub async fn commit(&mut self) -> Result<()> {
        execute(&mut self.connection, "COMMIT").await.judged(Task::Migrate, || "committing".to_owned())
    }

    /// Runs a statement that must be in no transaction and that nobody has to wait for. What it needs is set for it alone: while it
    /// runs, a pooler ends the session of a client that vanishes.
    pub async fn run_alone(&mut self, doing: impl Fn() -> String, sql: String) -> Result<()> {
        let timeout =
            if self.own_lock_timeout { String::new() } else { format!("SET lock_timeout = {CONCURRENT_LOCK_TIMEOUT_MS}; ") };
        execute(&mut self.connection, format!("{timeout}SET statement_timeout = 0; SET client_min_messages = warning"))
            .await
            .judged(Task::Migrate, &doing)?;
        let done = execute(&mut self.connection, sql).await;
        let reset = execute(&mut self.connection, "RESET lock_timeout; RESET statement_timeout; RESET client_min_messages").await;
        done.and(reset).judged(Task::Migrate, doing)
    }

    /// Where names are looked up: the server's own come first where they are not listed, then the validator's, then ours, temporary
    /// tables last. What is created without a schema's name comes into the validator's.
    pub fn search_path(&self) -> String {
        self.path.as_ref().map_or_else(|| "pg_temp".to_owned(), SearchPath::for_making)
    }

    /// The name of a relation of the validator's, for a statement that runs without a search path.
    pub fn qualified(&self, name: &str) -> String {
        self.path.as_ref().map_or_else(|| name.to_owned(), |path| path.qualified(name))
    }

    pub async fn close(self) {
        if let Some(holder) = self.holder {
            close(holder).await;
        }
        close(self.connection).await;
    }
}

/// Whether a table or view of this name is there, where the session looks names up.
pub(super) async fn is_there(connection: &mut PgConnection, relation: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(relation).fetch_one(connection).await
}

/// Waits for another run of the migrations.
async fn take_turn(holder: &mut PgConnection) -> Result<()> {
    let doing = "waiting for another run of the migrations";
    let sql = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({MIGRATIONS_LOCK})");
    if ask(holder, doing, sql, TURN_TIMEOUT).await?.is_some() {
        return Ok(());
    }
    let detail = format!("it has not ended within {} s", TURN_TIMEOUT.as_secs());
    Err(Error::new(ErrorKind::Retry, doing, detail)
        .hint("its session has the application_name `recount migrate` in pg_stat_activity"))
}

/// Waits for the validator's maintenance, and keeps it away.
async fn take_pause(holder: &mut PgConnection, pause: bool) -> Result<Option<String>> {
    let doing = "waiting for the validator's maintenance";
    let Some(waited) = ask(holder, doing, try_pause_lock(pause), PAUSE_TIMEOUT).await? else {
        let detail = format!(
            "the validator's pause lock (advisory lock {PAUSE_LOCK}) is held by another session for more than {} s",
            PAUSE_TIMEOUT.as_secs()
        );
        return Err(
            Error::new(ErrorKind::Refused, doing, detail).hint("nothing was changed; run it again when the maintenance is over")
        );
    };
    Ok(match (pause, waited.is_zero()) {
        (true, _) => Some("the validator was paused meanwhile".to_owned()),
        (false, false) => Some(format!("waited {} ms for the validator's pause lock", waited.as_millis())),
        (false, true) => None,
    })
}

/// Asks for a lock again and again, never waiting inside of a statement: its snapshot would hold up a concurrent build of the one who
/// works, and both would wait for ever. Gives how long it took, or nothing where it took too long.
async fn ask(holder: &mut PgConnection, doing: &str, sql: String, limit: Duration) -> Result<Option<Duration>> {
    let started = Instant::now();
    let mut waited = Duration::ZERO;
    loop {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.clone()));
        if query.fetch_one(&mut *holder).await.judged(Task::Migrate, || doing.to_owned())? {
            return Ok(Some(waited));
        }
        if interrupt::is_asked() {
            return Err(Error::new(ErrorKind::Interrupted, doing, "interrupted before anything was changed"));
        }
        if waited.is_zero() {
            tracing::warn!("{doing}");
        }
        tokio::time::sleep(ASK_INTERVAL).await;
        waited = started.elapsed();
        if waited > limit {
            return Ok(None);
        }
    }
}
