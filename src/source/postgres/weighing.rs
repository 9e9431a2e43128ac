//! What the validator sets weights from: optional, so whatever stands in the way is said and no error.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use sqlx::postgres::PgConnection;

use super::connect::{execute, failed};
use crate::error::Result;
use crate::model::sanitize::sanitize;
use crate::model::weighing::{ScoreRow, Weighing, run_of};

/// A table that somebody alters is not waited for.
const TRY: &str = "SAVEPOINT recount_optional; SET LOCAL lock_timeout = '2s'";
const GIVE_UP: &str = "ROLLBACK TO SAVEPOINT recount_optional";

const NEWEST: &str = "SELECT s.miner_uid::int4, s.forecast_run_id::text FROM (
        SELECT t.miner_uid, t.forecast_run_id,
               rank() OVER (PARTITION BY t.miner_uid, t.miner_hotkey ORDER BY t.updated_at DESC NULLS LAST) AS place
        FROM weather_forecast_stats t WHERE t.miner_uid IS NOT NULL AND t.forecast_run_id IS NOT NULL) s WHERE s.place = 1";

/// Whether `score_table` is a table of the expected shape that the role may read. A view could be anything.
const SCORE_TABLE: &str = "SELECT c.relkind IN ('r', 'p'), has_table_privilege(c.oid, 'SELECT'),
        (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
            AND a.attname IN ('task_name', 'task_id', 'created_at')) = 3
    FROM pg_catalog.pg_class c WHERE c.oid = to_regclass('score_table')";

/// All columns as JSON: there is one for each miner, or in older validators one array.
const ROW: &str = "SELECT s.task_id::text, to_jsonb(s)::text FROM score_table s
    WHERE s.task_name = 'weather' AND s.task_id IS NOT NULL ORDER BY s.created_at DESC NULLS LAST LIMIT 1";

const STORED: &str = "SELECT t.miner_uid::int4, t.overall_forecast_score::float8 FROM weather_forecast_stats t
    WHERE t.run_id = $1 AND t.miner_uid IS NOT NULL";

/// Reads it in the snapshot. An error of the connection itself is one; all else is told.
pub async fn read(connection: &mut PgConnection) -> Result<Weighing> {
    let newest = tried(connection, newest).await?;
    let row = tried(connection, row).await?;
    Ok(Weighing { newest, row: row.and_then(|row| row) })
}

/// Whatever fails leaves the transaction as it was.
async fn tried<T>(
    connection: &mut PgConnection,
    work: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, sqlx::Error>,
) -> Result<std::result::Result<T, String>> {
    let cannot = |error| failed("reading what weights are set from", error);
    execute(connection, TRY).await.map_err(cannot)?;
    let found = work(connection).await.map_err(|error| sanitize(&failed("reading it", error).to_string()));
    execute(connection, GIVE_UP).await.map_err(cannot)?;
    Ok(found)
}

async fn newest(connection: &mut PgConnection) -> std::result::Result<BTreeSet<(i32, String)>, sqlx::Error> {
    let rows: Vec<(i32, String)> = sqlx::query_as(NEWEST).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

async fn row(connection: &mut PgConnection) -> std::result::Result<std::result::Result<ScoreRow, String>, sqlx::Error> {
    let told = |why: &str| Ok(Err(why.to_owned()));
    match sqlx::query_as(SCORE_TABLE).fetch_optional(&mut *connection).await? {
        None => return told("there is no score_table"),
        Some((false, _, _)) => return told("score_table is no table"),
        Some((_, false, _)) => return told("the role may not read score_table"),
        Some((_, _, false)) => return told("score_table has other columns than a validator's"),
        Some((true, true, true)) => {}
    }
    let Some((task, cells)): Option<(String, String)> = sqlx::query_as(ROW).fetch_optional(&mut *connection).await? else {
        return told("score_table has no row of the task weather");
    };
    let Some(run) = run_of(&task) else {
        return told("the newest weather row of score_table names no run");
    };
    let stored: Vec<(i32, Option<f64>)> = sqlx::query_as(STORED).bind(run).fetch_all(connection).await?;
    let scores = scores(&serde_json::from_str(&cells).unwrap_or_default());
    Ok(Ok(ScoreRow { task_id: sanitize(&task), run, scores, stored: stored.into_iter().collect() }))
}

fn scores(row: &Json) -> BTreeMap<i32, f64> {
    let of_column = |(name, score): (&String, &Json)| {
        let uid = name.strip_prefix("uid_")?.strip_suffix("_score")?.parse().ok()?;
        Some((uid, score.as_f64()?))
    };
    let listed = row["score"].as_array().into_iter().flatten().enumerate();
    let listed = listed.filter_map(|(uid, score)| Some((uid as i32, score.as_f64()?)));
    row.as_object().into_iter().flatten().filter_map(of_column).chain(listed).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scores_stand_in_a_column_each_or_in_a_list() {
        let row = json!({"uid_0_score": 0.5, "uid_17_score": null, "uid_255_score": 0.25, "uid_x_score": 1, "id": 3, "uid_2": 1});
        assert_eq!(scores(&row), [(0, 0.5), (255, 0.25)].into());
        assert_eq!(scores(&json!({"score": [0.5, "NaN", null, 0.25]})), [(0, 0.5), (3, 0.25)].into());
    }
}
