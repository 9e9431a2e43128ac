//! `--sql`: psql does the same as `--apply`.

use std::process::{Command, Output};

use super::{diff, dump, dump_values, generated, jobs, last_job, on};
use crate::support::{Database, database};

pub fn psql(db: &Database, file: &str) -> Output {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--file", file, &db.url()]).output().expect("psql (package `postgresql-client`) in PATH")
}

#[test]
fn psql_does_the_same() {
    let (one, two, folder) = (database(), database(), tempfile::tempdir().unwrap());
    for db in [&one, &two] {
        generated(db, &["--runs", "10", "--miners", "20", "--seed", "5", "--messy", "--drift", "120"]);
    }
    let before = dump(&two);
    let file = folder.path().join("night.sql");
    let file = file.to_str().unwrap();
    on(&one, &["reconcile", "--apply", "--prune-extra"]).succeeds();

    // The database drifts as before: nothing is corrected yet.
    on(&two, &["reconcile", "--apply", "--prune-extra", "--sql", file]).ends_with(1).stdout_has("Written down, not applied");
    assert_eq!((dump(&two), jobs(&two)), (before.clone(), "0".to_owned()), "writing it down changed something");
    let done = psql(&two, file);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(dump_values(&two), dump_values(&one));
    let audit = "SELECT table_name, miner_uid, forecast_run_id, column_name, before, after FROM recount.rollup_corrections
                 WHERE column_name <> 'updated_at' ORDER BY 1, 2, 3, 4";
    assert_eq!(two.psql(audit), one.psql(audit));

    // Its id is there, so it cannot be run twice; and it can be undone.
    assert!(!psql(&two, file).status.success());
    on(&two, &["undo", &last_job(&two)]).succeeds();
    assert_eq!(dump(&two), before);
}

#[test]
fn the_guards_are_in_the_file() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    super::drifted(&db, 4, 8, 0);
    db.execute("UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 125 WHERE miner_uid IN (3, 5)");
    let (out, file) = (folder.path().join("diff"), folder.path().join("night.sql"));
    diff(&db, &out);
    on(&db, &["apply", out.to_str().unwrap(), "--sql", file.to_str().unwrap()]).ends_with(1);
    db.execute(
        "UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 250 WHERE miner_uid = 3 AND run_id = 2;
         UPDATE weather_miner_scores SET calculation_time = now() WHERE miner_uid = 5 AND run_id = 1",
    );
    assert!(psql(&db, file.to_str().unwrap()).status.success());
    let wrong = "SELECT miner_uid, run_id, forecast_inference_duration_seconds FROM weather_forecast_stats
                 WHERE forecast_inference_duration_seconds IN (125, 250) ORDER BY 1";
    assert_eq!(db.psql(wrong), "3|2|250\n5|1|125");
    assert_eq!(db.psql("SELECT outcome FROM recount.rollup_jobs"), "partial");
}
