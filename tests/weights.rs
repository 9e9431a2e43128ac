//! What weights are set from: the newest rows, and the validator's own `score_table`, which a correction does not reach.

use serde_json::{Value as Json, json};

use crate::support::{Database, database, recount};

fn validator() -> Database<'static> {
    let database = database();
    let url = database.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "4", "--miners", "6", "--seed", "4", "--complete", "--database-url", &url]).run().succeeds();
    database
}

/// A `score_table` as the validator's migrations make it, with the overall scores of run 3.
fn with_score_table(database: &Database<'_>) {
    let columns: Vec<String> = (0..256).map(|uid| format!("uid_{uid}_score double precision")).collect();
    database.execute(&format!(
        "CREATE TABLE score_table (id serial PRIMARY KEY, task_name varchar(255), task_id text, {},
             created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, status varchar(50) DEFAULT 'pending');
         INSERT INTO score_table (task_name, task_id, created_at, uid_1_score) VALUES
             ('weather', 'weather_scores_2_20250102T000000Z', '2020-01-01', 0.9), ('soil', 'soil_1', '2030-01-01', 0.9);
         INSERT INTO score_table (task_name, task_id, uid_200_score) VALUES ('weather', 'weather_scores_3_20250103T000000Z', 0)",
        columns.join(", ")
    ));
    for uid in 0..6 {
        database.execute(&format!(
            "UPDATE score_table SET uid_{uid}_score = (SELECT overall_forecast_score FROM weather_forecast_stats
                 WHERE run_id = 3 AND miner_uid = {uid}) WHERE task_id LIKE 'weather_scores_3_%'"
        ));
    }
}

fn report(database: &Database<'_>, status: i32) -> Json {
    recount(["reconcile", &database.url(), "--format", "json"]).run().ends_with(status).json()
}

#[test]
fn a_correction_does_not_reach_the_score_table_and_the_report_says_so() {
    let database = validator();
    with_score_table(&database);
    let table = &report(&database, 0)["score_table"];
    assert_eq!((&table["run_id"], &table["agrees"], &table["note"]), (&json!(3), &json!(true), &Json::Null), "{table:#}");

    // As the validator does it: it stores a wrong score, and makes the row of weights from it.
    database.execute(
        "UPDATE weather_forecast_stats SET overall_forecast_score = 0.125 WHERE run_id = 3 AND miner_uid = 2;
         UPDATE score_table SET uid_2_score = 0.125 WHERE task_id LIKE 'weather_scores_3_%'",
    );
    let found = report(&database, 1);
    let table = &found["score_table"];
    assert_eq!((&table["agrees"], &table["off"]["count"]), (&json!(false), &json!(1)), "{table:#}");
    let (off, change) = (&table["off"]["rows"][0], &found["impact"]["rows"][0]["overall_forecast_score"]);
    assert_eq!((&off["miner_uid"], &off["score"]), (&json!(2), &json!(0.125)));
    assert_eq!(off["recomputed"], change["recomputed"]);

    recount(["reconcile", &database.url(), "--apply"]).run().succeeds();
    let after = report(&database, 0);
    assert_eq!((&after["score_table"]["off"], &after["in_sync"]), (&table["off"], &json!(true)));
    let told = recount(["reconcile", &database.url()]).run().succeeds().stdout;
    assert!(told.contains("weights are read from weather_scores_3_20250103T000000Z, where 1 of "), "{told}");
    assert!(told.contains("A correction does not reach it"), "{told}");
    let page = recount(["reconcile", &database.url(), "--report", "page.html"]).run().succeeds();
    assert!(std::fs::read_to_string(page.folder().join("page.html")).unwrap().contains("A correction does not reach it"));
}

#[test]
fn the_newest_row_of_each_hotkey_is_marked() {
    let database = validator();
    database.execute(
        "UPDATE weather_forecast_stats SET updated_at = '2025-02-01'::timestamptz + run_id * interval '1 day';
         UPDATE weather_forecast_stats SET updated_at = '2026-01-01' WHERE run_id = 2 AND miner_uid = 2;
         UPDATE weather_forecast_stats SET overall_forecast_score = 0.125 WHERE miner_uid IN (1, 2)",
    );
    let newest: Vec<Vec<Option<String>>> = database.rows(
        "SELECT miner_uid::text, forecast_run_id::text FROM (
             SELECT DISTINCT ON (miner_uid, miner_hotkey) * FROM weather_forecast_stats
             ORDER BY miner_uid, miner_hotkey, updated_at DESC) t WHERE miner_uid IN (1, 2) ORDER BY 1",
    );
    let found = report(&database, 1);
    let rows = found["impact"]["rows"].as_array().unwrap();
    let mut marked: Vec<Vec<Option<String>>> = rows
        .iter()
        .filter(|row| row["newest"] == true)
        .map(|row| vec![Some(row["miner_uid"].to_string()), row["forecast_run_id"].as_str().map(str::to_owned)])
        .collect();
    marked.sort();
    assert_eq!(marked, newest);
    assert!(rows.iter().any(|row| row["newest"] == false), "{rows:#?}");
    let told = recount(["reconcile", &database.url()]).run().ends_with(1).stdout;
    assert!(told.contains("newest row") && told.contains("score_table was not looked at: there is no score_table"), "{told}");
}

#[test]
fn a_score_table_that_is_missing_unreadable_or_another_is_said_and_no_error() {
    let database = validator();
    let note = |why: &str| {
        let table = &report(&database, 0)["score_table"];
        assert!(table["note"].as_str().is_some_and(|note| note.contains(why)), "{table:#}");
        assert_eq!((&table["agrees"], &table["off"]["count"]), (&Json::Null, &json!(0)));
    };
    note("there is no score_table");
    database.execute("CREATE VIEW score_table AS SELECT 1 / 0 AS task_id");
    note("score_table is no table");
    database.execute("DROP VIEW score_table; CREATE TABLE score_table (id int)");
    note("other columns");
    database.execute("ALTER TABLE score_table ADD task_name text, ADD task_id text, ADD created_at timestamptz");
    note("no row of the task weather");
    database.execute("INSERT INTO score_table VALUES (1, 'weather', 'initial_weather_scores', now())");
    note("names no run");
    // Columns that the table has under other types fail within, and leave the job as it is.
    database.execute("ALTER TABLE score_table DROP task_name, ADD task_name int");
    note("invalid input syntax for type integer");
}
