//! The validator's pause lock. Its maintenance holds it exclusively while the database must be left alone (backups, restarts), and
//! its workers start nothing as long as somebody does.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{PAUSE_LOCK, try_pause_lock};

use super::session::Session;

/// How long a job waits for the validator's maintenance.
const WAIT_MAX: Duration = Duration::from_secs(30);
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// Waits until nobody holds the lock against us, and keeps it until the transaction ends: shared, which stops no worker, or
/// exclusively with `pause`, which stops them all. Gives a note where it waited or paused.
///
/// # Errors
/// Refused, where the lock is held for longer than half a minute.
pub async fn take(session: &mut Session<'_>, pause: bool) -> Result<Option<String>> {
    let start = Instant::now();
    let mut waited = false;
    while !ask(session, pause).await? {
        if !waited {
            tracing::warn!("waiting for the validator's pause lock (advisory lock {PAUSE_LOCK})");
            waited = true;
        }
        if start.elapsed() > WAIT_MAX {
            let detail = format!(
                "the validator's pause lock (advisory lock {PAUSE_LOCK}) is held by another session for more than {} s",
                WAIT_MAX.as_secs()
            );
            return Err(Error::new(ErrorKind::Refused, "waiting for the validator's maintenance", detail)
                .hint("nothing was written; run it again when the maintenance is over"));
        }
        tokio::time::sleep(ASK_INTERVAL).await;
        session.check()?;
    }
    Ok(match (pause, waited) {
        (true, _) => Some("the validator was paused while this was written".to_owned()),
        (false, true) => Some(format!("waited {} ms for the validator's pause lock", start.elapsed().as_millis())),
        (false, false) => None,
    })
}

async fn ask(session: &mut Session<'_>, pause: bool) -> Result<bool> {
    let sql = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(try_pause_lock(pause)));
    session.wait("taking the validator's pause lock", async |c| sql.fetch_one(c).await).await
}
