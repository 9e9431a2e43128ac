//! Opening a session, and what has to be so before it is used.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::errors::{Task, failed};
use super::guard::guarded;
use super::interrupt;
use super::link::{Encryption, Link, Opening};
use super::relay::{Bounds, Meeting, PORT};
use super::settings::{Host, Session, SslMode, Target};
use super::wire;
use crate::error::{Error, ErrorKind, Result};

/// Good-bye to a server that may have gone already.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// What the relay takes to pass a farewell on.
const FAREWELL: Duration = Duration::from_millis(2);
/// A cancellation is a courtesy: the session is over if it does not help.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a second connection may take to show what kind of pooler is in between.
const POOLER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often two connections are compared.
const POOLER_ROUNDS: usize = 3;

/// How long a server may say nothing while it is asked something, where nothing else is asked for: beyond the longest statement of a
/// correction or a migration. A server that has vanished is noticed by keepalive within two minutes.
const SILENCE: Duration = Duration::from_secs(6 * 3600);

/// A connection, and what is known of the way to it.
#[derive(Debug)]
pub struct Reached {
    pub connection: PgConnection,
    /// A pooler of sessions is in between.
    pub pooled: bool,
}

impl Target {
    /// Connects, to the first server of the list that answers and suits. `name` is what the server's administrator sees in
    /// `pg_stat_activity`; `role` says in messages what the connection is for. Nothing is set in the session, and a pooler that gives
    /// each transaction another session is refused.
    ///
    /// The connection belongs to the runtime that it was opened in.
    pub async fn connect(&self, task: Task, name: &str, role: &str) -> Result<PgConnection> {
        self.connect_for(task, name, role, SILENCE).await
    }

    /// As [`Target::connect`]; `silence`: how long the server may say nothing while it is asked something.
    pub async fn connect_for(&self, task: Task, name: &str, role: &str, silence: Duration) -> Result<PgConnection> {
        Ok(self.reach_for(task, name, role, silence).await?.connection)
    }

    /// As [`Target::connect`], and tells what is in between.
    pub async fn reach(&self, task: Task, name: &str, role: &str) -> Result<Reached> {
        self.reach_for(task, name, role, SILENCE).await
    }

    async fn reach_for(&self, task: Task, name: &str, role: &str, silence: Duration) -> Result<Reached> {
        let doing = format!("connecting to {} ({role})", self.shown);
        let opening = async {
            let (mut connection, pid) = self.open(task, name, role, silence).await?;
            let backend = backend(&mut connection, task, &doing).await?;
            let pooled = backend != pid;
            if pooled {
                self.refuse_transaction_pooler(&mut connection, backend, task, &doing).await?;
            }
            Ok(Reached { connection, pooled })
        };
        // Nothing is done yet that could be left half way. After an interrupt, only what sees to its end still connects.
        if interrupt::is_asked() {
            return opening.await;
        }
        tokio::select! {
            biased;
            opened = opening => opened,
            () = interrupt::asked() => {
                Err(Error::new(ErrorKind::Interrupted, doing.as_str(), "interrupted before anything was done"))
            }
        }
    }

    async fn open(&self, task: Task, name: &str, role: &str, silence: Duration) -> Result<(PgConnection, i32)> {
        let rounds: &[Session] = match self.session {
            Session::PreferStandby => &[Session::Standby, Session::Any],
            _ => std::slice::from_ref(&self.session),
        };
        let doing = format!("connecting to {} ({role})", self.shown);
        let mut first = None;
        for (wanted, host) in rounds.iter().flat_map(|wanted| self.hosts.iter().map(move |host| (*wanted, host))) {
            let opening = Opening { target: self, host, task, name, doing: doing.clone(), wanted };
            let opened = match self.connect_timeout {
                Some(limit) => timeout(limit, opening.open()).await.unwrap_or_else(|_| {
                    let detail = format!("no answer within {} s", limit.as_secs_f64());
                    let hint = format!("{}is this the right host, and does a firewall let it through?", task.left());
                    Err(Error::new(ErrorKind::Database, doing.clone(), detail).hint(hint))
                }),
                None => opening.open().await,
            };
            match opened {
                Ok(link) => return self.drive(link, host, task, silence, &doing).await,
                Err(error) => first = Some(first.unwrap_or(error)),
            }
        }
        Err(first.expect("invariant: a target has a host"))
    }

    /// Puts the driver before the link.
    async fn drive(&self, link: Link, host: &Host, task: Task, silence: Duration, doing: &str) -> Result<(PgConnection, i32)> {
        let pid = link.pid;
        let meeting = Meeting::arrange()?;
        let options = PgConnectOptions::new_without_pgpass()
            .socket(meeting.folder())
            .port(PORT)
            .username("recount")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        let bounds = Bounds { task, silence: Some(silence), target: self.clone(), host: host.clone() };
        meeting.relay(link, bounds);
        let connected = guarded(doing, PgConnection::connect_with(&options)).await?;
        connected.map(|connection| (connection, pid)).map_err(|e| failed(task, doing, &e))
    }

    /// Behind a pooler, two connections at a time show whether each keeps a session of its own. In a pool of transactions the sessions
    /// change hands: what one leaves behind the other one gets, and a lock or a snapshot is not there when it is needed.
    async fn refuse_transaction_pooler(
        &self,
        connection: &mut PgConnection,
        backend: i32,
        task: Task,
        doing: &str,
    ) -> Result<()> {
        let asking = async {
            let (mut other, _) = self.open(task, "recount", "asking the pooler", POOLER_TIMEOUT).await.ok()?;
            let mut shared = false;
            for _ in 0..POOLER_ROUNDS {
                // The other connection holds its session, so that ours can only keep the one it has.
                execute(&mut other, "BEGIN").await.ok()?;
                let others = self::backend(&mut other, task, doing).await.ok()?;
                let again = self::backend(connection, task, doing).await.ok()?;
                shared |= others == backend || again != backend;
                execute(&mut other, "ROLLBACK").await.ok()?;
            }
            close(other).await;
            Some(shared)
        };
        // Where there is no second session for us, the first is our own.
        if timeout(POOLER_TIMEOUT, asking).await.ok().flatten() != Some(true) {
            return Ok(());
        }
        let detail = "a pooler is in between that gives each transaction another session (pool_mode=transaction)";
        Err(Error::new(ErrorKind::Database, doing, detail).hint(format!(
            "{}connect to the server itself, or to a pool of sessions (pool_mode=session): all connections must reach one server, and \
             each must keep its session",
            task.left()
        )))
    }
}

/// The server's process, asked so that nothing stays prepared.
async fn backend(connection: &mut PgConnection, task: Task, doing: &str) -> Result<i32> {
    use sqlx::Row;
    let asking = async {
        let row = sqlx::raw_sql("SELECT pg_catalog.pg_backend_pid()").fetch_one(connection).await?;
        // The simple protocol gives texts.
        let text = row.try_get_raw(0).ok().and_then(|value| value.as_str().ok().map(str::to_owned));
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let pid = guarded(doing, asking).await?.map_err(|e| failed(task, doing, &e))?;
    pid.ok_or_else(|| Error::new(ErrorKind::Database, doing, "the server does not say which process it is"))
}

/// Asks the server to give up what a session is doing.
pub(super) async fn cancel(target: Target, host: Host, (pid, key): (i32, Vec<u8>)) {
    let opening =
        Opening { target: &target, host: &host, task: Task::Read, name: "recount", doing: String::new(), wanted: Session::Any };
    let way = match target.tls.mode {
        SslMode::Disable | SslMode::Allow => Encryption::Never,
        SslMode::Prefer => Encryption::IfOffered,
        _ => Encryption::Always,
    };
    let asking = async {
        let (mut stream, _) = opening.stream(way).await.ok()?;
        let request = wire::request(wire::CANCEL_REQUEST, &[&pid.to_be_bytes()[..], &key].concat());
        stream.write_all(&request).await.ok()?;
        stream.shutdown().await.ok()
    };
    let _ = timeout(CANCEL_TIMEOUT, asking).await;
}

/// Ends a session.
pub async fn close(connection: PgConnection) {
    let _ = timeout(CLOSE_TIMEOUT, connection.close()).await;
    sleep(FAREWELL).await;
}

/// Runs statements of our own making.
pub async fn execute(connection: &mut PgConnection, sql: impl Into<String>) -> std::result::Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.map(drop)
}
