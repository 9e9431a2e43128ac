//! What an error of the server means: one judge, so that one SQLSTATE has one meaning in all commands.

use sqlx::postgres::PgDatabaseError;

use super::interrupt;
use crate::error::{Error, ErrorKind, Result};

/// What a connection is for. It decides what an error can have left behind, and which rights are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Reads the validator's tables.
    Read,
    /// Corrects rollups in one transaction; the error came before its COMMIT.
    Correct,
    /// Changes the schema.
    Migrate,
    /// Fills an empty database.
    Load,
}

impl Task {
    fn rights(self) -> &'static str {
        match self {
            Task::Read => "the role needs SELECT on the tables and USAGE on their schema",
            Task::Correct => "the role needs the rights of recount_corrector, see docs/corrections.md",
            Task::Migrate => "connect as the owner of the validator's tables",
            Task::Load => "connect as the owner of the tables",
        }
    }

    /// What every hint begins with, so that a reader knows what the error has left behind.
    pub(super) fn left(self) -> &'static str {
        match self {
            Task::Correct => "nothing was written; ",
            Task::Read | Task::Migrate | Task::Load => "",
        }
    }
}

/// The SQLSTATE of an error that the server sent.
pub fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned())
}

/// True where the server refused the data of a statement: a constraint, a trigger, a value out of range.
pub fn is_rejection(error: &sqlx::Error) -> bool {
    code(error)
        .and_then(|code| code.get(..2).map(str::to_owned))
        .is_some_and(|class| ["22", "23", "27", "44", "P0"].contains(&&*class))
}

/// A statement that failed, or a server that went away while it ran. Only the message: a detail may quote whole rows.
#[cold]
pub fn failed(task: Task, doing: impl Into<String>, error: &sqlx::Error) -> Error {
    // A job that corrects says by itself what an interrupt has left behind.
    if interrupt::is_asked() && task != Task::Correct {
        let detail = match code(error).as_deref() {
            Some("57014") => "interrupted; what was under way was rolled back".to_owned(),
            _ => format!("interrupted; {}", one_line(error)),
        };
        return Error::new(ErrorKind::Interrupted, doing, detail);
    }
    let Some(code) = code(error) else {
        let detail = format!("the connection was lost: {}", one_line(error));
        return Error::new(ErrorKind::Database, doing, detail).hint(format!("{}{GONE}", task.left()));
    };
    if let Some(hint) = own_hint(task, &code, error) {
        return Error::new(ErrorKind::Refused, doing, one_line(error)).hint(hint);
    }
    let (kind, hint) = if is_of_policies(error) { (ErrorKind::Database, HIDDEN) } else { judge(task, &code) };
    Error::new(kind, doing, one_line(error)).hint(format!("{}{hint}", task.left()))
}

/// What a migration of ours says is to be done where it refuses by itself.
fn own_hint(task: Task, code: &str, error: &sqlx::Error) -> Option<String> {
    const REFUSED: &str = "RC001";
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    (task == Task::Migrate && code == REFUSED).then(|| error.hint().unwrap_or_default().to_owned())
}

/// Whether the server would hide rows from us, and says so since we ask it to. Its message may be in any language.
fn is_of_policies(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.and_then(PgDatabaseError::routine) == Some("check_enable_rls")
}

const HIDDEN: &str =
    "policies hide rows from this role, and every row counts: connect as the owner of the tables, or ALTER ROLE … BYPASSRLS";

/// `result.judged(Task::Read, || "reading …")`: gives an error of the server its context, kind and hint.
pub trait Judged<T> {
    fn judged(self, task: Task, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Judged<T> for std::result::Result<T, sqlx::Error> {
    fn judged(self, task: Task, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| failed(task, doing(), &error).caused_by(error))
    }
}

const GONE: &str = "the server went away; simply run it again once it is back";

/// Kind and hint of a SQLSTATE.
pub(super) fn judge(task: Task, code: &str) -> (ErrorKind, &'static str) {
    match code {
        "40001" => (ErrorKind::Retry, "try again; on a standby, max_standby_streaming_delay decides how long a query may take"),
        "40P01" => (ErrorKind::Retry, "another session was in the way; try again"),
        "55P03" => {
            (ErrorKind::Retry, "another session holds a lock on the table, a migration perhaps: try again when it is done")
        }
        "42501" => (ErrorKind::Database, task.rights()),
        "25006" => (
            ErrorKind::Database,
            "the server takes no writes from this session: connect to the primary, as a role for which default_transaction_read_only is off",
        ),
        "57014" => {
            (ErrorKind::Database, "a statement took longer than this job allows (an hour by default), or someone cancelled it")
        }
        "28P01" | "28000" => (ErrorKind::Database, "check user and password in the URL (or PGPASSWORD, or ~/.pgpass)"),
        "3D000" => (ErrorKind::Database, "check the name of the database in the URL"),
        "53300" => (ErrorKind::Database, "the server has no connection left: use fewer --connections, or try again later"),
        "53100" => (ErrorKind::Database, "the server's disk is full"),
        "22P05" => (
            ErrorKind::Data,
            "the database's encoding has no such character: recount reads and writes UTF-8 (SHOW server_encoding)",
        ),
        "22021" => (
            ErrorKind::Data,
            "the table holds bytes that are no UTF-8, as an SQL_ASCII database allows: correct these rows, or restore into a UTF8 database",
        ),
        "2BP01" => (ErrorKind::Refused, "something depends on it; `recount phase2 check` lists what"),
        "23505" if task == Task::Migrate => {
            (ErrorKind::Data, "rows of equal key came in past the triggers; merge them and run it again")
        }
        code if code.starts_with("57P") || code.starts_with("08") => (ErrorKind::Database, GONE),
        code if code.starts_with("53") => (ErrorKind::Database, "the server is out of resources (disk, memory or connections)"),
        code if task != Task::Read && ["22", "23", "P0"].iter().any(|class| code.starts_with(class)) => {
            (ErrorKind::Data, "a value, a constraint or a trigger of the database stands against it")
        }
        _ => (ErrorKind::Database, "the server refused a statement that should work; see its log"),
    }
}

/// What went wrong, in one line: of the server's message without the place in its own source code.
pub(super) fn one_line(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(e) => e.message().to_owned(),
        sqlx::Error::Io(e) => e.to_string(),
        sqlx::Error::Configuration(e) => e.to_string(),
        other => other.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
