//! `weather_subnet_stats`: a table is corrected like the others, a materialized view is refreshed.

use super::{drifted, last_job, on};
use crate::support::{Database, database};

/// A table with the columns of the model, and nothing in it.
const TABLE: &str = "
    CREATE TABLE weather_subnet_stats (
        scope text NOT NULL, run_id int, miners int, active_miners int, completed int, failed int, in_progress int,
        mean_score float8, score_std_dev float8, min_score float8, p10_score float8, median_score float8, p90_score float8,
        max_score float8, mean_day1_score float8, mean_overall_score float8, mean_completeness float8,
        mean_hosting_latency_ms float8, host_reliability_ratio float8, top_miners jsonb, bottom_miners jsonb,
        UNIQUE (scope, run_id))";

fn rows(db: &Database) -> String {
    db.psql("SELECT t::text FROM weather_subnet_stats t ORDER BY scope, run_id")
}

#[test]
fn a_table_is_corrected() {
    let db = database();
    drifted(&db, 4, 8, 0);
    db.execute(TABLE);
    on(&db, &["reconcile", "--apply"]).succeeds();
    let right = rows(&db);
    assert_eq!(right.lines().count(), 5, "four runs and the lifetime\n{right}");
    db.execute("UPDATE weather_subnet_stats SET mean_score = 0.5, top_miners = '[1, 2]' WHERE run_id IS NULL OR run_id = 2");
    let wrong = rows(&db);
    on(&db, &["reconcile", "--apply"]).succeeds();
    assert_eq!(rows(&db), right);
    on(&db, &["undo", &last_job(&db)]).succeeds();
    assert_eq!(rows(&db), wrong);
    on(&db, &["reconcile"]).ends_with(1);
}

#[test]
fn a_materialized_view_is_refreshed() {
    let db = database();
    drifted(&db, 4, 8, 0);
    db.execute(TABLE);
    on(&db, &["reconcile", "--apply"]).succeeds();
    db.execute(
        "ALTER TABLE weather_subnet_stats RENAME TO truth;
         CREATE MATERIALIZED VIEW weather_subnet_stats AS SELECT * FROM truth;
         CREATE UNIQUE INDEX ON weather_subnet_stats (scope, run_id);
         UPDATE truth SET mean_score = 0.5;
         REFRESH MATERIALIZED VIEW weather_subnet_stats;
         UPDATE truth SET mean_score = mean_overall_score",
    );
    on(&db, &["reconcile", "--apply"]).succeeds().stdout_has("it was refreshed");
    assert_eq!(db.psql("SELECT count(*) FROM weather_subnet_stats WHERE mean_score IS DISTINCT FROM mean_overall_score"), "0");

    db.execute("DROP MATERIALIZED VIEW weather_subnet_stats; CREATE VIEW weather_subnet_stats AS SELECT * FROM truth");
    on(&db, &["reconcile", "--apply"]).ends_with(1).stdout_has("weather_subnet_stats is a view");
}
