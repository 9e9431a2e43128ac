//! The harness itself: a server comes up, sets load, and nothing stays behind.

use crate::support::{Cluster, Database, conformance, database, recount};

#[test]
fn every_conformance_set_loads() {
    for set in conformance::SETS {
        let db = database();
        conformance::load(&db, set);
        let runs = db.psql("SELECT count(*) FROM weather_forecast_runs");
        assert!(runs.parse::<u32>().unwrap() > 0, "{set} has {runs} runs");
    }
}

#[test]
fn repeated_null_keys_get_in() {
    let db = database();
    conformance::load(&db, "small");
    let repeated = "SELECT count(*) > 0 FROM (SELECT FROM weather_forecast_steps
                    GROUP BY run_id, miner_uid, step_name, substep, lead_hours HAVING count(*) > 1) r";
    assert_eq!(db.psql(repeated), "t");
}

#[test]
fn null_and_the_empty_text_are_told_apart() {
    assert_eq!(database().psql("SELECT NULL, '', 1.5::float8"), "∅||1.5");
}

#[test]
fn a_server_of_its_own_can_be_crashed_and_started_again() {
    let cluster = Cluster::start();
    let folder = cluster.folder().to_owned();
    let db = Database::create(&cluster);
    db.execute("CREATE TABLE t AS SELECT 1 AS a");
    cluster.stop("immediate");
    cluster.start_again();
    assert_eq!(db.psql("SELECT a FROM t"), "1");
    drop(db);
    drop(cluster);
    assert!(!folder.exists(), "{} is still there", folder.display());
}

#[tokio::test]
async fn the_plain_calls_work_within_a_runtime() {
    assert_eq!(database().psql("SELECT 1"), "1");
}

#[test]
fn the_program_runs() {
    assert!(recount(["--version"]).run().left_behind().is_empty());
}
