//! With `--apply`: the corrections are those of a job that reads everything.

use super::{Nights, quiet_database, report};
use crate::corrections::dump_values;
use crate::support::Database;

/// Wrong numbers in a closed run that has not changed otherwise, in one that has, in lifetime rollups, and rows that are missing.
fn disturb(db: &Database) {
    db.execute(
        "UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE run_id = 4 AND miner_uid IN (1, 2);
         UPDATE weather_miner_scores SET score = score / 2, calculation_time = '2026-01-01' WHERE run_id = 6;
         DELETE FROM weather_forecast_stats WHERE run_id = 8 AND miner_uid = 3;
         UPDATE miner_stats SET avg_era5_score = 0.125 WHERE miner_uid = 2",
    );
}

#[test]
fn corrections_are_those_of_a_full_job() {
    let apply = ["--apply", "--max-fraction", "1"];
    let (_turn, one) = quiet_database();
    let other = Database::create(one.cluster());
    let incremental = Nights::begin(&one, &["--no-components", "--drift", "6"]);
    let full = Nights::begin(&other, &["--no-components", "--drift", "6"]);
    // What is kept for reports alone does not do for corrections: everything is read once more.
    for args in [&apply[..], &["--apply", "--max-fraction", "1", "--exact"]] {
        disturb(&one);
        disturb(&other);
        let night = report(incremental.job(&[&["--incremental"], args].concat()));
        let expected = report(full.job(&[&["--full"], args].concat()));
        assert_eq!(night["digest"], expected["digest"]);
        assert_eq!(night["tables"], expected["tables"]);
        let written = |report: &serde_json::Value| report["corrections"]["tables"].clone();
        assert_eq!(written(&night), written(&expected));
        assert_eq!(dump_values(&one), dump_values(&other));
        assert_eq!(incremental.night().all, super::RUNS);
    }
}

#[test]
fn what_was_not_corrected_is_read_until_it_is() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let apply = |args: &[&str]| super::read(&nights.job(&[&["--incremental", "--apply"], args].concat()).json()).units;
    assert_eq!(apply(&[]), super::RUNS, "the state was made without evidence");
    assert_eq!(apply(&[]), 0);
    db.execute("UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE run_id = 4");
    // A guard refuses, and the difference stays.
    nights.job(&["--incremental", "--apply", "--max-rows", "1"]).ends_with(3);
    assert_eq!(nights.night(), super::units(0), "a report needs no evidence");
    assert_eq!(apply(&["--max-fraction", "1"]), 1);
    assert_eq!(apply(&[]), 1, "it was written to");
    assert_eq!(apply(&[]), 0);
    nights.job(&["--incremental"]).succeeds();
}
