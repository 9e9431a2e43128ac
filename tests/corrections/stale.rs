//! What has changed since the snapshot, or is about to, is left for another night; it is counted and listed.

use serde_json::Value as Json;

use super::{at, command, diff, drifted, dump_values, jobs, on};
use crate::support::{Database, database};

const KEY: &str = "run_id = 3 AND miner_uid = 5";

/// A diff of one wrong number in each of some rows, and what `apply` says after `change`.
fn apply_after(db: &Database, change: &str) -> Json {
    drifted(db, 6, 10, 0);
    db.execute("UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 125 WHERE miner_uid = 5 OR run_id = 3");
    changed_since_diff(db, change)
}

/// What `apply` says of a diff after which `change` happened, so that something is left.
fn changed_since_diff(db: &Database, change: &str) -> Json {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("diff");
    diff(db, &out);
    db.execute(change);
    let applied = on(db, &["apply", out.to_str().unwrap(), "--format", "json"]).ends_with(1).json();
    assert_eq!(applied["corrections"]["complete"], false);
    applied["corrections"].clone()
}

fn reasons(applied: &Json) -> Vec<String> {
    let left = applied["left"].as_array().unwrap();
    left.iter().map(|left| format!("{} {}", left["reason"].as_str().unwrap(), left["column"].as_str().unwrap_or("-"))).collect()
}

fn wrong(db: &Database) -> String {
    db.psql("SELECT count(*) FROM weather_forecast_stats WHERE forecast_inference_duration_seconds = 125")
}

#[test]
fn a_row_whose_scores_changed_is_left() {
    for change in [
        "UPDATE weather_miner_scores SET calculation_time = now() WHERE run_id = 3 AND miner_uid = 5 AND lead_hours = 24",
        "DELETE FROM weather_miner_scores WHERE id = (SELECT min(id) FROM weather_miner_scores WHERE run_id = 3 AND miner_uid = 5)",
        "UPDATE weather_forecast_steps SET completed_at = now() WHERE run_id = 3 AND miner_uid = 5 AND status = 'succeeded'",
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status)
         VALUES (3, 5, 'x', 'new', 'x', 1, 'succeeded')",
    ] {
        let db = database();
        let applied = apply_after(&db, change);
        assert_eq!(reasons(&applied), ["evidence -"], "{change}\n{applied:#}");
        assert_eq!(wrong(&db), "1");
        // The next night converges.
        on(&db, &["reconcile", "--apply"]).succeeds();
        on(&db, &["reconcile"]).succeeds();
    }
}

#[test]
fn ranks_are_left_where_anyone_of_the_run_was_scored_again() {
    let db = database();
    drifted(&db, 6, 10, 0);
    db.execute(
        "UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 125, miner_rank = 42 WHERE miner_uid IN (4, 5)",
    );
    let rescored =
        "UPDATE weather_miner_scores SET calculation_time = now() WHERE run_id = 3 AND miner_uid = 7 AND lead_hours = 24";
    let applied = changed_since_diff(&db, rescored);
    assert_eq!(reasons(&applied), ["evidence miner_rank", "evidence miner_rank"], "{applied:#}");
    let wrong =
        "SELECT count(*) FILTER (WHERE forecast_inference_duration_seconds = 125), count(*) FILTER (WHERE miner_rank = 42),
                        min(run_id) FILTER (WHERE miner_rank = 42) FROM weather_forecast_stats";
    assert_eq!(db.psql(wrong), "0|2|3");
    on(&db, &["reconcile", "--apply"]).succeeds();
    on(&db, &["reconcile"]).succeeds();
}

#[test]
fn a_cell_that_someone_else_wrote_is_left() {
    let db = database();
    let change = format!("UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 250 WHERE {KEY}");
    let applied = apply_after(&db, &change);
    assert_eq!(reasons(&applied), ["changed -"]);
    assert_eq!(db.psql(&format!("SELECT forecast_inference_duration_seconds FROM weather_forecast_stats WHERE {KEY}")), "250");
}

#[test]
fn a_float_is_the_same_only_by_its_bits() {
    let db = database();
    drifted(&db, 4, 8, 0);
    db.execute("UPDATE weather_forecast_stats SET era5_completeness = '-0' WHERE miner_uid = 5");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("diff");
    diff(&db, &out);
    db.execute("UPDATE weather_forecast_stats SET era5_completeness = '0' WHERE miner_uid = 5 AND run_id = 2");
    on(&db, &["apply", out.to_str().unwrap()]).ends_with(1).stdout_has("its stored value is no longer");
}

#[test]
fn a_row_that_is_gone_or_came_by_itself_is_left() {
    let db = database();
    assert_eq!(reasons(&apply_after(&db, &format!("DELETE FROM weather_forecast_stats WHERE {KEY}"))), ["gone -"]);

    let db = database();
    drifted(&db, 4, 8, 0);
    db.execute("CREATE TABLE kept AS SELECT * FROM weather_forecast_stats WHERE miner_uid = 3");
    db.execute("DELETE FROM weather_forecast_stats WHERE miner_uid = 3");
    let applied = changed_since_diff(&db, "INSERT INTO weather_forecast_stats SELECT * FROM kept WHERE run_id < 3");
    assert!(reasons(&applied).iter().all(|reason| reason == "exists -"), "{applied:#}");
    on(&db, &["reconcile"]).succeeds();
}

#[test]
fn a_row_that_someone_holds_is_left_and_waited_for_by_nobody() {
    let db = database();
    drifted(&db, 4, 8, 0);
    db.execute("UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 125 WHERE miner_uid IN (2, 5)");
    let held = crate::support::block_on(async {
        use sqlx::Connection;
        let mut other = db.connect().await;
        let mut transaction = other.begin().await.unwrap();
        let lock = "SELECT 1 FROM weather_forecast_stats WHERE miner_uid = 5 FOR UPDATE";
        sqlx::query(lock).fetch_all(&mut *transaction).await.unwrap();
        let applied = tokio::task::block_in_place(|| on(&db, &["reconcile", "--apply", "--format", "json"]));
        transaction.rollback().await.unwrap();
        applied
    });
    let applied = held.ends_with(1).json();
    assert!(reasons(&applied["corrections"]).iter().all(|reason| reason == "busy -"), "{applied:#}");
    assert_eq!(
        db.psql("SELECT DISTINCT miner_uid FROM weather_forecast_stats WHERE forecast_inference_duration_seconds = 125"),
        "5"
    );
}

#[test]
fn runs_under_way_and_young_runs_are_left() {
    let db = database();
    drifted(&db, 6, 10, 0);
    db.execute("UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 125");
    db.execute("UPDATE weather_forecast_steps SET status = 'in_progress', started_at = now(), completed_at = NULL
                WHERE id = (SELECT min(id) FROM weather_forecast_steps WHERE run_id = 2 AND step_name <> 'seed' AND lead_hours IS NULL)");
    // Initialised an hour ago, with everything done: not under way, but young.
    db.execute("UPDATE weather_forecast_runs SET gfs_init_time_utc = date_trunc('hour', now()) - interval '1 hour' WHERE id = 4");
    db.execute("UPDATE weather_forecast_steps SET status = 'succeeded' WHERE run_id = 4");
    let applied = on(&db, &["reconcile", "--apply", "--min-age", "6h", "--format", "json"]).ends_with(1).json();
    let left = reasons(&applied["corrections"]);
    assert!(left.iter().any(|reason| reason == "in_flight -") && left.iter().any(|reason| reason == "young -"), "{applied:#}");
    let wrong =
        db.psql("SELECT DISTINCT run_id FROM weather_forecast_stats WHERE forecast_inference_duration_seconds = 125 ORDER BY 1");
    assert_eq!(wrong, "2\n4");
    let applied = on(&db, &["reconcile", "--apply", "--prune-extra", "--format", "json"]).ends_with(1).json();
    assert!(reasons(&applied["corrections"]).iter().all(|reason| reason == "in_flight -"), "{applied:#}");
    assert_eq!(
        db.psql("SELECT DISTINCT run_id FROM weather_forecast_stats WHERE forecast_inference_duration_seconds = 125"),
        "2"
    );
}

#[test]
fn rows_without_evidence_go_only_when_asked_for() {
    let db = database();
    drifted(&db, 4, 8, 0);
    for table in ["weather_miner_scores", "weather_forecast_steps", "weather_miner_responses"] {
        db.execute(&format!("DELETE FROM {table} WHERE run_id = 2 AND miner_uid = 3"));
    }
    let rows = "SELECT count(*) FROM weather_forecast_stats WHERE run_id = 2 AND miner_uid = 3";
    on(&db, &["reconcile", "--apply"]).ends_with(1).stdout_has("--prune-extra deletes them");
    assert_eq!(db.psql(rows), "1");
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    assert_eq!(db.psql(rows), "0");
    on(&db, &["undo", &super::last_job(&db)]).succeeds();
    assert_eq!(db.psql(rows), "1");
}

#[test]
fn error_texts_are_guarded_by_what_is_really_stored() {
    let db = database();
    drifted(&db, 4, 8, 0);
    // Raw texts with addresses: the diff never sees those, and undo must bring them back.
    db.execute("UPDATE weather_forecast_stats SET last_error_message = 'connect to 10.1.2.3:8080 failed',
                forecast_error_msg = '{\"type\": \"x\", \"message\": \"at 10.1.2.3\", \"traceback\": \"secret 10.9.9.9\"}' WHERE miner_uid = 3");
    let before = super::dump(&db);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("diff");
    diff(&db, &out);
    on(&db, &["apply", out.to_str().unwrap()]).succeeds().never_says("10.1.2.3");
    on(&db, &["reconcile"]).succeeds();
    on(&db, &["jobs", "show", &super::last_job(&db)]).succeeds().never_says("10.1.2.3").never_says("10.9.9.9");
    on(&db, &["undo", &super::last_job(&db)]).succeeds();
    assert_eq!(super::dump(&db), before);

    // Another address reads the same once sanitized, but it is another text: guarded when it changes under way.
    db.execute("UPDATE weather_forecast_stats SET last_error_message = 'x' WHERE miner_uid = 3 AND run_id = 1");
    let applied = on(&db, &["apply", out.to_str().unwrap(), "--format", "json"]).ends_with(1).json();
    assert_eq!(reasons(&applied["corrections"]), ["changed last_error_message"], "{applied:#}");
}

#[test]
fn undo_leaves_what_was_written_since() {
    let db = database();
    drifted(&db, 4, 8, 20);
    let before = dump_values(&db);
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    let job = super::last_job(&db);
    let touched = "SELECT miner_uid, forecast_run_id FROM recount.rollup_corrections
                   WHERE column_name = 'updated_at' AND table_name = 'weather_forecast_stats' LIMIT 1";
    db.execute(&format!(
        "UPDATE weather_forecast_stats SET era5_combined_score = 42, forecast_score_initial = 42, era5_completeness = 42,
             overall_forecast_score = 42, avg_rmse = 42, avg_acc = 42, avg_skill_score = 42, miner_rank = 42, era5_score_24h = 42,
             era5_score_48h = 42, forecast_status = 'mine', current_forecast_stage = 'mine', current_forecast_status = 'mine',
             last_error_message = 'mine', retries_remaining = 42, next_scheduled_retry = now(), forecast_error_msg = '42',
             forecast_inference_duration_seconds = 42, hosting_status = 'mine', hosting_latency_ms = 42, miner_hotkey = 'mine',
             forecast_init_time = now()
         WHERE (miner_uid, forecast_run_id) = ({touched})"
    ));
    at(&db.url(), &["undo", &job]).run().ends_with(1).stdout_has("its stored value is no longer");
    assert_eq!(db.psql("SELECT count(*) FROM weather_forecast_stats WHERE avg_rmse = 42"), "1");
    assert_ne!(dump_values(&db), before);
    assert_eq!(jobs(&db), "2");
    at(&db.url(), &["undo", "01234567-89ab-cdef-0123-456789abcdef"]).run().ends_with(2).stderr_has("no such job");
    let _ = command(&db, &["jobs"]).run().succeeds().stdout_has("undone");
}
