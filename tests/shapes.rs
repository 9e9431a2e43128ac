//! No shape of a history stops a command: runs without scores, components, steps, responses or anything, wherever they stand,
//! and every source gives the digest that the database gives.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::archive::files;
use crate::support::{Database, database, recount};

/// What a run can lack; a response takes its scores and components with it.
const LACKING: [&str; 5] = [
    "weather_miner_scores",
    "weather_forecast_component_scores",
    "weather_forecast_steps",
    "weather_miner_responses",
    "weather_forecast_stats",
];
const TABLES: [&str; 8] = [
    "node_table",
    "weather_forecast_runs",
    "weather_miner_responses",
    "weather_miner_scores",
    "weather_forecast_component_scores",
    "weather_forecast_steps",
    "weather_forecast_stats",
    "miner_stats",
];
const RUNS: usize = 4;

/// A database with four runs, and a copy of all its rows in a schema that nobody reads.
fn filled() -> Database<'static> {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "4", "--miners", "2", "--seed", "11", "--messy", "--database-url", &url]).run().succeeds();
    db.execute("CREATE SCHEMA kept");
    TABLES.iter().for_each(|table| db.execute(&format!("CREATE TABLE kept.old_{table} AS TABLE {table}")));
    db
}

/// Puts every row back.
fn restore(db: &Database<'_>) {
    db.execute(&format!("TRUNCATE {} CASCADE", TABLES.join(", ")));
    TABLES.iter().for_each(|table| db.execute(&format!("INSERT INTO {table} SELECT * FROM kept.old_{table}")));
}

/// The rows of the run at this place among the runs go from this table.
fn remove(db: &Database<'_>, table: &str, place: usize) {
    let run = format!("(SELECT id FROM kept.old_weather_forecast_runs ORDER BY gfs_init_time_utc OFFSET {place} LIMIT 1)");
    db.execute(&format!("DELETE FROM {table} WHERE run_id = {run}"));
}

/// Every command that reads, from each source; all must agree.
fn commands_agree(db: &Database<'_>) {
    let url = db.url();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| folder.path().join(name).to_str().expect("a name in UTF-8").to_owned();
    let (snapshot, archive, second) = (place("snapshot"), place("archive"), place("second"));
    let digest = |source: &str| {
        let run = recount(["reconcile", source, "--format", "json"]).run();
        assert!(matches!(run.status, Some(0 | 1)), "{run}");
        run.json()["digest"].as_str().expect("a digest").to_owned()
    };
    let expected = digest(&url);
    recount(["export", &url, "--out", &snapshot]).run().succeeds();
    assert_eq!(digest(&snapshot), expected);
    recount(["recompute", &snapshot, "--out", &place("rollups")]).run().succeeds();
    recount(["recompute", &url, "--out", &place("again")]).run().succeeds();
    assert_eq!(files(&place("rollups")), files(&place("again")));
    recount(["archive", &url, "--to", &archive]).run().succeeds();
    recount(["verify", &archive]).run().succeeds();
    assert_eq!(digest(&archive), expected);
    recount(["archive", &snapshot, "--to", &second]).run().succeeds();
    assert_eq!(digest(&second), expected);
    // With nothing gone, an archive beside the database adds nothing.
    let united = recount(["reconcile", &url, "--history", &archive, "--format", "json"]).run();
    assert_eq!(united.json()["digest"], expected, "{united}");
}

#[test]
fn runs_that_lack_something_stop_no_command() {
    let db = filled();
    // Each run as bits of what it lacks. The newest run of every validator has no score yet.
    let random = prop::collection::vec(0u8..32, RUNS);
    let mut shapes = vec![vec![0, 0, 0, 1], vec![0, 1, 0, 0], vec![1, 0, 2, 4], vec![31, 31, 31, 31], vec![0, 8, 0, 31]];
    // Each lack at each place, first and last among them.
    let kinds: Vec<u8> = (0..LACKING.len()).map(|bit| 1 << bit).collect();
    shapes.extend((0..kinds.len()).map(|turn| kinds.iter().cycle().skip(turn).take(RUNS).copied().collect()));
    let mut runner = TestRunner::deterministic();
    shapes.extend((0..4).map(|_| random.new_tree(&mut runner).expect("a shape").current()));
    for shape in shapes {
        restore(&db);
        for (place, lacks) in shape.iter().enumerate() {
            for (_, table) in LACKING.iter().enumerate().filter(|(bit, _)| lacks & (1 << bit) != 0) {
                remove(&db, table, place);
            }
        }
        eprintln!("shape {shape:?}");
        commands_agree(&db);
    }
}

#[test]
fn empty_tables_and_single_rows_stop_no_command() {
    let db = filled();
    for table in TABLES.iter().skip(2) {
        db.execute(&format!("DELETE FROM {table} WHERE ctid <> (SELECT min(ctid) FROM {table})"));
    }
    commands_agree(&db);
    // One row in each table, all of one run and one miner, as far as they say.
    restore(&db);
    let score = "(SELECT run_id FROM kept.old_weather_miner_scores ORDER BY id LIMIT 1)";
    let miner = "(SELECT miner_uid FROM kept.old_weather_miner_scores ORDER BY id LIMIT 1)";
    db.execute(&format!("DELETE FROM weather_forecast_runs WHERE id <> {score}; DELETE FROM node_table WHERE uid <> {miner}"));
    for table in TABLES.iter().skip(2) {
        // The least, by what every table has.
        let of_miner = format!("SELECT min(ctid) FROM {table} WHERE miner_uid = {miner}");
        db.execute(&format!("DELETE FROM {table} WHERE ctid NOT IN ({of_miner})"));
        assert_eq!(db.psql(&format!("SELECT count(*) FROM {table}")), "1", "{table}");
    }
    commands_agree(&db);
    db.execute("DELETE FROM weather_forecast_runs");
    commands_agree(&db);
    db.execute(&format!("TRUNCATE {} CASCADE", TABLES.join(", ")));
    commands_agree(&db);
}
