//! What was corrected stays corrected, and what was undone is as it was, to the byte.

use super::{drifted, dump, generated, last_job, on};
use crate::support::database;

#[test]
fn five_thousand_differences_are_corrected_and_undone() {
    let db = database();
    generated(&db, &["--runs", "60", "--miners", "128", "--seed", "11", "--messy", "--drift", "5000"]);
    let before = dump(&db);

    let applied = on(&db, &["reconcile", "--apply", "--prune-extra", "--format", "json"]).succeeds().json();
    assert_eq!(applied["corrections"]["complete"], true, "{applied:#}");
    let after = dump(&db);
    assert_ne!(before, after);

    let found = on(&db, &["reconcile", "--format", "json"]).succeeds().json();
    for (table, tally) in found["tables"].as_object().unwrap() {
        let rows = &tally["rows"];
        assert_eq!([&rows["drift"], &rows["missing"], &rows["extra"]].map(|n| n.as_u64()), [Some(0); 3], "{table}");
    }

    let again = on(&db, &["reconcile", "--apply", "--prune-extra", "--format", "json"]).succeeds().json();
    assert_eq!(again["corrections"]["job"], serde_json::Value::Null, "{again:#}");
    assert_eq!((dump(&db), db.psql("SELECT count(*) FROM recount.rollup_jobs")), (after.clone(), "1".to_owned()));

    let job = last_job(&db);
    on(&db, &["undo", &job]).succeeds();
    assert_eq!(dump(&db), before);

    // An undo is a job: undone, it brings the corrections back.
    on(&db, &["undo", &last_job(&db)]).succeeds();
    assert_eq!(dump(&db), after);
}

#[test]
fn cells_within_tolerance_are_left_unless_asked_for() {
    let db = database();
    drifted(&db, 4, 12, 0);
    db.execute("UPDATE weather_forecast_stats SET avg_skill_score = 0.5, era5_combined_score = era5_combined_score + 1e-12");
    let before = db.psql("SELECT sum(era5_combined_score) FROM weather_forecast_stats");
    on(&db, &["reconcile", "--apply", "--columns", "era5_combined_score"]).succeeds();
    assert_eq!(db.psql("SELECT sum(era5_combined_score) FROM weather_forecast_stats"), before);
    let applied = on(&db, &["reconcile", "--apply", "--exact", "--columns", "era5_combined_score", "--format", "json"]);
    assert_ne!(applied.succeeds().json()["corrections"]["tables"]["weather_forecast_stats"]["cells"], 0);
    let found = on(&db, &["reconcile", "--columns", "era5_combined_score", "--format", "json"]).succeeds().json();
    assert_eq!(found["tables"]["weather_forecast_stats"]["cells"]["within"], 0, "{found:#}");
}
