//! `phase2 revert | finish`: the way back as long as there is one, in one transaction; and its end.

use sqlx::PgConnection;

use crate::error::{Context, ErrorKind, Result};

use super::super::session::Session;
use super::apply::Tries;
use super::statements::{BEFORE, WIDE_VALUES};
use super::table::{STATS, read};
use super::{Stage, Way, order, refused, run, stage};

const REVERTING: &str = "reverting Phase 2";
const FINISHING: &str = "finishing Phase 2";

/// What a revert did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    pub statements: Vec<String>,
    /// Option `table`: what kept the wide columns at the end of the table.
    pub at_the_end: Option<String>,
}

/// Puts the schema back as it was.
pub async fn revert(url: &str) -> Result<Reverted> {
    let mut session = Session::open(url).await?;
    session.prepare().await?;
    let connection = &mut session.connection;
    let way = match stage(connection).await? {
        Stage::Applied { way, .. } => way,
        Stage::Wide => return Err(refused(REVERTING, "it is not applied")),
        Stage::Finished { .. } => return Err(refused(REVERTING, "it is finished: what was kept aside for a revert is gone")),
    };
    let undo: Vec<String> =
        sqlx::query_scalar("SELECT undo FROM rollup_phase2_changes WHERE reverted_at IS NULL AND finished_at IS NULL")
            .fetch_one(&mut *connection)
            .await
            .doing(ErrorKind::Database, || REVERTING.to_owned())?;
    run(connection, REVERTING, "BEGIN".to_owned()).await?;
    let mut tries = Tries::start(connection, REVERTING).await?;
    let reverted = loop {
        let done = match way {
            Way::Table => columns_back(connection, undo.clone()).await,
            Way::View => table_back(connection, undo.clone()).await,
        };
        match done {
            Ok(reverted) => break reverted,
            Err(error) => tries.again(connection, error).await?,
        }
    };
    let mark = "UPDATE rollup_phase2_changes SET reverted_at = clock_timestamp() WHERE reverted_at IS NULL AND finished_at IS NULL; COMMIT";
    run(connection, REVERTING, mark.to_owned()).await?;
    session.close().await;
    Ok(reverted)
}

async fn table_back(connection: &mut PgConnection, undo: Vec<String>) -> Result<Reverted> {
    run(connection, REVERTING, undo.join(";\n")).await?;
    Ok(Reverted { statements: undo, at_the_end: None })
}

/// The columns with their values, where they were. Nobody's trigger takes it for a write.
async fn columns_back(connection: &mut PgConnection, undo: Vec<String>) -> Result<Reverted> {
    run(connection, REVERTING, format!("LOCK TABLE {STATS} IN ACCESS EXCLUSIVE MODE")).await?;
    let old = order::old(connection).await?;
    let (silence, wake) = order::triggers(connection).await?;
    let mut statements = [silence, undo].concat();
    run(connection, REVERTING, statements.join(";\n")).await?;
    let table = read(connection).await?;
    let (moves, at_the_end) = match order::restored(connection, &table, &old).await? {
        Ok(moves) => (moves, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let rest = [moves, wake].concat();
    run(connection, REVERTING, rest.join(";\n")).await?;
    statements.extend(rest);
    Ok(Reverted { statements, at_the_end })
}

/// Drops what was kept aside for a revert.
pub async fn finish(url: &str) -> Result<Vec<String>> {
    let mut session = Session::open(url).await?;
    session.prepare().await?;
    let connection = &mut session.connection;
    let drop = match stage(connection).await? {
        Stage::Applied { way: Way::Table, .. } => format!("DROP TABLE {WIDE_VALUES}"),
        Stage::Applied { way: Way::View, .. } => format!("DROP TABLE {BEFORE}"),
        Stage::Wide => return Err(refused(FINISHING, "it is not applied")),
        Stage::Finished { .. } => return Err(refused(FINISHING, "it is finished already")),
    };
    run(connection, FINISHING, "BEGIN".to_owned()).await?;
    let mut tries = Tries::start(connection, FINISHING).await?;
    while let Err(error) = run(connection, FINISHING, drop.clone()).await {
        tries.again(connection, error).await?;
    }
    let mark = "UPDATE rollup_phase2_changes SET finished_at = clock_timestamp() WHERE reverted_at IS NULL AND finished_at IS NULL; COMMIT";
    run(connection, FINISHING, mark.to_owned()).await?;
    session.close().await;
    Ok(vec![drop])
}
