//! Changes that hide: what moves from one run to another, goes back in time, or comes again under an old name.

use std::process::Command;

use sqlx::Connection;

use super::{Nights, quiet_database, units};
use crate::support::{Cluster, Database, block_on};

/// A row that goes to another run changes both, whatever it says of its time.
#[test]
fn rows_that_move_change_both_runs() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--drift", "9"]);
    // Young ids are looked at whatever their time; so there must be one that is far younger.
    db.execute("UPDATE weather_miner_scores SET id = id + 1000000 WHERE run_id = 12");
    nights.night();
    nights.night();
    for (change, expected) in [
        ("UPDATE weather_miner_scores SET run_id = 4, calculation_time = now() WHERE run_id = 1 AND miner_uid = 3", 2),
        ("UPDATE weather_miner_scores SET run_id = 1 WHERE run_id = 4 AND miner_uid = 3 AND lead_hours = 24", 2),
        ("UPDATE weather_miner_scores SET run_id = 9 - run_id, calculation_time = now() WHERE run_id IN (4, 5) AND miner_uid = 2", 2),
        ("UPDATE weather_forecast_component_scores SET run_id = 4, calculated_at = now() WHERE run_id = 1 AND miner_uid = 3", 2),
        ("UPDATE weather_forecast_component_scores SET run_id = 11 - run_id WHERE run_id IN (5, 6) AND miner_uid = 2", 2),
        ("UPDATE weather_forecast_steps SET run_id = 7, step_name = 'moved' WHERE run_id = 2 AND miner_uid = 1 AND step_name = 'query'", 2),
        // Rows come and go elsewhere at the same time, and what is rolled back is counted too.
        ("UPDATE weather_miner_scores SET run_id = 8, calculation_time = now() WHERE run_id = 3 AND lead_hours = 24 AND miner_uid = 3;
          DELETE FROM weather_miner_scores WHERE run_id = 9 AND lead_hours = 24 AND miner_uid = 3", 3),
        ("BEGIN; DELETE FROM weather_miner_scores WHERE run_id = 9; ROLLBACK;
          UPDATE weather_miner_scores SET run_id = 3, calculation_time = now() WHERE run_id = 8 AND lead_hours = 48 AND miner_uid = 3", 2),
    ] {
        db.execute(change);
        assert_eq!(nights.night(), units(expected), "{change}");
        // A scan looks one snapshot further back than to the last one.
        assert_eq!(nights.night(), units(0), "{change}");
    }
}

#[test]
fn values_behind_their_time_are_noticed() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--drift", "9"]);
    db.execute("UPDATE weather_miner_scores SET id = id + 1000000 WHERE run_id = 12");
    nights.night();
    nights.night();
    for (change, expected) in [
        (
            "UPDATE weather_miner_scores SET score = score + 1, calculation_time = calculation_time - interval '400 days' WHERE run_id = 1",
            1,
        ),
        ("UPDATE weather_miner_scores SET score = score / 3 WHERE run_id = 2 AND lead_hours = 24", 1),
        ("UPDATE weather_forecast_component_scores SET rmse = rmse * 2 WHERE run_id = 5 AND lead_hours = 24", 1),
        (SAME_ID, 1),
        // In two goes, of which one is taken back.
        (
            "UPDATE weather_miner_scores SET score = 0.1 WHERE run_id = 3 AND lead_hours = 24;
          UPDATE weather_miner_scores SET score = 0.2 WHERE run_id = 3 AND lead_hours = 24",
            1,
        ),
        ("BEGIN; UPDATE weather_miner_scores SET score = 0.3 WHERE run_id = 4; ROLLBACK", 0),
    ] {
        db.execute(change);
        assert_eq!(nights.night(), units(expected), "{change}");
        // A scan looks one snapshot further back than to the last one.
        assert_eq!(nights.night(), units(0), "{change}");
    }
}

const SAME_ID: &str = "CREATE TABLE kept AS SELECT * FROM weather_miner_scores WHERE run_id = 6 AND miner_uid = 3;
    UPDATE kept SET score = score / 2;
    DELETE FROM weather_miner_scores WHERE id IN (SELECT id FROM kept);
    INSERT INTO weather_miner_scores SELECT * FROM kept; DROP TABLE kept";

#[test]
fn a_table_with_other_columns_is_read() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--drift", "9"]);
    let swap = "ALTER TABLE weather_forecast_component_scores RENAME COLUMN rmse TO x;
                ALTER TABLE weather_forecast_component_scores RENAME COLUMN mse TO rmse;
                ALTER TABLE weather_forecast_component_scores RENAME COLUMN x TO mse";
    db.execute(swap);
    nights.everything("weather_forecast_component_scores has other columns, or columns made anew");
    db.execute("ALTER TABLE weather_forecast_steps DROP COLUMN latency_ms, ADD COLUMN latency_ms integer DEFAULT 7");
    nights.everything("weather_forecast_steps has other columns, or columns made anew");
    db.execute("CREATE TABLE child () INHERITS (weather_miner_scores)");
    nights.everything("weather_miner_scores is no ordinary table, or has tables that inherit from it");
    db.execute("DROP TABLE child");
    // Its rows were read as the table's own.
    nights.everything("weather_miner_scores is no ordinary table, or has tables that inherit from it");
    assert_eq!(nights.night(), units(0));
}

/// A setting of the role or the database stops the counters: then nothing is taken from them.
#[test]
fn where_nothing_is_counted_tables_are_searched() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    db.execute(&format!("ALTER DATABASE {} SET track_counts = off", db.name()));
    db.execute("UPDATE weather_miner_scores SET score = 0.0123 WHERE run_id = 3 AND lead_hours = 24");
    assert_eq!(nights.night(), units(1));
    db.execute("UPDATE weather_miner_scores SET run_id = 4 WHERE run_id = 3 AND miner_uid = 3");
    assert_eq!(nights.night(), units(2));
    assert_eq!(nights.night(), units(0));
}

/// With `synchronous_commit = off` a crash takes back what a job has seen, and the server's start stays the same.
#[test]
fn what_a_crash_takes_back_is_read_again() {
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    db.execute("ALTER SYSTEM SET wal_writer_delay = '10s'");
    db.execute("SELECT pg_reload_conf()");
    let nights = Nights::begin(&db, &["--no-components"]);
    let (kept, started) = (nights.whole(&[])["digest"].clone(), db.psql("SELECT pg_postmaster_start_time()"));
    db.execute("CHECKPOINT");
    let starts = || cluster.log().matches("ready to accept connections").count();
    let before = starts();
    block_on(async {
        let mut session = db.connect().await;
        sqlx::raw_sql("SET synchronous_commit = off").execute(&mut session).await.unwrap();
        let edit = "UPDATE weather_miner_scores SET score = 0.0123, calculation_time = now() WHERE run_id = 3";
        sqlx::raw_sql(edit).execute(&mut session).await.unwrap();
        let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await.unwrap();
        tokio::task::block_in_place(|| {
            // A session of its own sees it; what others commit would make it durable.
            let seen = super::report(nights.job_unsettled(&["--incremental"]));
            assert_ne!(seen["digest"], kept);
            assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
        });
        let _ = session.close().await;
    });
    // The server answers for a moment after the kill, and not while it recovers.
    while starts() == before || block_on(sqlx::PgConnection::connect(&db.url())).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(db.psql("SELECT pg_postmaster_start_time()"), started);
    nights.everything("the server recovered from a crash since, or its statistics were set to zero");
    assert_eq!(nights.whole(&[])["digest"], kept, "the crash took nothing back: the test shows nothing");
}
