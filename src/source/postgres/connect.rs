//! What holds in each transaction that reads, and what its errors mean.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::Options;
use crate::error::{Error, Result};
use crate::postgres::{Target, Task};

pub use crate::postgres::execute;

/// How long the server may say nothing where a statement has no bound.
const SILENCE: Duration = Duration::from_secs(6 * 3600);
/// Beyond the server's own bound of a statement, so that its message comes first.
pub const GRACE: Duration = Duration::from_secs(30);

/// The rows of one run and table, as they travel: a run of 5 million steps has less than one.
const COPY_BYTES_MAX: u64 = 4 << 30;
/// The rows of a small table, as they travel: 100,000 runs have 20 MB.
pub const SMALL_TABLE_BYTES_MAX: u64 = 128 << 20;
/// What the server may take to pack the rows of one run: a few megabytes for scores, some tens for components.
const WORK_MEM_MB: u32 = 128;

/// Connects for reading; `role` says what the connection is for. Nothing is set in the session, since behind a pooler it outlives us.
pub async fn connect(target: &Target, options: &Options, role: &str) -> Result<PgConnection> {
    let silence = if options.statement_timeout.is_zero() { SILENCE } else { options.statement_timeout };
    target.connect_for(Task::Read, "recount", role, silence + GRACE).await
}

/// Begins a transaction that cannot write, is not ended while it waits for its turn, and from which no policy hides rows. `pin` comes
/// before anything that needs a snapshot. Rows are packed into groups by hashing them, not by sorting them, and each reader is one
/// process of the server.
pub fn begin(options: &Options, pin: &str) -> String {
    let ms = |timeout: Duration| timeout.as_millis();
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         {pin}
         SET LOCAL statement_timeout = {};
         SET LOCAL lock_timeout = {};
         SET LOCAL idle_in_transaction_session_timeout = 0;
         SET LOCAL row_security = off;
         SET LOCAL jit = off;
         SET LOCAL enable_sort = off;
         SET LOCAL work_mem = '{WORK_MEM_MB}MB';
         SET LOCAL max_parallel_workers_per_gather = 0;
         SET LOCAL extra_float_digits = 1;
         SET LOCAL TimeZone = 'UTC'",
        ms(options.statement_timeout),
        ms(options.lock_timeout),
    )
}

/// For a transaction that has its snapshot: PostgreSQL 17 and later would end one that takes long.
pub const NO_TRANSACTION_TIMEOUT: &str =
    "SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'";

/// How many bytes the rows of one statement may have: they are held in memory, and a server that never stops must not take all of it.
pub fn copy_bytes_max() -> u64 {
    static MAX: LazyLock<u64> = LazyLock::new(|| {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kilobytes = available.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.map_or(COPY_BYTES_MAX, |kilobytes| (kilobytes * 1024 / 2).min(COPY_BYTES_MAX))
    });
    *MAX
}

/// A statement that failed, or a server that went away while it ran.
#[cold]
pub fn failed(doing: impl Into<String>, error: sqlx::Error) -> Error {
    crate::postgres::failed(Task::Read, doing, &error).caused_by(error)
}
