//! The ground floor of everything that speaks with PostgreSQL: where a server is, how it is reached, what its errors mean, how names and
//! texts become SQL, and the numbers of its protocol.
//!
//! Stages open connections here and nowhere else, so that all commands read the same parameters, wait for the same time, and say the
//! same about the same error.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Context, Error, ErrorKind, Result};

mod connect;
mod environment;
mod errors;
mod guard;
pub mod interrupt;
mod link;
mod parameters;
mod relay;
mod scram;
mod search_path;
mod settings;
mod sql;
mod tls;
mod url;
pub mod wire;

pub use connect::{Reached, close, execute};
pub use environment::user_name;
pub use errors::{Judged, Task, code, failed, is_rejection};
pub use guard::guarded;
pub use scram::NewPassword;
pub use search_path::{OURS, SearchPath, schema_of, set_search_path};
pub use settings::Target;
pub use sql::{PLAIN_SQL, identifier, literal, readable_json};

/// The advisory lock of the migrations: "recount" in ASCII.
pub const MIGRATIONS_LOCK: i64 = 0x72_65_63_6f_75_6e_74;

/// The validator's pause lock. Its maintenance holds it exclusively while the database must be left alone, and its workers start
/// nothing as long as somebody does.
pub const PAUSE_LOCK: i64 = 746_227_728_439;

/// The query that takes the pause lock until the transaction ends, or gives false: shared, which stops no worker and keeps the
/// maintenance away, or exclusively with `pause`, which stops the workers.
pub fn try_pause_lock(pause: bool) -> String {
    let shared = if pause { "" } else { "_shared" };
    format!("SELECT pg_catalog.pg_try_advisory_xact_lock{shared}({PAUSE_LOCK})")
}

/// The advisory lock of jobs that write: "recountw" in ASCII. It is taken within a transaction and ends with it.
pub const JOBS_LOCK: i64 = 0x72_65_63_6f_75_6e_74_77;

/// `--allow-cleartext-password`: set once, before the first connection.
static CLEARTEXT_PASSWORD: AtomicBool = AtomicBool::new(false);

/// From now on a password is sent in clear text, or as an MD5 hash, over connections that are not encrypted, where the server asks so.
pub fn allow_cleartext_password() {
    CLEARTEXT_PASSWORD.store(true, Ordering::Relaxed);
}

fn cleartext_password_is_allowed() -> bool {
    CLEARTEXT_PASSWORD.load(Ordering::Relaxed)
}

/// The password of `--password-file`: set once, before the first connection.
static PASSWORD: OnceLock<String> = OnceLock::new();

/// Of a file with a password, nothing more is read: a larger one is something else.
const PASSWORD_MAX: u64 = 4096;

/// From now on the password of this file is taken wherever a URL has none, before `PGPASSWORD` and the password file of libpq.
///
/// # Errors
/// Where the file cannot be read, others can read it, or it does not hold a line of text. No message repeats any of it.
pub fn take_password_from(path: &Path) -> Result<()> {
    let doing = || format!("reading the password file {}", path.display());
    let wrong = |detail: &str, hint: &str| Err(Error::new(ErrorKind::Usage, doing(), detail).hint(hint));
    let found = path.metadata().doing(ErrorKind::Usage, doing)?;
    if !found.is_file() || found.len() > PASSWORD_MAX {
        return wrong("it is no small regular file", "expected a file with the password on one line, and nothing else");
    }
    // A group may: so systemd hands over credentials.
    if found.permissions().mode() & 0o007 != 0 {
        return wrong("everybody on this machine can read it", "chmod 0600, and think of a new password");
    }
    let bytes = std::fs::read(path).doing(ErrorKind::Usage, doing)?;
    let password = String::from_utf8(bytes).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    match password.filter(|password| !password.is_empty() && !password.contains(['\n', '\0'])) {
        Some(password) => {
            PASSWORD.get_or_init(|| password);
            Ok(())
        }
        None => wrong("it does not hold a password", "expected a file with the password on one line, and nothing else"),
    }
}

/// Reads a row into a struct whose fields have the names of its columns. sqlx has a derive for it, for which all of sqlx would
/// be compiled a second time, for the compiler itself.
macro_rules! from_row {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for $name {
            fn from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok($name { $($field: row.try_get(stringify!($field))?),* })
            }
        }
    };
}
pub(crate) use from_row;
