//! Retention deletes runs; lifetime rollups keep them.

use crate::support::{Database, database, recount};

use super::manifest;

fn filled() -> Database<'static> {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "8", "--miners", "6", "--seed", "3", "--no-components", "--database-url", &url])
        .run()
        .succeeds();
    db
}

fn miners(report: &serde_json::Value) -> &serde_json::Value {
    &report["tables"]["miner_stats"]["rows"]
}

#[test]
fn purged_runs_still_count_for_life() {
    let db = filled();
    let url = db.url();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    let full_digest = manifest(&dest)["digest"].clone();
    db.execute("DELETE FROM weather_forecast_runs WHERE id <= 4");

    let alone = recount(["reconcile", &url, "--format", "json"]).run().ends_with(1).json();
    assert_eq!(miners(&alone)["drift"], 6, "without its history every miner's lifetime has shrunk");
    let run = recount(["reconcile", &url, "--history", &dest, "--format", "json"]).run().ends_with(0);
    let united = run.json();
    assert_eq!(miners(&united)["match"], 6);
    assert_eq!(united["digest"], full_digest, "every rollup is what it was");
    assert_eq!(united["tables"]["weather_forecast_stats"]["rows"]["missing"], 0, "nothing is missed of deleted runs");
    recount(["reconcile", &url, "--history", &dest]).run().succeeds().stdout_has("4 runs come from the database and 4");

    // Archiving goes on, and loses nothing.
    let again = recount(["archive", &url, "--to", &dest, "--format", "json"]).run().succeeds().json();
    assert_eq!((&again["runs"]["source"], &again["runs"]["archive"]), (&4.into(), &4.into()));
    assert_eq!(manifest(&dest)["digest"], full_digest);
    recount(["verify", &dest]).run().succeeds();
    recount(["reconcile", &dest]).run().succeeds();
}

#[test]
fn the_database_wins_where_both_have_a_run() {
    let db = filled();
    let url = db.url();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    db.execute("UPDATE weather_miner_scores SET score = score / 2 WHERE run_id > 4");
    let digest = |args: &[&str]| recount(args).run().json()["digest"].clone();
    let alone = digest(&["reconcile", &url, "--format", "json"]);
    assert_eq!(digest(&["reconcile", &url, "--history", &dest, "--format", "json"]), alone);
    assert_ne!(manifest(&dest)["digest"], alone);
    recount(["archive", &url, "--to", &dest]).run().succeeds();
    assert_eq!(manifest(&dest)["digest"], alone);
    let replaced = manifest(&dest)["history"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(replaced.iter().any(|folder| folder.starts_with("scores/")), "{replaced:?}");
    recount(["verify", &dest]).run().succeeds();
}
