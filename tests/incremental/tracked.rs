//! `recount migrate --track-changes`: triggers record what is written, and nothing is missed.

use super::{Nights, quiet_database, units};
use crate::support::{Database, recount};

fn migrate(db: &Database, args: &[&str]) -> String {
    recount(["migrate", "--database-url", &db.url()].iter().chain(args)).run().succeeds().stdout
}

/// A database whose changes are tracked, and the state of a night since.
fn tracked<'d>(db: &'d Database<'d>, args: &[&str]) -> Nights<'d> {
    let nights = Nights::begin(db, args);
    assert!(migrate(db, &["--track-changes"]).contains("track changes"));
    nights.everything("changes are tracked since then");
    nights
}

#[test]
fn each_change_is_read_where_it_is() {
    let (_turn, db) = quiet_database();
    let nights = tracked(&db, &["--drift", "9"]);
    db.execute("UPDATE weather_miner_scores SET id = id + 1000000 WHERE run_id = 12");
    assert_eq!(nights.night(), units(1));
    for (change, expected) in [
        // What no search finds.
        ("SET track_counts = off; UPDATE weather_miner_scores SET score = score / 2 WHERE run_id = 3 AND lead_hours = 24", 1),
        ("SET track_counts = off; DELETE FROM weather_miner_scores WHERE run_id = 3 AND lead_hours = 24 AND miner_uid = 3", 1),
        (
            "SET track_counts = off; SET session_replication_role = replica;
          UPDATE weather_forecast_component_scores SET rmse = rmse + 1 WHERE run_id = 4",
            1,
        ),
        // Old row and new row alike, through cascades, by COPY's way, and by hand.
        ("UPDATE weather_miner_scores SET run_id = 4 WHERE run_id = 1 AND miner_uid = 3", 2),
        (
            "UPDATE weather_forecast_steps SET run_id = 7, step_name = 'moved' WHERE run_id = 2 AND miner_uid = 1 AND step_name = 'query'",
            2,
        ),
        ("DELETE FROM weather_miner_responses WHERE run_id = 5 AND miner_uid = 1", 1),
        ("UPDATE weather_forecast_stats SET era5_combined_score = 0.5 WHERE run_id = 5 AND miner_uid = 2", 1),
        ("DELETE FROM weather_forecast_stats WHERE run_id IN (6, 7) AND miner_uid = 2", 2),
        (
            "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, status) VALUES (8, 1, 'x', 'again', 'failed')",
            1,
        ),
        // Rolled back, as a whole and in part.
        ("BEGIN; DELETE FROM weather_miner_scores WHERE run_id = 9; ROLLBACK", 0),
        (
            "BEGIN; SAVEPOINT one; DELETE FROM weather_miner_scores WHERE run_id = 9; ROLLBACK TO one;
          DELETE FROM weather_miner_scores WHERE run_id = 8 AND lead_hours = 24; COMMIT",
            1,
        ),
        ("UPDATE weather_miner_scores SET score = 1 WHERE run_id = 99", 0),
    ] {
        db.execute(change);
        assert_eq!(nights.night(), units(expected), "{change}");
    }
}

/// Workers of a validator write to the same run at the same time: a stamp must not be a lock that they share.
#[test]
fn writers_of_one_run_do_not_wait_for_one_another() {
    let (_turn, db) = quiet_database();
    let nights = tracked(&db, &["--no-components"]);
    let miners = db.psql("SELECT DISTINCT miner_uid FROM weather_miner_scores WHERE run_id = 3 ORDER BY 1 LIMIT 2");
    let (first, second) = miners.split_once('\n').expect("two miners that were scored");
    let writes = |miner: &str| {
        format!(
            "BEGIN; SET LOCAL lock_timeout = '2s';
             UPDATE weather_miner_scores SET score = score / 2 WHERE run_id = 3 AND miner_uid = {miner};
             UPDATE weather_forecast_stats SET era5_combined_score = 0.5 WHERE run_id = 3 AND miner_uid = {miner}"
        )
    };
    crate::support::block_on(async {
        use sqlx::Connection;
        let (mut one, mut other) = (db.connect().await, db.connect().await);
        sqlx::raw_sql(sqlx::AssertSqlSafe(writes(first))).execute(&mut one).await.unwrap();
        // The first one has not ended.
        let at_once = sqlx::raw_sql(sqlx::AssertSqlSafe(writes(second) + "; COMMIT")).execute(&mut other).await;
        at_once.unwrap();
        sqlx::raw_sql("COMMIT").execute(&mut one).await.unwrap();
        one.close().await.unwrap();
        other.close().await.unwrap();
    });
    let stamps =
        "SELECT count(*), count(DISTINCT xid), count(DISTINCT run_id) FROM recount.recount_touched_runs WHERE run_id = 3";
    assert_eq!(db.psql(stamps), "2|2|1");
    assert_eq!(nights.night(), units(1));
}

/// A stamp is of the transaction, not of the moment: what was under way at a job is read by the next one.
#[test]
fn a_transaction_that_ends_later_is_read_then() {
    let (_turn, db) = quiet_database();
    let nights = tracked(&db, &["--no-components"]);
    crate::support::block_on(async {
        use sqlx::Connection;
        let mut slow = db.connect().await;
        let mut transaction = slow.begin().await.unwrap();
        let edit = "UPDATE weather_miner_scores SET score = 0.5 WHERE run_id = 2";
        sqlx::raw_sql(edit).execute(&mut *transaction).await.unwrap();
        tokio::task::block_in_place(|| {
            db.execute("UPDATE weather_miner_scores SET score = 0.5 WHERE run_id = 7");
            assert_eq!(nights.night(), units(1));
        });
        transaction.commit().await.unwrap();
        slow.close().await.unwrap();
    });
    // What was written while it was under way is read once more.
    assert_eq!(nights.night(), units(2));
    assert_eq!(nights.night(), units(0));
}

#[test]
fn where_a_trigger_was_out_of_force_everything_is_read() {
    let (_turn, db) = quiet_database();
    let nights = tracked(&db, &["--no-components"]);
    let not_in_force = |table: &str| format!("{table} has no triggers in force that track its changes");
    for (change, why) in [
        (
            "BEGIN; ALTER TABLE weather_miner_scores DISABLE TRIGGER recount_track_update;
             UPDATE weather_miner_scores SET score = 0.5 WHERE run_id = 2;
             ALTER TABLE weather_miner_scores ENABLE ALWAYS TRIGGER recount_track_update; COMMIT",
            "the triggers that track changes were disabled or made anew since".to_owned(),
        ),
        ("ALTER TABLE weather_miner_scores DISABLE TRIGGER ALL", not_in_force("weather_miner_scores")),
        // A trigger that `session_replication_role` would silence is not one to trust.
        ("ALTER TABLE weather_miner_scores ENABLE TRIGGER ALL", not_in_force("weather_miner_scores")),
        ("DROP TRIGGER recount_track_delete ON weather_forecast_steps", not_in_force("weather_forecast_steps")),
    ] {
        db.execute(change);
        nights.everything(&why);
    }
    assert!(migrate(&db, &["status"]).contains("not in force"));
    // Put in force again; what was in force stays as it is.
    let oids = || {
        db.psql("SELECT oid, xmin FROM pg_trigger WHERE tgname = 'recount_track_insert' AND tgrelid = 'weather_miner_responses'::regclass")
    };
    let before = oids();
    migrate(&db, &["--track-changes"]);
    assert_eq!(oids(), before);
    nights.everything("changes are tracked since then");
    assert_eq!(nights.night(), units(0));
    for change in [
        "CREATE OR REPLACE FUNCTION recount_stamp_runs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "TRUNCATE recount.recount_touched_runs",
    ] {
        db.execute(change);
        nights.everything("the triggers that track changes were disabled or made anew since");
    }
}

#[test]
fn old_records_are_removed_and_older_states_read_everything() {
    let (_turn, db) = quiet_database();
    let nights = tracked(&db, &["--no-components"]);
    db.execute("UPDATE weather_miner_scores SET score = 0.5 WHERE run_id = 2");
    db.execute("UPDATE recount.recount_touched_runs SET at = at - interval '40 days'");
    let stdout = migrate(&db, &["--track-changes"]);
    assert!(stdout.contains("old records removed"), "{stdout}");
    assert_eq!(db.psql("SELECT count(*) FROM recount.recount_touched_runs"), "0");
    nights.everything("what the triggers recorded since was removed in the meantime");
    db.execute("UPDATE weather_miner_scores SET score = 0.25 WHERE run_id = 2");
    assert_eq!(nights.night(), units(1));
}

#[test]
fn what_was_tracked_can_be_taken_back() {
    let (_turn, db) = quiet_database();
    let nights = Nights::begin(&db, &["--no-components"]);
    let catalogue = "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'recount\\_t%'),
                            (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'recount\\_t%'),
                            (SELECT count(*) FROM pg_proc WHERE proname LIKE 'recount\\_%stamp%')";
    let before = db.psql(catalogue);
    assert!(migrate(&db, &["status"]).contains("off"));
    migrate(&db, &["--track-changes"]);
    nights.everything("changes are tracked since then");
    assert_ne!(db.psql(catalogue), before);
    migrate(&db, &["--no-track-changes"]);
    assert_eq!(db.psql(catalogue), before);
    db.execute("UPDATE weather_miner_scores SET score = 0.5 WHERE run_id = 2");
    assert_eq!(nights.night(), units(1));
    // Twice is as good as once.
    migrate(&db, &["--no-track-changes"]);
    migrate(&db, &["--track-changes"]);
    migrate(&db, &["--track-changes"]);
}

/// The validator's role and the reader's have no rights beyond those that they have anyway, and a path of search is no way in.
#[test]
fn neither_writer_nor_reader_needs_a_right() {
    let (_turn, db) = quiet_database();
    let nights = tracked(&db, &["--no-components"]);
    let role = format!("writer_{}", db.name());
    db.execute(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         REVOKE INSERT, UPDATE, DELETE ON recount.recount_touched_runs, recount.recount_touched_units, recount.recount_tracking FROM {role};
         CREATE SCHEMA trap AUTHORIZATION {role};
         SET ROLE {role}; CREATE TABLE trap.recount_touched_runs (); SET search_path = trap, public;
         UPDATE public.weather_miner_scores SET score = 0.5 WHERE run_id = 2"
    ));
    let refused = db.refuses(&format!("SET ROLE {role}; DELETE FROM recount.recount_touched_runs"));
    assert!(refused.contains("permission denied"), "{refused}");
    let refused = db.refuses(&format!("SET ROLE {role}; SELECT public.recount_prune_stamps('0 days')"));
    assert!(refused.contains("permission denied"), "{refused}");
    assert_eq!(nights.night(), units(1));
    db.execute(&format!("DROP SCHEMA trap CASCADE; DROP OWNED BY {role}; DROP ROLE {role}"));
}
