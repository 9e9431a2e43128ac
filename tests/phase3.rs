//! Phase 3: retry policies, timelines, the subnet's page, and what a web server gains by them.

use crate::support::{Database, conformance, database, recount};

pub fn phase3(db: &Database) {
    recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds();
}

fn loaded(set: &str) -> Database<'static> {
    let db = database();
    conformance::load(&db, set);
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    phase3(&db);
    db
}

#[test]
fn a_second_run_finds_nothing_to_do_and_each_file_can_be_run_twice() {
    let db = loaded("small");
    db.execute("UPDATE weather_retry_policies SET max_retries = 9 WHERE step_name = 'era5'");
    recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds().never_says("applied now");
    db.execute("DELETE FROM recount.recount_migrations");
    phase3(&db);
    assert_eq!(db.psql("SELECT max_retries FROM weather_retry_policies WHERE step_name = 'era5'"), "9", "the operator's own");
    let status = recount(["migrate", "status", "--database-url", &db.url(), "--format", "json"]).run().succeeds().json();
    let states: Vec<_> =
        status["migrations"].as_array().unwrap().iter().map(|m| (m["phase"].as_str(), m["state"].as_str())).collect();
    assert!(
        states.contains(&(Some("phase3"), Some("applied"))) && states.contains(&(Some("phase2"), Some("pending"))),
        "{states:?}"
    );
}

#[test]
fn todays_delays() {
    let db = loaded("small");
    let minutes = |step: &str| {
        db.psql(&format!(
            "SELECT string_agg((extract(epoch FROM weather_retry_delay(p, n, 'k')) / 60)::int::text, ' ' ORDER BY n)
             FROM generate_series(0, 5) n, (SELECT (q).* FROM (SELECT weather_retry_policy('{step}') AS q) r) s,
                  LATERAL (SELECT s::weather_retry_policies AS p) t"
        ))
    };
    db.execute("UPDATE weather_retry_policies SET jitter = 0");
    assert_eq!(minutes("verify"), "30 60 60 60 60 60");
    assert_eq!(minutes("day1"), "30 60 120 120 120 120");
    assert_eq!(minutes("era5"), "30 60 120 180 180 180");
    assert_eq!(minutes("poll"), "30 60 120 180 180 180", "a step without a row of its own");
    db.execute("UPDATE weather_retry_policies SET backoff = 'linear' WHERE step_name = 'era5'");
    assert_eq!(minutes("era5"), "30 60 90 120 150 180");
    db.execute("UPDATE weather_retry_policies SET backoff = 'none' WHERE step_name = 'era5'");
    assert_eq!(minutes("era5"), "30 30 30 30 30 30");
    assert!(db.refuses("UPDATE weather_retry_policies SET backoff = 'hopeful'").contains("check constraint"));
}

#[test]
fn jitter_is_the_same_for_the_same_step_and_spreads_the_others() {
    let db = loaded("small");
    let delays = "SELECT count(DISTINCT d), min(d) >= '30 minutes' AND max(d) <= '33 minutes'
                  FROM (SELECT weather_retry_delay(weather_retry_policy('era5'), 0, uid::text) AS d FROM generate_series(1, 256) uid) t";
    let first = db.psql(delays);
    assert_eq!(first, db.psql(delays));
    let distinct: i32 = first.split('|').next().unwrap().parse().unwrap();
    assert!(distinct > 200 && first.ends_with("|t"), "{first}");
}

#[test]
fn a_timeline_is_in_order_and_says_no_secret() {
    let db = loaded("small");
    let wrong = db.psql(
        "SELECT run_id, miner_uid, place FROM (SELECT *, lag(started_at) OVER w AS earlier, row_number() OVER w AS n FROM weather_miner_timeline
         WINDOW w AS (PARTITION BY run_id, miner_uid ORDER BY place)) t WHERE n <> place OR earlier > started_at",
    );
    assert_eq!(wrong, "");
    assert_ne!(db.psql("SELECT count(*) FROM weather_miner_timeline WHERE error_message LIKE '%[REDACTED]%'"), "0");
    assert_eq!(
        db.psql("SELECT error_message FROM weather_miner_timeline WHERE recount_sanitize(error_message) <> error_message"),
        ""
    );
    assert_eq!(
        db.psql("SELECT miner_hotkey FROM weather_miner_timeline WHERE miner_hotkey = 'coordinator' OR step_name = 'seed'"),
        ""
    );
    assert_eq!(db.psql("SELECT duration_seconds FROM weather_miner_timeline WHERE duration_seconds < 0"), "");
}

/// The page of a run and a miner must be read by index, whatever the history.
#[test]
fn a_timeline_is_read_by_index() {
    let db = loaded("small");
    db.execute(
        "INSERT INTO weather_forecast_runs (id, run_initiation_time, target_forecast_time_utc, gfs_init_time_utc)
         SELECT 1000 + n, now(), now(), now() FROM generate_series(1, 40) n;
         ALTER TABLE weather_forecast_steps DISABLE TRIGGER USER;
         INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status)
         SELECT 1000 + n, uid, 'h', 'era5', 'score', lead * 24, 'pending'
         FROM generate_series(1, 40) n, (SELECT uid FROM node_table LIMIT 12) u, generate_series(1, 10) lead;
         ALTER TABLE weather_forecast_steps ENABLE TRIGGER USER;
         ANALYZE",
    );
    let plan = db.psql(
        "EXPLAIN SELECT * FROM weather_miner_timeline WHERE run_id = 1007 AND miner_uid = (SELECT min(uid) FROM node_table)",
    );
    assert!(plan.contains("Index") && !plan.contains("Seq Scan on weather_forecast_steps"), "{plan}");
}

#[test]
fn the_subnet_is_refreshed_without_keeping_readers_out() {
    let db = loaded("clean");
    db.execute("DELETE FROM weather_miner_responses WHERE run_id = 1; DELETE FROM weather_forecast_steps WHERE run_id = 1");
    recount(["phase3", "refresh", "--database-url", &db.url()]).run().succeeds();
    assert_eq!(db.psql("SELECT miners, top_miners FROM weather_subnet_stats WHERE run_id = 1"), "0|[]");
    // A reader in its transaction holds up nothing but an exclusive lock.
    crate::support::block_on(async {
        let mut reader = db.connect().await;
        sqlx::raw_sql("BEGIN; SELECT * FROM weather_subnet_stats").execute(&mut reader).await.unwrap();
        recount(["phase3", "refresh", "--database-url", &db.url()]).run().succeeds();
    });
}

#[test]
fn phase_3_asks_for_phase_1() {
    let db = database();
    let run = recount(["phase3", "apply", "--database-url", &db.url()]).run().ends_with(3);
    run.stderr_has("recount migrate");
}
