//! `phase2 revert | finish`: the way back as long as there is one, in one transaction; and its end.

use std::time::Duration;

use sqlx::PgConnection;

use crate::error::Result;
use crate::model::time::Micros;
use crate::postgres::{Judged, Task};

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
    session.prepare(false).await?;
    session.begin().await?;
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
            .judged(Task::Migrate, || REVERTING.to_owned())?;
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
    let mark =
        "UPDATE rollup_phase2_changes SET reverted_at = clock_timestamp() WHERE reverted_at IS NULL AND finished_at IS NULL";
    run(connection, REVERTING, mark.to_owned()).await?;
    session.commit().await?;
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

/// What `finish` drops for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The table that goes.
    pub relation: &'static str,
    pub way: Way,
    /// When the change was applied.
    pub applied_at: Micros,
    pub rows: i64,
    /// Wide values that are not NULL (option `view`: 0, whole rows go).
    pub values: i64,
    pub bytes: i64,
}

/// What `finish` would drop.
///
/// # Errors
/// Refused where Phase 2 is not applied, is finished already, or was applied less than `min_age` ago.
pub async fn loss(url: &str, min_age: Duration) -> Result<Loss> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let connection = &mut session.connection;
    let (way, applied_at) = final_stage(connection, min_age).await?;
    let relation = aside(way);
    let doing = || format!("looking at {relation}");
    let values = match way {
        Way::View => "0".to_owned(),
        Way::Table => {
            let wide: Vec<String> = sqlx::query_scalar(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
                 AND attname NOT IN ('miner_uid', 'forecast_run_id')",
            )
            .bind(relation)
            .fetch_all(&mut *connection)
            .await
            .judged(Task::Migrate, doing)?;
            format!("coalesce(sum(num_nonnulls({})), 0)", wide.join(", "))
        }
    };
    let sql = format!("SELECT count(*), ({values})::bigint, pg_total_relation_size(to_regclass('{relation}')) FROM {relation}");
    let (rows, values, bytes): (i64, i64, i64) =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *connection).await.judged(Task::Migrate, doing)?;
    session.commit().await?;
    session.close().await;
    Ok(Loss { relation, way, applied_at, rows, values, bytes })
}

/// Option and time of a change that can be made final.
async fn final_stage(connection: &mut PgConnection, min_age: Duration) -> Result<(Way, Micros)> {
    let (way, at) = match stage(connection).await? {
        Stage::Applied { way, at } => (way, at),
        Stage::Wide => return Err(refused(FINISHING, "it is not applied")),
        Stage::Finished { .. } => return Err(refused(FINISHING, "it is finished already")),
    };
    let young: bool =
        sqlx::query_scalar("SELECT to_timestamp($1::float8 / 1000000) + make_interval(secs => $2) > clock_timestamp()")
            .bind(at.0 as f64)
            .bind(min_age.as_secs_f64())
            .fetch_one(connection)
            .await
            .judged(Task::Migrate, || FINISHING.to_owned())?;
    if young {
        let detail = format!("it was applied at {}, less than --min-age ago", at.iso());
        return Err(refused(FINISHING, detail).hint(
            "wait until every reader and writer has been seen to work, a whole day of the validator at least; --min-age changes it",
        ));
    }
    Ok((way, at))
}

/// What is kept aside until `finish`.
fn aside(way: Way) -> &'static str {
    match way {
        Way::Table => WIDE_VALUES,
        Way::View => BEFORE,
    }
}

/// Drops what was kept aside for a revert.
///
/// # Errors
/// As [`loss`].
pub async fn finish(url: &str, min_age: Duration) -> Result<Vec<String>> {
    let mut session = Session::open(url).await?;
    session.prepare(false).await?;
    session.begin().await?;
    let connection = &mut session.connection;
    let (way, _) = final_stage(connection, min_age).await?;
    let drop = format!("DROP TABLE {}", aside(way));
    let mut tries = Tries::start(connection, FINISHING).await?;
    while let Err(error) = run(connection, FINISHING, drop.clone()).await {
        tries.again(connection, error).await?;
    }
    let mark =
        "UPDATE rollup_phase2_changes SET finished_at = clock_timestamp() WHERE reverted_at IS NULL AND finished_at IS NULL";
    run(connection, FINISHING, mark.to_owned()).await?;
    session.commit().await?;
    session.close().await;
    Ok(vec![drop])
}
