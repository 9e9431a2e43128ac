//! Where Phase 2 stands: what was changed, who is watched, what was proved.

use sqlx::PgConnection;

use super::super::session::{Session, is_there};
use super::watch::{Watch, look};
use super::{Stage, Way, stage};
use crate::error::Result;
use crate::model::time::Micros;
use crate::postgres::{Judged, Task};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub stage: Stage,
    pub watch: Watch,
    /// The latest of each option, where there is one.
    pub proofs: Vec<Proved>,
}

/// A proof as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    pub id: i64,
    pub way: Way,
    pub ready: bool,
    pub at: Micros,
}

/// Reads where Phase 2 stands. Changes nothing, and needs no more than the right to read.
///
/// # Errors
/// Where the database cannot be reached, or a record of Phase 2 may not be read.
pub async fn status(url: &str) -> Result<Standing> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let connection = &mut session.connection;
    let standing =
        Standing { stage: stage(connection).await?, watch: look(connection).await?, proofs: proofs(connection).await? };
    session.commit().await?;
    session.close().await;
    Ok(standing)
}

async fn proofs(connection: &mut PgConnection) -> Result<Vec<Proved>> {
    let doing = || "reading the proofs of Phase 2".to_owned();
    if !is_there(connection, "rollup_phase2_proofs").await.judged(Task::Read, doing)? {
        return Ok(Vec::new());
    }
    let proofs: Vec<(i64, String, bool, i64)> = sqlx::query_as(
        "SELECT DISTINCT ON (option) id, option, ready, (extract(epoch FROM proved_at) * 1000000)::bigint
         FROM rollup_phase2_proofs ORDER BY option, id DESC",
    )
    .fetch_all(connection)
    .await
    .judged(Task::Read, doing)?;
    let proved = |(id, option, ready, at): (i64, String, _, _)| Proved { id, way: Way::of(&option), ready, at: Micros(at) };
    Ok(proofs.into_iter().map(proved).collect())
}
