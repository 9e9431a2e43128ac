//! The questions of docs/questions.md: every engine gives the same answers, and recount's own rollups the first of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;

use recount::internals::model::rollups::{ForecastStat, LeadScore, MinerStat, Rollup};
use recount::internals::model::rows::rows_from_batch;

use crate::support::python::{answer, answer_with, spark};
use crate::support::repository::read;
use crate::support::{database, recount};

use super::{archived_sample, sample};

const PAGE: &str = "docs/questions.md";
const SCRIPT: &str = include_str!("questions.py");
const QUESTIONS: usize = 10;

/// Two nights, and what a database loses and drifts between them.
fn two_nights(folder: &Path) -> String {
    let dest = folder.join("archive").to_str().unwrap().to_owned();
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "12", "--miners", "8", "--seed", "5", "--messy", "--drift", "30", "--database-url", &url])
        .run()
        .succeeds();
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    db.execute("DELETE FROM weather_forecast_runs WHERE id <= 2");
    db.execute("DELETE FROM weather_forecast_component_scores WHERE run_id = 3");
    // What is left of these miners counts, and what went does not.
    db.execute("DELETE FROM weather_forecast_component_scores WHERE run_id = 4 AND lead_hours <= 48");
    db.execute("DELETE FROM weather_miner_scores WHERE run_id = 5 AND score_type LIKE 'era5%'");
    db.execute("UPDATE miner_stats SET avg_forecast_score = 0.25 WHERE miner_uid < 3");
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    dest
}

/// Doubles that are summed in another order are not the same bits.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs().max(1e-3)
        }
        _ => a == b,
    }
}

#[test]
fn every_engine_gives_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let dest = two_nights(folder.path());
    let page = read(PAGE);
    let duckdb = answer(SCRIPT, folder.path(), &["duckdb", &page]);
    let answers = duckdb.as_object().unwrap();
    assert_eq!(answers.len(), QUESTIONS);
    assert!(answers.values().all(|rows| !rows.as_array().unwrap().is_empty()), "{duckdb}");
    let column = |question: &str, at: usize| -> Vec<Json> {
        answers[question].as_array().unwrap().iter().map(|row| row[at].clone()).collect()
    };
    let total = |values: Vec<Json>| values.iter().filter_map(Json::as_f64).sum::<f64>();
    assert_eq!(column("9", 0).iter().map(Json::to_string).collect::<BTreeSet<_>>().len(), 2, "both nights: {duckdb}");
    assert_eq!(total(column("10", 2)), 2.0, "runs that are gone: {duckdb}");
    assert_eq!(total(column("10", 3)), super::rows(&dest, "retained") as f64, "rows that are gone: {duckdb}");
    for engine in ["polars", "pandas"] {
        agrees(engine, &answer(SCRIPT, folder.path(), &[engine, &page]), &duckdb);
    }
    agrees("spark", &answer_with(&spark(), SCRIPT, folder.path(), &["spark", &page]), &duckdb);
}

fn agrees(engine: &str, found: &Json, duckdb: &Json) {
    for (question, expected) in duckdb.as_object().unwrap() {
        assert!(same(&found[question], expected), "question {question}\n{engine} {}\nDuckDB {expected}", found[question]);
    }
}

fn rollups<R: Rollup>() -> Vec<R> {
    let run = recount(["recompute", &sample(), "--out", "out"]).run().succeeds();
    let file = File::open(run.folder().join("out").join(format!("{}.parquet", R::TABLE))).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| rows_from_batch(&batch.unwrap()).unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The placed rows: of those that compete for a place the greatest run has it (D1).
fn placed() -> Vec<ForecastStat> {
    let mut placed: BTreeMap<_, ForecastStat> = BTreeMap::new();
    for row in rollups::<ForecastStat>() {
        let key = (row.miner_uid, row.forecast_run_id.clone());
        let known = placed.entry(key).or_insert_with(|| row.clone());
        if known.run_id < row.run_id {
            *known = row;
        }
    }
    placed.into_values().collect()
}

/// The first question, from recount's own rollups.
fn decay() -> Vec<(f64, f64)> {
    let best: Vec<_> =
        rollups::<MinerStat>().into_iter().filter(|row| row.miner_rank <= Some(10) && row.miner_rank.is_some()).collect();
    let placed: BTreeSet<_> = placed().into_iter().map(|row| (row.run_id, row.miner_uid)).collect();
    let mut leads: BTreeMap<i32, Vec<f64>> = BTreeMap::new();
    for row in rollups::<LeadScore>().into_iter().filter(|row| row.scored == Some(true)) {
        if best.iter().any(|miner| miner.miner_uid == row.miner_uid) && placed.contains(&(row.run_id, row.miner_uid)) {
            leads.entry(row.lead_hours.unwrap()).or_default().extend(row.skill);
        }
    }
    leads.into_iter().map(|(lead, skills)| (lead.into(), mean(&skills))).collect()
}

/// The second. The sample lies within one month.
fn improved() -> Vec<(f64, f64)> {
    let mut miners: BTreeMap<i32, Vec<(f64, f64)>> = BTreeMap::new();
    let placed = placed();
    let is_completed = |row: &&ForecastStat| row.forecast_status.as_deref() == Some("completed");
    let over: BTreeSet<_> = placed.iter().filter(is_completed).map(|row| row.run_id).collect();
    for row in placed.iter().filter(|row| over.contains(&row.run_id)) {
        if let (Some(time), Some(score)) = (row.forecast_init_time, row.era5_combined_score) {
            miners.entry(row.miner_uid.unwrap()).or_default().push((time.0 as f64 / 86_400e6, score));
        }
    }
    let slope = |points: &[(f64, f64)]| {
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let (mx, my) = (mean(&x), mean(&y));
        let cov: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
        cov / x.iter().map(|x| (x - mx) * (x - mx)).sum::<f64>()
    };
    let days = |points: &[(f64, f64)]| points.iter().map(|(day, _)| day.to_bits()).collect::<BTreeSet<_>>().len();
    let mut slopes: Vec<_> = miners.iter().filter(|(_, p)| days(p) > 1).map(|(uid, p)| (f64::from(*uid), slope(p))).collect();
    slopes.sort_by(|a, b| b.1.total_cmp(&a.1));
    slopes.truncate(5);
    slopes
}

#[test]
fn the_first_answers_are_those_of_recounts_own_rollups() {
    let (folder, _dest) = archived_sample();
    let duckdb = answer(SCRIPT, folder.path(), &["duckdb", &read(PAGE)]);
    for (question, expected) in [("1", decay()), ("2", improved())] {
        let expected: Json = expected.into_iter().map(|(key, value)| serde_json::json!([key, value])).collect();
        assert!(same(&duckdb[question], &expected), "question {question}: {}, recount has {expected}", duckdb[question]);
    }
}
