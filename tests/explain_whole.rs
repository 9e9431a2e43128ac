//! `recount explain` of rows that are made of other rollups: the rows below give every value, to the bit, from the JSON alone (rules M
//! and N).

use std::path::Path;

use recount::internals::rollup::exact::{mean, quantile, stddev, sum};
use serde_json::{Value as Json, json};

use crate::support::{Run, database, recount};

fn sample(folder: &Path, more: &[&str]) {
    let args = ["generate", "--runs", "14", "--miners", "12", "--seed", "31", "--messy", "--drift", "30", "--out", "s"];
    recount(args.iter().chain(more)).folder(folder).run().succeeds();
}

fn explain(folder: &Path, more: &[&str]) -> Run {
    recount(["explain", "s"].iter().chain(more)).folder(folder).run()
}

fn json_of(folder: &Path, more: &[&str]) -> Json {
    explain(folder, &[more, &["--format", "json"]].concat()).succeeds().json()
}

fn column<'j>(row: &'j Json, name: &str) -> &'j Json {
    row["columns"].as_array().unwrap().iter().find(|column| column["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

/// Rows of a column that stand: all but those without a place.
fn standing(column: &Json) -> Vec<&Json> {
    column["rows"].as_array().unwrap().iter().filter(|row| row["findings"] == json!([])).collect()
}

fn numbers(column: &Json, cell: &str) -> Vec<f64> {
    standing(column).into_iter().filter_map(|row| row["cells"][cell].as_f64()).collect()
}

fn texts<'j>(column: &'j Json, cell: &str) -> Vec<&'j str> {
    standing(column).into_iter().filter_map(|row| row["cells"][cell].as_str()).collect()
}

fn count(column: &Json, cell: &str, names: &[&str]) -> f64 {
    texts(column, cell).into_iter().filter(|text| names.contains(text)).count() as f64
}

fn reliability(column: &Json) -> f64 {
    let good = count(column, "hosting_status", &["accessible"]);
    let all = good + count(column, "hosting_status", &["inaccessible", "timeout", "error"]);
    if all == 0.0 { 0.0 } else { good / all }
}

/// M6, over rows that come in any order.
fn leading(column: &Json, status: &str) -> f64 {
    let key =
        |row: &&Json| (row["cells"]["forecast_init_time"].as_str().unwrap().to_owned(), row["cells"]["run_id"].as_i64().unwrap());
    let mut rows = standing(column);
    rows.sort_by_key(key);
    let over = rows.iter().rev().filter_map(|row| row["cells"]["forecast_status"].as_str());
    over.filter(|text| ["completed", "failed"].contains(text)).take_while(|text| *text == status).count() as f64
}

/// What the distribution of a score is, by the column of the subnet.
fn distribution(name: &str, mut scores: Vec<f64>) -> Option<f64> {
    scores.sort_by(f64::total_cmp);
    match name {
        "mean_score" => mean(&scores),
        "score_std_dev" => stddev(&scores),
        "min_score" => scores.first().copied(),
        "p10_score" => quantile(&scores, 0.1),
        "median_score" => quantile(&scores, 0.5),
        "p90_score" => quantile(&scores, 0.9),
        _ => scores.last().copied(),
    }
}

/// M, of a number; `None` where the column is none.
fn miner_again(row: &Json, name: &str) -> Option<Option<f64>> {
    let column = column(row, name);
    let combined = || numbers(column, "era5_combined_score");
    Some(match name {
        "miner_rank" => {
            let averages = numbers(column, "avg_forecast_score");
            let own = standing(column).into_iter().find(|peer| peer["cells"]["miner_uid"] == row["miner_uid"]).unwrap();
            own["cells"]["avg_forecast_score"].as_f64().map(|own| 1.0 + averages.iter().filter(|&&x| x > own).count() as f64)
        }
        "avg_forecast_score" => mean(&combined()),
        "best_forecast_score" => combined().into_iter().max_by(f64::total_cmp),
        "worst_forecast_score" => combined().into_iter().min_by(f64::total_cmp),
        "score_std_dev" => stddev(&combined()),
        "avg_day1_score" => mean(&numbers(column, "forecast_score_initial")),
        "avg_era5_score" => Some(sum(&combined()) / standing(column).len() as f64),
        "avg_era5_completeness" => mean(&numbers(column, "era5_completeness")),
        "successful_forecasts" => Some(count(column, "forecast_status", &["completed"])),
        "failed_forecasts" => Some(count(column, "forecast_status", &["failed"])),
        "forecast_success_ratio" => Some(count(column, "forecast_status", &["completed"]) / standing(column).len() as f64),
        "hosting_successes" => Some(count(column, "hosting_status", &["accessible"])),
        "hosting_failures" => Some(count(column, "hosting_status", &["inaccessible", "timeout", "error"])),
        "host_reliability_ratio" => Some(reliability(column)),
        "avg_hosting_latency_ms" => mean(&numbers(column, "hosting_latency_ms")),
        "consecutive_successes" => Some(leading(column, "completed")),
        "consecutive_failures" => Some(leading(column, "failed")),
        "total_inference_time" => Some(sum(&numbers(column, "forecast_inference_duration_seconds"))),
        "avg_inference_time" => mean(&numbers(column, "forecast_inference_duration_seconds")),
        _ => return None,
    })
}

/// M of a time: the greatest or least of a cell.
fn time_again<'j>(row: &'j Json, name: &str) -> Option<Option<&'j str>> {
    let column = column(row, name);
    let ends = |status: &str| {
        let over = standing(column).into_iter().filter(|row| row["cells"]["forecast_status"] == status);
        over.filter_map(|row| row["cells"]["end_time"].as_str()).max()
    };
    Some(match name {
        "last_successful_forecast" => ends("completed"),
        "last_failed_forecast" => ends("failed"),
        "first_seen" => texts(column, "response_time").into_iter().min(),
        "last_active" => texts(column, "response_time").into_iter().max(),
        _ => return None,
    })
}

/// N of a number, in a run.
fn subnet_again(row: &Json, name: &str) -> Option<Option<f64>> {
    let column = column(row, name);
    let rows = column["rows"].as_array().unwrap();
    Some(match name {
        "miners" => Some(rows.len() as f64),
        "active_miners" => {
            let has =
                |row: &&Json| ["forecast_score_initial", "era5_combined_score"].iter().any(|of| !row["cells"][of].is_null());
            Some(rows.iter().filter(has).count() as f64)
        }
        "completed" => Some(count(column, "forecast_status", &["completed"])),
        "failed" => Some(count(column, "forecast_status", &["failed"])),
        "in_progress" => Some(rows.len() as f64 - count(column, "forecast_status", &["completed", "failed"])),
        "mean_day1_score" => mean(&numbers(column, "forecast_score_initial")),
        "mean_overall_score" => mean(&numbers(column, "overall_forecast_score")),
        "mean_completeness" => mean(&numbers(column, "era5_completeness")),
        "mean_hosting_latency_ms" => mean(&numbers(column, "hosting_latency_ms")),
        "host_reliability_ratio" => Some(reliability(column)),
        "mean_score" | "score_std_dev" | "min_score" | "p10_score" | "median_score" | "p90_score" | "max_score" => {
            distribution(name, numbers(column, "era5_combined_score"))
        }
        _ => return None,
    })
}

/// Holds what leaves give against what is told; gives how many columns were held, and how many of these have a number.
fn held(row: &Json, again: fn(&Json, &str) -> Option<Option<f64>>) -> (usize, usize) {
    let (mut cells, mut filled) = (0, 0);
    for column in row["columns"].as_array().unwrap() {
        let Some(value) = again(row, column["name"].as_str().unwrap()) else { continue };
        assert_eq!(value.map(f64::to_bits), column["value"].as_f64().map(f64::to_bits), "{column:#}");
        cells += 1;
        filled += usize::from(value.is_some());
    }
    (cells, filled)
}

#[test]
fn m_of_messy_miners_from_the_leaves_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path(), &[]);
    let (mut filled, mut without_place, mut differing, mut below, mut times) = (0, 0, 0, 0, 0);
    for miner in 0..12 {
        let row = json_of(folder.path(), &["--miner", &miner.to_string(), "--lifetime"]);
        assert_eq!((&row["table"], &row["run_id"]), (&json!("miner_stats"), &Json::Null));
        let (cells, with_number) = held(&row, miner_again);
        assert_eq!(cells, 19);
        filled += with_number;
        for column in row["columns"].as_array().unwrap() {
            if let Some(time) = time_again(&row, column["name"].as_str().unwrap()) {
                assert_eq!(time, column["value"].as_str(), "{column:#}");
                times += usize::from(time.is_some());
            }
            let rows = column["rows"].as_array().unwrap();
            for aside in rows.iter().filter(|row| row["counts"] == false) {
                assert!(aside["why"].is_string(), "{aside}");
            }
            without_place += rows.iter().filter(|row| row["findings"] == json!(["forecast_run_id_collision"])).count();
            differing += usize::from(column["class"] == "drift");
            below += rows.iter().filter(|row| row["stored"] != json!({})).count();
        }
    }
    assert!(filled > 150 && times > 20, "{filled} numbers, {times} times");
    assert!(without_place > 0 && differing > 0 && below > 0, "{without_place} without a place, {differing} drift, {below} below");
}

#[test]
fn n_of_messy_runs_from_the_leaves_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path(), &[]);
    for run in 1..=14 {
        let row = json_of(folder.path(), &["--run", &run.to_string(), "--subnet"]);
        assert_eq!((&row["table"], &row["run_id"]), (&json!("weather_subnet_stats"), &json!(run)));
        assert_eq!(held(&row, subnet_again).0, 17);
    }
    let life = json_of(folder.path(), &["--subnet", "--lifetime"]);
    assert_eq!(column(&life, "miners")["value"], 12);
    for name in ["mean_score", "score_std_dev", "min_score", "p10_score", "median_score", "p90_score", "max_score"] {
        let again = distribution(name, numbers(column(&life, name), "avg_forecast_score"));
        assert_eq!(again.map(f64::to_bits), column(&life, name)["value"].as_f64().map(f64::to_bits), "{name}");
    }
}

/// A lifetime value that its stored run rows give is a consequence; the tree says which stored cell below it is wrong by.
#[test]
fn a_consequence_shows_the_stored_cells_that_it_follows_from() {
    let database = database();
    let url = database.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "8", "--miners", "6", "--seed", "4", "--complete", "--database-url", &url]).run().succeeds();
    database.execute(
        "UPDATE weather_forecast_stats SET era5_combined_score = era5_combined_score / 2 WHERE run_id = 3 AND miner_uid = 2;
         UPDATE miner_stats SET avg_forecast_score =
            (SELECT avg(era5_combined_score) FROM weather_forecast_stats WHERE miner_uid = 2) WHERE miner_uid = 2;
         UPDATE miner_stats SET best_forecast_score = 0.999 WHERE miner_uid = 2",
    );
    let row = recount(["explain", &url, "--miner", "2", "--lifetime", "--format", "json"]).run().succeeds().json();
    let (average, best) = (column(&row, "avg_forecast_score"), column(&row, "best_forecast_score"));
    assert_eq!((&average["class"], &average["cause"]), (&json!("drift"), &json!("follows")), "{average:#}");
    assert_eq!((&best["class"], &best["cause"]), (&json!("drift"), &json!(null)), "{best:#}");
    let wrong: Vec<&Json> = standing(average).into_iter().filter(|row| row["stored"] != json!({})).collect();
    assert_eq!(wrong.iter().map(|row| row["cells"]["run_id"].as_i64()).collect::<Vec<_>>(), [Some(3)]);
    let stored = |row: &&Json| row["stored"].get("era5_combined_score").unwrap_or(&row["cells"]["era5_combined_score"]).as_f64();
    let scores: Vec<f64> = standing(average).iter().filter_map(stored).collect();
    let (follows, is) = (mean(&scores).unwrap(), average["stored"].as_f64().unwrap());
    assert!((follows - is).abs() < 1e-9, "{follows} and {is}");
    let on = average["rested_on_by"].as_array().unwrap();
    assert!(on.contains(&json!("miner_rank")) && on.contains(&json!("weather_subnet_stats.mean_score")), "{on:?}");
}

#[test]
fn in_words_and_what_cannot_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path(), &[]);
    let shown = explain(folder.path(), &["--miner", "3", "--lifetime", "--column", "avg_forecast_score"]).succeeds().stdout;
    assert!(shown.starts_with("miner_stats, miner 3 over all runs: "), "{shown}");
    assert!(shown.contains("avg_forecast_score = ") && shown.contains("weather_forecast_stats: run_id "), "{shown}");
    assert!(shown.contains("on it rest: weather_subnet_stats.active_miners"), "{shown}");
    let row = explain(folder.path(), &["--run", "2", "--miner", "3", "--column", "era5_combined_score"]).succeeds().stdout;
    // A later run has its place: it counts in the subnet of its own run, and in no lifetime.
    assert!(row.contains("weather_subnet_stats.mean_score") && !row.contains("miner_stats.avg_forecast_score"), "{row}");
    let row = explain(folder.path(), &["--run", "5", "--miner", "3", "--column", "era5_combined_score"]).succeeds().stdout;
    assert!(row.contains("miner_stats.avg_forecast_score"), "{row}");
    explain(folder.path(), &["--miner", "99", "--lifetime"]).ends_with(2).stderr_has("miner 99 has no response and no step");
    explain(folder.path(), &["--run", "99", "--subnet"]).ends_with(2).stderr_has("has no run 99");
    for unclear in [&["--miner", "3"][..], &["--run", "2"], &["--lifetime"], &["--run", "2", "--miner", "3", "--subnet"]] {
        explain(folder.path(), unclear).ends_with(2);
    }
    explain(folder.path(), &["--run", "2", "--miner", "3", "--lifetime"]).ends_with(2).stderr_has("cannot be used with");
}
