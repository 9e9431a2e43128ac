//! `recount baseline`, and `--baseline`: what is accepted is told apart, not corrected, and news again once it changes.

use std::fs;

use serde_json::Value as Json;

use crate::corrections::{drifted, dump, on};
use crate::support::repository::root;
use crate::support::{database, recount};

/// Drifted cells, and rows that are missing or extra.
fn wrong(report: &Json) -> u64 {
    let tables = report["tables"].as_object().unwrap().values();
    let count = |table: &Json, of: &str, class: &str| table[of][class].as_u64().unwrap();
    tables.map(|table| count(table, "cells", "drift") + count(table, "rows", "missing") + count(table, "rows", "extra")).sum()
}

#[test]
fn later_nights_tell_what_is_new_and_what_is_gone() {
    let sample = root().join("data/sample");
    let sample = sample.to_str().unwrap();
    let all = wrong(&recount(["reconcile", sample, "--format", "json"]).run().ends_with(1).json());
    let written = recount(["baseline", "write", sample, "--out", "b.json", "--reason", "before the fix"])
        .run()
        .succeeds()
        .stdout_has(&format!("b.json: {all} differences accepted as stored; {all} new in it, 0 gone from it."));
    let night = || {
        let reconcile = ["reconcile", sample, "--baseline", "b.json", "--format", "json"];
        recount(reconcile).folder(written.folder()).run()
    };
    let quiet = night().succeeds().json();
    assert_eq!((wrong(&quiet), quiet["baseline"]["accepted"].as_u64()), (0, Some(all)));
    assert_eq!(quiet["baseline"]["gone"]["count"], 0);
    assert!(quiet["headline"].as_str().unwrap().contains(&format!("{all} differences accepted by the baseline")), "{quiet:#}");
    recount(["reconcile", sample, "--baseline", "b.json"])
        .folder(written.folder())
        .run()
        .succeeds()
        .stdout_has(&format!("Baseline b.json\n {all} differences accepted as stored\n"));

    // One entry less, one of another value, one of a row that never was.
    let file = written.folder().join("b.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let removed = lines.remove(1);
    let at = lines.iter().position(|line| line.contains("\"stored\":0.")).unwrap();
    lines[at] = lines[at].replace("\"stored\":0.", "\"stored\":1.");
    lines.insert(1, r#"{"table":"miner_stats","key":{"miner_uid":9999},"row":"missing","reason":"never"},"#.to_owned());
    fs::write(&file, lines.join("\n")).unwrap();
    let news = night().ends_with(1).json();
    assert_eq!((wrong(&news), news["baseline"]["accepted"].as_u64()), (2, Some(all - 2)));
    assert_eq!(news["baseline"]["gone"]["count"], 2, "the value that is no more, and the row");
    let removed: Json = serde_json::from_str(removed.trim_end_matches(',')).unwrap();
    assert_eq!(removed["reason"], "before the fix");
    let reported = news["patterns"].as_array().unwrap();
    assert!(reported.iter().any(|found| found["table"] == removed["table"]), "{removed} is news: {news:#}");
    let part = recount(["reconcile", sample, "--baseline", "b.json", "--no-lifetime", "--format", "json"]);
    assert_eq!(part.folder(written.folder()).run().succeeds().json()["baseline"]["gone"], Json::Null, "a part cannot tell");

    // Brought up to date, entries keep the reasons that they have.
    recount(["baseline", "write", sample, "--out", "b.json", "--reason", "the other day"])
        .folder(written.folder())
        .run()
        .succeeds()
        .stdout_has(&format!("{all} differences accepted as stored; 2 new in it, 2 gone from it."));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("the other day").count(), 2);
    assert_eq!(text.matches("before the fix").count() as u64, all - 2);
}

#[test]
fn what_is_accepted_is_not_corrected() {
    let db = database();
    drifted(&db, 4, 5, 10);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.json");
    let file = file.to_str().unwrap();
    on(&db, &["baseline", "write", "--out", file, "--reason", "a test"]).succeeds();
    let accepted = dump(&db);
    on(&db, &["reconcile", "--baseline", file]).succeeds();
    on(&db, &["reconcile", "--apply", "--baseline", file]).succeeds();
    assert_eq!(dump(&db), accepted);

    let text = fs::read_to_string(file).unwrap();
    let known: Vec<Json> = text.lines().filter_map(|line| serde_json::from_str(line.trim_end_matches(',')).ok()).collect();
    let is_known =
        |miner: i64| known.iter().any(|entry| entry["key"]["miner_uid"] == miner && entry["column"] == "avg_forecast_score");
    let miner = (0..5).find(|miner| !is_known(*miner)).unwrap();
    db.execute(&format!(
        "UPDATE miner_stats SET avg_forecast_score = coalesce(avg_forecast_score, 0) + 1 WHERE miner_uid = {miner}"
    ));
    on(&db, &["reconcile", "--baseline", file]).ends_with(1);
    on(&db, &["reconcile", "--apply", "--updated-at", "keep", "--baseline", file]).succeeds();
    assert_eq!(dump(&db), accepted, "the new one is put right, and nothing else");
}

#[test]
fn a_file_that_is_no_baseline_is_refused() {
    let sample = root().join("data/sample");
    let sample = sample.to_str().unwrap();
    recount(["reconcile", sample, "--baseline", "nowhere.json"])
        .run()
        .ends_with(2)
        .stderr_has("reading the baseline nowhere.json");
    recount(["reconcile", sample, "--baseline", "b.json"])
        .file("b.json", "{\"version\": 1}")
        .run()
        .ends_with(2)
        .stderr_has("reading the baseline b.json: missing field `accepted`")
        .stderr_has("recount baseline write");
    recount(["reconcile", sample, "--baseline", "/dev/zero"]).run().ends_with(2).stderr_has("expected a regular file");
    recount(["baseline", "write", sample, "--out", "b.json", "--reason", " "]).run().ends_with(2).stderr_has("--reason is empty");
    recount(["baseline", "write", sample, "--out", "b.json", "--reason", "x", "--miner", "1"])
        .run()
        .ends_with(2)
        .stderr_has("only a part would be compared");
}
