//! What changes a closed run is noticed, and only that run is read again.

use super::{Nights, RUNS, Read, comparable, quiet_database, read, report, units};
use crate::support::{Cluster, Database, block_on};

#[test]
fn nothing_is_read_where_nothing_changed() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--messy", "--drift", "9"]);
    let report = report(nights.job(&["--incremental"]));
    let whole = nights.whole(&[]);
    assert_eq!(comparable(&report), comparable(&whole));
    // Two runs of a messy plan share a unit.
    assert_eq!(read(&report).units, 0);
    for table in
        ["weather_miner_scores", "weather_miner_responses", "weather_forecast_steps", "weather_forecast_component_scores"]
    {
        assert_eq!(report["snapshot"]["rows"][table], 0, "{table}");
        assert!(whole["snapshot"]["rows"][table].as_u64() > Some(0), "{table}");
    }
}

#[test]
fn each_change_is_noticed_where_it_is() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--drift", "9"]);
    assert_eq!(nights.night(), units(0));
    for (change, expected) in [
        // Late rescoring, in place.
        ("UPDATE weather_miner_scores SET score = score / 2, calculation_time = now() WHERE run_id = 3 AND lead_hours = 24", 1),
        // Rows that go.
        ("DELETE FROM weather_miner_scores WHERE run_id = 4 AND lead_hours = 24", 1),
        ("DELETE FROM weather_forecast_steps WHERE run_id = 5 AND step_name = 'query'", 1),
        ("DELETE FROM weather_forecast_component_scores WHERE run_id = 6 AND lead_hours = 48", 1),
        ("DELETE FROM weather_forecast_stats WHERE run_id IN (7, 8) AND miner_uid = 1", 2),
        // Rows that are edited.
        ("UPDATE weather_miner_responses SET status = 'failed' WHERE run_id = 3 AND miner_uid = 1", 1),
        ("UPDATE weather_forecast_steps SET latency_ms = 7 WHERE run_id IN (1, 4)", 2),
        ("UPDATE weather_forecast_stats SET era5_combined_score = 0.5 WHERE run_id = 5 AND miner_uid = 1", 1),
        ("UPDATE weather_forecast_component_scores SET rmse = rmse + 1 WHERE run_id = 6", 1),
        ("UPDATE weather_forecast_runs SET gfs_init_time_utc = gfs_init_time_utc + interval '1 hour' WHERE id = 7", 1),
        // A run that is opened again.
        (AGAIN, 1),
        ("UPDATE weather_forecast_steps SET status = 'failed' WHERE step_name = 'again'", 1),
        // A score more, an old one by its time.
        ("INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score)
          SELECT response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, 0.25 FROM weather_miner_scores
          WHERE run_id = 9 AND lead_hours IS NULL", 1),
        // And one by its id as well.
        ("INSERT INTO weather_miner_scores (id, response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score)
          SELECT -1, response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, 0.25 FROM weather_miner_scores
          WHERE run_id = 10 AND lead_hours IS NULL LIMIT 1", 1),
        // What no rule reads in the tables of runs.
        ("UPDATE node_table SET hotkey = 'y' WHERE uid = 1", 0),
        ("UPDATE miner_stats SET avg_era5_score = 0.75 WHERE miner_uid = 2", 0),
    ] {
        db.execute(change);
        assert_eq!(nights.night(), units(expected), "{change}");
    }
    assert_eq!(nights.night(), units(0));
}

const AGAIN: &str = "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, status, started_at)
                     VALUES (8, 1, 'x', 'again', 'in_progress', now())";

/// Nothing is written, and yet there is one more finding: the step has been in progress for a day.
#[test]
fn time_alone_changes_a_step_in_progress() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    db.execute(AGAIN);
    assert_eq!(nights.night(), units(1));
    assert_eq!(nights.night(), units(0));
    let tomorrow = |hours: u32| {
        let time = format!("to_char((now() + interval '{hours} hours') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
        nights.night_with(&["--snapshot-time", &db.psql(&format!("SELECT {time}"))])
    };
    assert_eq!(tomorrow(23), units(0));
    assert_eq!(tomorrow(25), units(1));
    assert_eq!(tomorrow(26), units(0));
}

#[test]
fn runs_come_and_go() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    nights.new_run(5, 1001);
    assert_eq!(nights.night(), Read { units: 1, all: RUNS + 1 });
    db.execute("DELETE FROM weather_forecast_runs WHERE id IN (1, 2)");
    assert_eq!(nights.night(), Read { units: 0, all: RUNS - 1 });
    // Both in one night, and a miner with all that it has.
    nights.new_run(6, 1002);
    db.execute("DELETE FROM weather_forecast_runs WHERE id = 3");
    assert_eq!(nights.night(), Read { units: 1, all: RUNS - 1 });
    db.execute("DELETE FROM node_table WHERE uid = 4");
    assert_eq!(nights.night(), Read { units: RUNS - 1, all: RUNS - 1 });
    assert_eq!(nights.night(), Read { units: 0, all: RUNS - 1 });
}

#[test]
fn open_runs_are_always_read() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let last = db.psql(
        "SELECT to_char(max(gfs_init_time_utc) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM weather_forecast_runs",
    );
    // 48 hours of leads, five days until the truth is there, six hours for scoring.
    let open = format!("SELECT count(*) FROM weather_forecast_runs WHERE gfs_init_time_utc + interval '174 hours' > '{last}'");
    let open: u64 = db.psql(&open).parse().unwrap();
    assert!((1..RUNS).contains(&open));
    // The time goes back to there: what was stale may not be any more.
    nights.everything_with(&["--snapshot-time", &last], "it is of a later time than this snapshot");
    assert_eq!(nights.night_with(&["--snapshot-time", &last]), units(open));
}

/// What a session does that the server does not count, behind ids and times, leaves nothing to be seen.
#[test]
fn what_was_missed_is_told_by_full() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    // Young ids are looked at whatever their time; so there must be one that is far younger.
    db.execute("UPDATE weather_miner_scores SET id = id + 1000000 WHERE run_id = 12");
    assert_eq!(nights.night().units, 1);
    let before = nights.whole(&[])["digest"].clone();
    db.execute("SET track_counts = off; UPDATE weather_miner_scores SET score = 0.0123 WHERE run_id = 3 AND lead_hours = 24");
    let after = nights.whole(&[])["digest"].clone();
    assert_ne!(before, after);
    let missed = report(nights.job(&["--incremental"]));
    assert_eq!(missed["digest"], before);
    // It was said that this kind can be missed.
    assert!(missed["notes"].to_string().contains("a session with track_counts = off"), "{missed:#}");
    let full = report(nights.job(&["--full"]));
    assert_eq!(full["digest"], after);
    assert!(full["notes"].to_string().contains("the state renewed: --full asks for it"), "{full:#}");
    let unit = db.psql("SELECT DISTINCT forecast_run_id FROM weather_forecast_stats WHERE run_id = 3");
    let told = format!("incremental jobs have missed changes of 1 units, which left no trace: {unit};");
    assert!(full["notes"].to_string().contains(&told), "{full:#}");
    assert_eq!(nights.night(), units(0));
    // What such a job would have found is not told as missed.
    db.execute("UPDATE weather_miner_scores SET score = 0.0456 WHERE run_id = 3 AND lead_hours = 24");
    let full = report(nights.job(&["--full"]));
    assert!(!full["notes"].to_string().contains("have missed changes"), "{full:#}");
}

#[test]
fn without_an_index_on_the_time_no_edit_is_missed() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    db.execute("DROP INDEX weather_miner_scores_calculation_time_idx");
    assert_eq!(nights.night(), units(0));
    db.execute("UPDATE weather_miner_scores SET score = 0.0123 WHERE run_id = 3 AND lead_hours = 24");
    assert_eq!(nights.night(), units(1));
    assert_eq!(nights.night(), units(0));
}

/// A transaction that was under way at a snapshot may commit rows with ids far below those that the snapshot saw.
#[test]
fn rows_of_a_transaction_that_ends_later_are_noticed() {
    let insert = "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score)
                  SELECT response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, 0.25 FROM weather_miner_scores";
    for first_night_quiet in [true, false] {
        let (_turn, db) = quiet_database();
        let nights = Nights::begin(&db, &["--no-components"]);
        if !first_night_quiet {
            std::fs::remove_file(nights.state().join("reconcile.state")).unwrap();
        }
        block_on(async {
            use sqlx::Connection;
            let mut slow = db.connect().await;
            let mut transaction = slow.begin().await.unwrap();
            let old = format!("{insert} WHERE run_id = 2 AND lead_hours IS NULL LIMIT 1");
            sqlx::query(sqlx::AssertSqlSafe(old)).execute(&mut *transaction).await.unwrap();
            tokio::task::block_in_place(|| {
                // Others go on, far beyond the ids that are looked at again for safety's sake.
                db.execute("SELECT setval('weather_miner_scores_id_seq', nextval('weather_miner_scores_id_seq') + 1000000)");
                db.execute(&format!("{insert} WHERE run_id = 7 AND lead_hours IS NULL LIMIT 1"));
                if !first_night_quiet {
                    nights.everything("there was none yet");
                }
                assert_eq!(nights.night(), units(1));
            });
            transaction.commit().await.unwrap();
            slow.close().await.unwrap();
        });
        // What was written while it was under way is read once more.
        assert_eq!(nights.night(), units(2), "quiet: {first_night_quiet}");
        assert_eq!(nights.night(), units(0));
    }
}

#[test]
fn where_the_counters_tell_nothing_runs_are_counted() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    db.execute("DELETE FROM weather_miner_scores WHERE run_id = 4 AND lead_hours = 24");
    nights.settle();
    db.execute("SELECT pg_stat_reset()");
    assert_eq!(nights.night(), units(1));
    assert_eq!(nights.night(), units(0));
}

#[test]
fn a_table_that_was_emptied_and_filled_again_is_read() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    db.execute(
        "CREATE TABLE kept AS SELECT * FROM weather_miner_scores; TRUNCATE weather_miner_scores;
         INSERT INTO weather_miner_scores SELECT * FROM kept; DROP TABLE kept",
    );
    nights.everything("weather_miner_scores was replaced or rewritten as a whole");
}

#[test]
fn a_server_that_was_started_again_is_read_whole() {
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    let nights = Nights::begin(&db, &["--no-components"]);
    cluster.stop("fast");
    cluster.start_again();
    nights.everything("the server was started again since");
    assert_eq!(nights.night(), units(0));
}

#[test]
fn a_retention_of_runs_costs_no_count() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let counts = || nights.job(&["--incremental", "-vv"]).stderr.contains("counting the rows of every run");
    db.execute("DELETE FROM weather_forecast_runs WHERE id IN (1, 2)");
    nights.new_run(5, 1001);
    assert!(!counts());
    db.execute("DELETE FROM weather_miner_scores WHERE run_id = 4 AND lead_hours = 24");
    assert!(counts());
    assert_eq!(nights.night().units, 0);
}
