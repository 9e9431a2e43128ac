//! The state: trusted whole or not at all.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use super::{LEADS, Nights, comparable, quiet_database, report, units};
use crate::support::{Database, recount};

const FILE: &str = "reconcile.state";

#[test]
fn a_state_is_of_its_settings() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components", "--drift", "9"]);
    for settings in [&["--rank-method", "dense"][..], &["--atol", "0.5"], &["--columns", "scores"], &["--runs", "3..7"]] {
        nights.everything_with(settings, "the settings have changed");
        assert_eq!(nights.night_with(settings), units(0), "{settings:?}");
    }
}

#[test]
fn a_state_is_of_its_legacy_scores() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components", "--drift", "9"]);
    db.execute(include_str!("../../migrations/phase2/0302_legacy_lead_scores.sql"));
    db.execute("ALTER TABLE weather_legacy_lead_scores ADD COLUMN run_id integer");
    nights.night();
    assert_eq!(nights.night(), units(0));
    db.execute(
        "INSERT INTO weather_legacy_lead_scores (run_id, miner_uid, forecast_run_id, lead_hours, era5_score)
         SELECT run_id, miner_uid, forecast_run_id, 24, 0.5 FROM weather_forecast_stats WHERE run_id = 3",
    );
    nights.everything("the legacy scores have changed");
    assert_eq!(nights.night(), units(0));
}

#[test]
fn a_damaged_state_is_not_believed() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components", "--drift", "9"]);
    let path = nights.state().join(FILE);
    let whole = fs::read(&path).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>), why: &str| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        nights.everything(why);
        assert_eq!(nights.night(), units(0));
    };
    damaged(&|bytes| bytes[whole.len() / 2] ^= 1, "it is damaged");
    damaged(&|bytes| bytes.truncate(whole.len() - 1), "it is damaged");
    damaged(&|bytes| bytes.truncate(20), "it is damaged");
    damaged(&Vec::clear, "it is of another format");
    damaged(&|bytes| bytes[14] = b'0', "it is of another format");
}

#[test]
fn a_state_is_of_one_database() {
    let (_turn, first) = quiet_database();
    let second = Database::create(first.cluster());
    let nights = Nights::begin(&first, &["--no-components"]);
    let others = Nights::begin(&second, &["--no-components", "--drift", "9"]);
    fs::copy(nights.state().join(FILE), others.state().join(FILE)).unwrap();
    others.everything("it is of another database");
    assert_eq!(others.night(), units(0));
}

#[test]
fn a_job_that_is_killed_leaves_a_state_that_serves() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let state = nights.state().to_str().unwrap();
    let mut killed = 0;
    for (number, delay) in (0..12).map(|number| (number, 20 + 15 * number)) {
        let edit = format!("UPDATE weather_forecast_stats SET era5_combined_score = {number} WHERE run_id = 5 AND miner_uid = 1");
        db.execute(&edit);
        let mut job = recount(["reconcile", "--incremental", "--state", state])
            .env("DATABASE_URL", db.url())
            .env("RECOUNT_EXPECTED_LEADS", LEADS);
        let mut job = job.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        job.kill().unwrap();
        killed += u32::from(job.wait().unwrap().code().is_none());
        assert!(nights.night().units <= 1);
    }
    assert!(killed > 0, "no job was killed");
    // What a job leaves behind that was writing.
    fs::write(nights.state().join(".reconcile.state.partial"), "half of it").unwrap();
    assert_eq!(nights.night(), units(0));
}

#[test]
fn one_job_at_a_time() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let lock = fs::File::open(nights.state().join("lock")).unwrap();
    lock.lock().unwrap();
    nights.job(&["--incremental"]).ends_with(2).stderr_has("another job is using it");
    drop(lock);
    assert_eq!(nights.night(), units(0));
}

#[test]
fn a_reading_of_one_connection_gives_the_same() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--drift", "9"]);
    db.execute("UPDATE weather_miner_scores SET score = 0.5, calculation_time = now() WHERE run_id = 3");
    assert_eq!(nights.night_with(&["--connections", "1", "--threads", "1"]), units(1));
}

#[test]
fn settings_come_from_the_file_too() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let file = format!("incremental = true\nstate = {:?}\n", nights.state().to_str().unwrap());
    let job = |args: &[&str]| {
        let common = ["reconcile", "--format", "json"];
        let job = recount(common.iter().chain(args)).file("recount.toml", &file);
        job.env("DATABASE_URL", db.url()).env("RECOUNT_EXPECTED_LEADS", LEADS).run()
    };
    let incremental = report(job(&[]));
    assert_eq!(super::read(&incremental), units(0));
    let full = report(job(&["--full"]));
    assert!(full["notes"].to_string().contains("--full asks for it"), "{full:#}");
    assert_eq!(comparable(&incremental), comparable(&full));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |args: &[&str], message: &str| {
        recount(["reconcile"].iter().chain(args)).run().ends_with(2).stderr_has(message);
    };
    refused(&["x", "--incremental"], "--incremental and --full need a folder for what they keep");
    refused(&["x", "--full"], "--incremental and --full need a folder for what they keep");
    refused(&["x", "--state", "s"], "--state names a folder, but nothing asks for it");
    refused(&["x", "--incremental", "--state", "s"], "a snapshot folder or an archive is always read whole");
    refused(&["x", "--incremental", "--full", "--state", "s"], "cannot be used with");
    refused(&["postgres://h/d", "--incremental", "--state", "s", "--history", "a"], "--history reads runs from an archive");
}
