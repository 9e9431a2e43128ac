//! COMMIT, and what to say where its answer never came.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Watch;

use super::session::{Session, code, failed};
use super::transaction::try_lock;

/// A server that has not answered by then has gone, or the way to it has.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the truth is looked for.
const INQUIRY_ATTEMPTS: u32 = 60;
const INQUIRY_INTERVAL: Duration = Duration::from_millis(500);

/// Commits. Where the connection is lost meanwhile, the job's own row tells whether it went through; then a note says so.
pub async fn commit(mut session: Session<'_>, url: &str, job: &str, watch: &dyn Watch) -> Result<Option<String>> {
    // From here on an interrupt comes too late: what was sent may be done.
    let committing = sqlx::raw_sql("COMMIT").execute(&mut session.connection);
    let why = match tokio::time::timeout(COMMIT_TIMEOUT, committing).await {
        Ok(Ok(_)) => {
            session.close().await;
            return Ok(None);
        }
        Ok(Err(error)) if is_answer(&error) => return Err(failed("committing the job", &error)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", COMMIT_TIMEOUT.as_secs()),
    };
    drop(session);
    inquire(url, job, &why, watch).await
}

/// The server itself says that it did not commit. One that is shutting down may have done so before.
fn is_answer(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| !code.starts_with("57P") && !code.starts_with("08"))
}

async fn inquire(url: &str, job: &str, why: &str, watch: &dyn Watch) -> Result<Option<String>> {
    for _ in 0..INQUIRY_ATTEMPTS {
        match went_through(url, job).await {
            Ok(Some(true)) => {
                return Ok(Some(format!("the connection was lost during COMMIT; job {job} is in rollup_jobs: it went through")));
            }
            Ok(Some(false)) => {
                let detail = format!("the connection was lost ({why}); job {job} is not in rollup_jobs: it did not go through");
                return Err(
                    Error::new(ErrorKind::Database, "committing the job", detail).hint("nothing was written; run it again")
                );
            }
            // The server is not back yet, or the old session still has its lock.
            Ok(None) | Err(_) => {
                if watch.check().is_err() {
                    break;
                }
                tokio::time::sleep(INQUIRY_INTERVAL).await;
            }
        }
    }
    let detail = format!("the connection was lost ({why}), and the server cannot be asked whether job {job} went through");
    Err(Error::new(ErrorKind::Database, "committing the job", detail)
        .hint(format!("`recount jobs show {job}` tells once the server is back; if there is no such job, nothing was written")))
}

/// Whether the job is there; `None` while its session may still be at work. The lock of jobs ends with that session's transaction:
/// once we have it, the job has either committed or never will.
async fn went_through(url: &str, job: &str) -> Result<Option<bool>> {
    let mut session = Session::open(url, "inquiry", &()).await?;
    let doing = "asking whether the job went through";
    session.begin("BEGIN").await?;
    let mut answer = None;
    if try_lock(&mut session, doing).await? {
        let query = sqlx::query_scalar("SELECT EXISTS (SELECT FROM rollup_jobs WHERE id = $1::uuid)").bind(job);
        answer = Some(session.wait(doing, async |c| query.fetch_one(c).await).await?);
    }
    session.execute(doing, "ROLLBACK").await?;
    session.close().await;
    Ok(answer)
}
