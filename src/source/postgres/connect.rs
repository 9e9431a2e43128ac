//! Connections: from a URL, set up for one long reading job, with errors that say what to do and never a password.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::Options;
use crate::error::{Error, ErrorKind, Result};

/// Connection parameters that sqlx knows. Others are refused here, since sqlx would log them with their values.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];
/// What the server may take to pack the rows of one run: a few megabytes for scores, some tens for components.
const WORK_MEM_MB: u32 = 128;
const URL_HINT: &str =
    "expected postgres://user:password@host:port/database; in a password, characters like @ : / ? # % must be percent-encoded";

/// A database to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    options: PgConnectOptions,
    /// The URL without password and parameters.
    pub shown: String,
}

impl Target {
    pub fn parse(url: &str) -> Result<Target> {
        let wrong = |detail: String| Err(Error::new(ErrorKind::Usage, "reading the database URL", detail).hint(URL_HINT));
        let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
        for name in parameters.split('&').map(|pair| pair.split('=').next().unwrap_or(pair)) {
            let known =
                name.is_empty() || PARAMETERS.contains(&name) || name == "application_name" || name.starts_with("options[");
            // A name with odd characters may be a part of a password: it is not repeated.
            if !known && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') && base.contains('/') {
                return wrong(format!("no such parameter: {name}"));
            } else if !known {
                return wrong("its parameters are not of the form name=value".to_owned());
            }
        }
        let options = match PgConnectOptions::from_str(url) {
            Ok(options) => options,
            Err(error) => return wrong(one_line(&error)),
        };
        // A `/` or `?` in a password ends the part of the URL where it belongs, and the rest lands in the path.
        if base.split_once("://").and_then(|(_, rest)| rest.split_once('/')).is_some_and(|(_, path)| path.contains('@')) {
            return wrong("there is an @ behind the host".to_owned());
        }
        let shown = shown(&options);
        Ok(Target { options: options.application_name("recount").disable_statement_logging(), shown })
    }

    /// Connects and sets up the session. `role` says what the connection is for.
    pub async fn connect(&self, role: &str, options: &Options) -> Result<PgConnection> {
        let doing = || format!("connecting to {} ({role})", self.shown);
        let connecting = PgConnection::connect_with(&self.options);
        let mut connection = match tokio::time::timeout(options.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|e| unreachable(doing(), e))?,
            Err(_) => {
                let detail = format!("no answer within {} s", options.connect_timeout.as_secs_f64());
                return Err(Error::new(ErrorKind::Database, doing(), detail)
                    .hint("is this the right host, and does a firewall let it through?"));
            }
        };
        execute(&mut connection, session(options)).await.map_err(|e| failed(doing(), e))?;
        Ok(connection)
    }
}

fn shown(options: &PgConnectOptions) -> String {
    let place = match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or(options.get_username());
    format!("postgres://{}@{place}:{}/{database}", options.get_username(), options.get_port())
}

/// The session of every connection: it cannot write, it is not ended while it waits for its turn, and no policy hides rows.
/// Rows are packed into groups by hashing them, not by sorting them, and each reader is one process of the server.
fn session(options: &Options) -> String {
    let ms = |timeout: Duration| timeout.as_millis();
    format!(
        "SET default_transaction_read_only = on;
         SET statement_timeout = {};
         SET lock_timeout = {};
         SET idle_in_transaction_session_timeout = 0;
         SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
         SET row_security = off;
         SET jit = off;
         SET enable_sort = off;
         SET work_mem = '{WORK_MEM_MB}MB';
         SET max_parallel_workers_per_gather = 0;
         SET TimeZone = 'UTC'",
        ms(options.statement_timeout),
        ms(options.lock_timeout),
    )
}

/// Runs statements of our own making.
pub async fn execute(connection: &mut PgConnection, sql: impl Into<String>) -> std::result::Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.map(drop)
}

#[cold]
fn unreachable(doing: String, error: sqlx::Error) -> Error {
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
    Error::new(ErrorKind::Database, doing, one_line(&error)).hint(hint).caused_by(error)
}

/// A statement that failed, or a server that went away while it ran.
#[cold]
pub fn failed(doing: impl Into<String>, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
    let (kind, hint) = match code.as_deref() {
        Some("42501") => (ErrorKind::Database, "the role needs SELECT on the tables and USAGE on their schema"),
        Some("57014") => {
            (ErrorKind::Database, "a statement took longer than this job allows (an hour by default), or someone cancelled it")
        }
        Some("55P03") => (ErrorKind::Database, "another session holds a lock on the table, a migration perhaps: try again later"),
        Some("40001" | "40P01") => {
            (ErrorKind::Retry, "try again; on a standby, max_standby_streaming_delay decides how long a query may take")
        }
        Some(code) if code.starts_with("57P") || code.starts_with("08") => (ErrorKind::Database, GONE_HINT),
        Some(code) if code.starts_with("53") => {
            (ErrorKind::Database, "the server is out of resources (disk, memory or connections)")
        }
        Some(_) => (ErrorKind::Database, "the server refused a statement that should work; see its log"),
        None => (ErrorKind::Database, GONE_HINT),
    };
    let detail = match code {
        Some(_) => one_line(&error),
        None => format!("the connection was lost: {}", one_line(&error)),
    };
    Error::new(kind, doing, detail).hint(hint).caused_by(error)
}

const GONE_HINT: &str = "the server went away; nothing was written, so simply run it again once it is back";

/// What went wrong, in one line: of the server's message without the place in its own source code.
fn one_line(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(e) => e.message().to_owned(),
        sqlx::Error::Io(e) => e.to_string(),
        sqlx::Error::Configuration(e) => e.to_string(),
        other => other.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let error = Target::parse(url).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Usage, Some(URL_HINT)));
        error.to_string()
    }

    #[test]
    fn what_is_shown_has_no_password_and_no_parameters() {
        let target = Target::parse("postgres://ann:secret@db.example:5433/validator?sslmode=disable&password=other").unwrap();
        assert_eq!(target.shown, "postgres://ann@db.example:5433/validator");
        let target = Target::parse("postgresql://ann:secret@%2Frun%2Fpg:5433/v").unwrap();
        assert_eq!(target.shown, "postgres://ann@/run/pg:5433/v");
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for url in [
            "postgres://ann:sec#ret@host/db",
            "postgres://ann:12/secret@host/db",
            "postgres://ann:12?secret@host/db",
            "postgres://ann:secret?x@host/db",
            "postgres://ann:secret@host:port/db",
            "postgres://ann:secret@host/db?pasword=secret",
            "postgres://ann:secret@host/db?sslmode=secretly",
            "postgres://[secret/db",
        ] {
            let message = refused(url);
            assert!(!message.contains("secret") || url.ends_with("secretly"), "{message}");
        }
        insta::assert_snapshot!(refused("postgres://host/db?pasword=x"), @"reading the database URL: no such parameter: pasword");
        insta::assert_snapshot!(refused("postgres://ann:x@host:port/db"), @"reading the database URL: invalid port number");
    }
}
