//! Opening a session.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::errors::{Task, one_line};
use super::settings::{Host, Roots, SslMode, Target};
use crate::error::{Error, ErrorKind, Result};

/// Good-bye to a server that may have gone already.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Target {
    /// Connects, to the first server of the list that answers. `name` is what the server's administrator sees in `pg_stat_activity`;
    /// `role` says in messages what the connection is for. Nothing is set in the session.
    pub async fn connect(&self, task: Task, name: &str, role: &str) -> Result<PgConnection> {
        let doing = || format!("connecting to {} ({role})", self.shown);
        let mut last = None;
        for host in &self.hosts {
            let options = self.options_for(host, name);
            let connecting = PgConnection::connect_with(&options);
            let connected = match self.connect_timeout {
                Some(limit) => tokio::time::timeout(limit, connecting).await,
                None => Ok(connecting.await),
            };
            last = Some(match connected {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => unreachable(task, doing(), error),
                Err(_) => {
                    let seconds = self.connect_timeout.unwrap_or_default().as_secs_f64();
                    Error::new(ErrorKind::Database, doing(), format!("no answer within {seconds} s"))
                        .hint(format!("{}is this the right host, and does a firewall let it through?", task.left()))
                }
            });
        }
        Err(last.expect("invariant: a target has a host"))
    }

    fn options_for(&self, host: &Host, name: &str) -> PgConnectOptions {
        let mode = match (self.tls.mode, &self.tls.roots) {
            (SslMode::Require, Roots::File(_)) => PgSslMode::VerifyCa,
            (SslMode::Disable, _) => PgSslMode::Disable,
            (SslMode::Allow, _) => PgSslMode::Allow,
            (SslMode::Prefer, _) => PgSslMode::Prefer,
            (SslMode::Require, _) => PgSslMode::Require,
            (SslMode::VerifyCa, _) => PgSslMode::VerifyCa,
            (SslMode::VerifyFull, _) => PgSslMode::VerifyFull,
        };
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(host.port)
            .username(&self.user)
            .database(&self.database)
            .ssl_mode(mode)
            .application_name(name)
            .extra_float_digits(None)
            .disable_statement_logging();
        options = match host.folder() {
            Some(folder) => options.socket(folder),
            None => options.host(host.address.as_deref().unwrap_or(&host.name)),
        };
        if let Some(password) = &host.password {
            options = options.password(password);
        }
        if let Roots::File(file) = &self.tls.roots {
            options = options.ssl_root_cert(file);
        }
        if let Some((certificate, key)) = &self.tls.client {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        options
    }
}

/// Ends a session.
pub async fn close(connection: PgConnection) {
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await;
}

/// Runs statements of our own making.
pub async fn execute(connection: &mut PgConnection, sql: impl Into<String>) -> std::result::Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.map(drop)
}

#[cold]
fn unreachable(task: Task, doing: String, error: sqlx::Error) -> Error {
    let hint = match &error {
        sqlx::Error::Io(_) => "is the server up, and are host and port right?",
        sqlx::Error::Tls(_) => "does the server speak TLS? see sslmode and sslrootcert in the URL",
        sqlx::Error::Database(e) => match e.code().as_deref() {
            Some("28P01" | "28000") => "check user and password in the URL (or PGPASSWORD, or ~/.pgpass)",
            Some("3D000") => "check the name of the database in the URL",
            Some("53300") => "the server has no connection left: use fewer --connections, or try again later",
            _ => "the server refused the connection",
        },
        _ => "check the URL, and whether a PostgreSQL server answers there",
    };
    Error::new(ErrorKind::Database, doing, one_line(&error)).hint(format!("{}{hint}", task.left()))
}
