//! The conformance sets: inputs with the outputs that the rules give for them, exact to the bit.
//!
//! Each set is loaded into PostgreSQL and run from there, and again from an exported snapshot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recount::internals::model::rollups::{DifferenceRow, FindingRow, ForecastStat, LeadScore, MinerStat, Rollup, SubnetStat};
use recount::internals::model::rows::rows_from_batch;
use recount::internals::model::value::canonical_json;
use serde_json::{Map, Value as Json};

use crate::support::{self, conformance, recount};

/// The rows of a Parquet file, one JSON object each.
fn parquet<R: Rollup>(path: &Path) -> Vec<Map<String, Json>> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows = reader.flat_map(|batch| rows_from_batch::<R>(&batch.unwrap()).unwrap());
    let object = |row: R| {
        let cells = R::COLUMNS.iter().enumerate().map(|(i, column)| (column.name.to_string(), row.value(i).to_json()));
        cells.collect()
    };
    rows.map(object).collect()
}

fn json_lines(path: &Path) -> Vec<Map<String, Json>> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Holds rows against the expected ones: same order, same columns, same types, same bits.
fn assert_rows(what: &str, expected: &[Map<String, Json>], found: &[Map<String, Json>]) {
    for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{what}: columns");
        for (column, value) in expected {
            assert_eq!(value, &found[column], "{what}, row {at}, {column} of {}", Json::Object(expected.clone()));
        }
    }
    assert_eq!(expected.len(), found.len(), "{what}: rows");
}

fn assert_outputs(expected: &Path, out: &Path) {
    fn check<R: Rollup>(expected: &Path, out: &Path) {
        let found = parquet::<R>(&out.join(format!("{}.parquet", R::TABLE)));
        assert_rows(R::TABLE, &json_lines(&expected.join(format!("{}.jsonl", R::TABLE))), &found);
    }
    check::<LeadScore>(expected, out);
    check::<ForecastStat>(expected, out);
    check::<MinerStat>(expected, out);
    check::<SubnetStat>(expected, out);
    let without_detail = |mut rows: Vec<Map<String, Json>>| {
        rows.iter_mut().for_each(|row| drop(row.remove("detail")));
        rows
    };
    let findings = without_detail(parquet::<FindingRow>(&out.join("findings.parquet")));
    assert_rows("findings", &without_detail(json_lines(&expected.join("findings.jsonl"))), &findings);
}

/// A difference, in a form that both sides have: table, key, column, class, stored, expected.
type Line = [String; 6];

fn assert_differences(expected: &Path, out: &Path) {
    let text = fs::read_to_string(expected.join("differences.json")).unwrap();
    let list: Vec<Map<String, Json>> = serde_json::from_str(&text).unwrap();
    let mut expected: Vec<Line> = list.iter().map(expected_line).collect();
    let mut found: Vec<Line> = parquet::<DifferenceRow>(&out.join("differences.parquet")).iter().filter_map(found_line).collect();
    expected.sort();
    found.sort();
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}

fn text(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => text.clone(),
        other => canonical_json(other),
    }
}

fn expected_line(line: &Map<String, Json>) -> Line {
    let key = line["key"].as_object().unwrap();
    let parts = ["miner_uid", "forecast_run_id"].map(|part| key.get(part).map_or_else(|| "NULL".to_owned(), text));
    [
        text(&line["table"]),
        parts.join(" "),
        text(&line["column"]),
        text(&line["class"]),
        text(&line["stored"]),
        text(&line["expected"]),
    ]
}

/// None of the sets has a stored `weather_subnet_stats`.
fn found_line(line: &Map<String, Json>) -> Option<Line> {
    let key = ["miner_uid", "forecast_run_id"].map(|part| text(&line[part])).join(" ");
    let [table, column, class, stored, recomputed] =
        ["table", "column", "class", "stored", "recomputed"].map(|name| text(&line[name]));
    Some([table, key, column, class, stored, recomputed])
}

/// `settings.json` of a set as a `recount.toml`.
pub fn settings(set: &str) -> String {
    let text = fs::read_to_string(conformance::folder(set).join("settings.json")).unwrap();
    let keys: BTreeMap<String, Json> = serde_json::from_str(&text).unwrap();
    let mut toml = "[scoring]\n".to_owned();
    for (key, value) in &keys {
        let value = match value.as_object() {
            Some(table) => {
                let pairs: Vec<String> = table.iter().map(|(step, retries)| format!("{step} = {retries}")).collect();
                format!("{{ {} }}", pairs.join(", "))
            }
            None => value.to_string(),
        };
        toml.push_str(&format!("{key} = {value}\n"));
    }
    toml
}

/// Recomputes and compares from a source, and holds everything against what is expected.
fn assert_conforms(set: &str, source: &str) -> String {
    let expected = conformance::folder(set).join("expected");
    let toml = settings(set);
    let run = recount(["recompute", source, "--out", "out", "--format", "json"]).file("recount.toml", &toml).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_outputs(&expected, &run.folder().join("out"));
    let report: Json = serde_json::from_str(&run.stdout).unwrap();
    let run = recount(["diff", source, "--out", "out", "--format", "json"]).file("recount.toml", &toml).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_differences(&expected, &run.folder().join("out"));
    let findings = json_lines(&expected.join("findings.jsonl")).len() as u64;
    let second: Json = serde_json::from_str(&run.stdout).unwrap();
    let counted: u64 = second["findings"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, findings, "diff has the findings about stored rows too: {run}");
    assert_eq!(second["digest"], report["digest"]);
    report["digest"].as_str().unwrap().to_owned()
}

fn conforms(set: &str) {
    let database = support::database();
    conformance::load(&database, set);
    let from_database = assert_conforms(set, &database.url());
    let export = recount(["export", &database.url(), "--out", "snapshot"]).run();
    assert_eq!(export.status, Some(0), "{export}");
    let from_folder = assert_conforms(set, export.folder().join("snapshot").to_str().unwrap());
    assert_eq!(from_database, from_folder);
}

#[test]
fn small_conforms() {
    conforms("small");
}

#[test]
fn leads_conforms() {
    conforms("leads");
}

#[test]
fn clean_conforms() {
    conforms("clean");
}

#[test]
fn production_conforms() {
    conforms("production");
}

#[test]
fn purged_conforms() {
    conforms("purged");
}

/// What an operator sees on the first night, without scrolling: weights are right, and what else differs has its reason.
#[test]
fn the_first_screen_of_production_answers_whether_weights_are_right() {
    let database = support::database();
    conformance::load(&database, "production");
    let told = recount(["reconcile", &database.url()])
        .file("recount.toml", &settings("production"))
        .env("COLUMNS", "80")
        .run()
        .ends_with(1)
        .stdout;
    // A window of 80 columns breaks the two sentences above the table.
    let height = |line: &str| line.chars().count().div_ceil(80).max(1);
    let mut lines = 0;
    let screen: Vec<&str> = told
        .lines()
        .take_while(|line| {
            lines += height(line);
            lines <= 25
        })
        .collect();
    assert!(screen[0].contains("overall_forecast_score is right in all 144 rows"), "{told}");
    let screen = screen[1..].join("\n");
    let drifted = |column: &&serde_json::Value| column["column"].is_string() && column["class"] == "drift";
    let expected = std::fs::read_to_string(conformance::folder("production").join("expected/differences.json")).unwrap();
    let expected: Vec<serde_json::Value> = serde_json::from_str(&expected).unwrap();
    for column in expected.iter().filter(drifted).map(|found| found["column"].as_str().unwrap()) {
        // What only follows is told as a group.
        let follows = screen.contains("(follow)");
        let of_errors_or_hosting =
            ["hosting_", "host_", "failed_", "last_failed", "common_", "error_rate", "consecutive_failures", "_inference_time"];
        let named = screen.contains(column) || (follows && of_errors_or_hosting.iter().any(|part| column.contains(part)));
        assert!(named, "{column} is not on the first screen:\n{screen}");
    }
}

/// All that differs in the set is habit of the validator's code; what is planted on top is not.
#[test]
fn with_the_profile_of_its_validator_production_has_no_drift_but_what_is_planted() {
    let database = support::database();
    conformance::load(&database, "production");
    let reconcile = |more: &[&str]| {
        let url = database.url();
        let args = [&["reconcile", &url, "--profile", "gaia-2.9", "--format", "json"], more].concat();
        recount(args).file("recount.toml", &settings("production")).run()
    };
    let report = reconcile(&[]).succeeds().json();
    let cells = |report: &serde_json::Value, class: &str| -> u64 {
        let tables = report["tables"].as_object().unwrap();
        tables.values().map(|table| table["cells"][class].as_u64().unwrap()).sum()
    };
    assert_eq!(cells(&report, "drift"), 0, "{report:#}");
    assert!(cells(&report, "habit") > 600);
    assert!(report["headline"].as_str().unwrap().contains("as the validator stores them by habit"), "{report:#}");
    reconcile(&["--fail-on", "habit"]).ends_with(1);

    database.execute(
        "UPDATE weather_forecast_stats SET overall_forecast_score = overall_forecast_score + 0.01 WHERE run_id = 1 AND miner_uid = 3;
         UPDATE weather_forecast_stats SET forecast_status = 'failed' WHERE run_id = 2 AND miner_uid = 3;
         UPDATE weather_forecast_stats SET era5_completeness = 0.55 WHERE run_id = 1 AND miner_uid = 7;
         UPDATE miner_stats SET best_forecast_score = 0.999 WHERE miner_uid = 7",
    );
    let report = reconcile(&[]).ends_with(1).json();
    let roots = |group: &str| report["groups"][group]["roots"].as_u64().unwrap_or(0);
    assert_eq!((roots("scores"), roots("status")), (3, 1), "{:#}", report["groups"]);
    let others = ["ranks", "errors", "hosting", "activity", "rows"].map(roots);
    assert_eq!(others, [0; 5], "{:#}", report["patterns"]);
}

/// tests/conformance/production/README.md: these columns were written by the production validator's own code, and agree.
#[test]
fn every_score_column_agrees_with_the_production_validator() {
    const AGREED: &str = "era5_combined_score,overall_forecast_score,avg_rmse,avg_acc,avg_skill_score,\
        era5_score_24h,era5_score_48h,era5_score_72h,era5_score_96h,era5_score_120h,era5_score_144h,era5_score_168h,\
        era5_score_192h,era5_score_216h,era5_score_240h,\
        avg_forecast_score,avg_era5_score,avg_era5_completeness,best_forecast_score,worst_forecast_score,\
        miner_stats.score_std_dev,successful_forecasts,forecast_success_ratio";
    let database = support::database();
    conformance::load(&database, "production");
    let run = recount(["reconcile", &database.url(), "--columns", AGREED, "--rtol", "0", "--atol", "1e-9", "--format", "json"])
        .file("recount.toml", &settings("production"))
        .run()
        .succeeds();
    let report = run.json();
    for (table, columns) in [("weather_forecast_stats", 15), ("miner_stats", 8)] {
        let table = &report["tables"][table];
        assert_eq!(table["columns"].as_object().unwrap().len(), columns);
        assert_eq!(table["cells"]["drift"], 0);
        assert_ne!(table["cells"]["equal"], 0, "something was compared");
    }
}
