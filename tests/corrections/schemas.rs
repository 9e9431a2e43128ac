//! Columns as real databases have them: what the check of the catalogue lets pass is read, corrected and undone like any other.

use super::{at, dump, generated, last_job, on};
use crate::support::{Database, database, recount};

fn prepared(change: &str) -> Database<'static> {
    let db = database();
    generated(&db, &["--runs", "4", "--miners", "8", "--seed", "7", "--messy", "--drift", "12"]);
    db.execute(change);
    db
}

/// Corrects everything and finds it in sync; takes it back and finds it to the byte as it was.
fn there_and_back(db: &Database) {
    let before = dump(db);
    on(db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    on(db, &["reconcile"]).succeeds();
    on(db, &["undo", &last_job(db)]).succeeds();
    assert_eq!(dump(db), before);
}

#[test]
fn extra_columns_mean_nothing_whatever_their_names() {
    let names = ["d", "t", "n", "r", "c", "i", "w", "run", "miner", "time", "first", "state", "a b"];
    let columns = names.map(|name| format!("ADD \"{name}\" text DEFAULT 'v'")).join(", ");
    there_and_back(&prepared(&format!(
        "ALTER TABLE weather_forecast_stats {columns}; ALTER TABLE miner_stats {columns}; ALTER TABLE weather_miner_scores {columns};
         ALTER TABLE weather_forecast_steps {columns}; ALTER TABLE weather_miner_responses {columns};
         INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status)
             SELECT miner_uid, 'h', 'ghost', '2020-01-01', 'x' FROM miner_stats LIMIT 2;
         UPDATE weather_forecast_stats SET updated_at = '2020-01-01';
         DELETE FROM weather_forecast_stats WHERE id IN (3, 4)"
    )));
}

#[test]
fn small_keys_and_nested_domains_are_numbers() {
    there_and_back(&prepared(
        "ALTER TABLE weather_forecast_stats ALTER miner_uid TYPE smallint; ALTER TABLE weather_miner_scores ALTER miner_uid TYPE smallint;
         ALTER TABLE weather_miner_responses ALTER miner_uid TYPE smallint; ALTER TABLE miner_stats ALTER miner_uid TYPE smallint;
         CREATE DOMAIN inner_score AS double precision; CREATE DOMAIN outer_score AS inner_score;
         ALTER TABLE weather_miner_scores ALTER score TYPE outer_score;
         ALTER TABLE weather_forecast_stats ALTER era5_completeness TYPE outer_score;
         UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE miner_uid = 3",
    ));
}

#[test]
fn json_that_the_server_cannot_take_apart_is_read() {
    let db = prepared(
        "ALTER TABLE weather_forecast_stats ALTER forecast_error_msg TYPE json USING forecast_error_msg::json;
         ALTER TABLE weather_forecast_steps ALTER error_json TYPE json USING error_json::json;
         UPDATE weather_forecast_stats SET forecast_error_msg = '{\"type\": \"a\", \"message\": \"x\\u0000\\u0000y \\\\u0000 \\ud83d \\ude00 \\ud83d\\ude00\"}'
             WHERE id = 1;
         UPDATE weather_forecast_steps SET error_json = '{\"message\": \"x\\u0000y\"}'
             WHERE id = (SELECT min(id) FROM weather_forecast_steps)",
    );
    let read = on(&db, &["reconcile", "--format", "json"]).ends_with(1);
    // Each escape that the server cannot read is replaced; an escaped backslash before "u0000" and a whole pair are not.
    read.stdout_has("x\u{fffd}\u{fffd}y \\\\u0000 \u{fffd} \u{fffd} \u{1f600}");
    there_and_back(&db);
}

#[test]
fn json_beyond_our_numbers_and_depth_is_corrected() {
    there_and_back(&prepared(
        "UPDATE weather_forecast_stats SET forecast_error_msg = '{\"type\": \"x\", \"message\": \"m\", \"n\": 1e400}' WHERE id = 1;
         UPDATE weather_forecast_stats SET forecast_error_msg = ('{\"message\": ' || repeat('[', 200) || repeat(']', 200) || '}')::jsonb
             WHERE id = 2;
         UPDATE weather_forecast_stats SET forecast_error_msg = '{\"type\": 1e400}' WHERE id = 3",
    ));
}

#[test]
fn what_the_server_computes_is_left_with_a_note() {
    let db = prepared(
        "ALTER TABLE weather_forecast_stats DROP hosting_latency_ms;
         ALTER TABLE weather_forecast_stats ADD hosting_latency_ms integer GENERATED ALWAYS AS (retries_remaining * 7) STORED;
         DELETE FROM weather_forecast_stats WHERE id = 5",
    );
    let told = on(&db, &["reconcile", "--apply", "--prune-extra"]).ends_with(1);
    told.stdout_has("weather_forecast_stats.hosting_latency_ms is a generated column").stdout_has("Corrected");
    on(&db, &["reconcile", "--ignore", "hosting_latency_ms"]).succeeds();
}

#[test]
fn what_views_cannot_read_is_refused_by_name() {
    let db = prepared(
        "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         ALTER TABLE weather_miner_scores ALTER score_type TYPE varchar(50) COLLATE any_case, ALTER miner_uid TYPE smallint;
         ALTER TABLE weather_forecast_stats ALTER forecast_run_id TYPE varchar(100) COLLATE any_case;
         ALTER TABLE weather_forecast_steps ALTER error_json TYPE json USING error_json::json",
    );
    there_and_back(&db);
    for command in [&["phase3", "apply"][..], &["phase2", "check", "--option", "view"]] {
        let told = recount(command.iter().chain(&["--database-url", &db.url()])).run().ends_with(2);
        let told = told.stderr_has("weather_miner_scores.score_type is of the nondeterministic collation any_case");
        let told =
            told.stderr_has("weather_miner_scores.miner_uid is smallint").stderr_has("weather_forecast_steps.error_json is json");
        told.stderr_has("ALTER TABLE weather_miner_scores ALTER COLUMN miner_uid TYPE integer");
    }
    let _ = at(&db.url(), &["reconcile"]).run().ends_with(1);
}
