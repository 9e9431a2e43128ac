//! Phase 2 beside a living validator: who writes is noted, what it would break is refused, and what it goes on doing is not in the way; and
//! who may read what the phases make.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::phase2::validator;
use crate::support::command::Run;
use crate::support::{Database, block_on, recount};

fn on(db: &Database, arguments: &[&str]) -> Run {
    let url = db.url();
    recount([arguments, &["--database-url", &url]].concat()).run()
}

/// The remarks of a check with this code, each as what it is about and whether it is in the way.
fn remarks(run: &Run, code: &str) -> Vec<(String, bool)> {
    let json = run.json();
    let remarks = json["remarks"].as_array().unwrap().iter().filter(|remark| remark["code"] == code);
    remarks.map(|remark| (remark["object"].as_str().unwrap().to_owned(), remark["blocks"].as_bool().unwrap())).collect()
}

/// Puts the beginning of the watch, and what it noted, into the past.
fn days_pass(db: &Database, days: u32) {
    db.execute(&format!(
        "UPDATE recount.rollup_phase2_watch SET started_at = started_at - interval '{days} days';
         UPDATE recount.rollup_phase2_writes SET at = at - interval '{days} days'"
    ));
}

#[test]
fn the_status_tells_each_step_of_the_way() {
    let db = validator("45");
    let status = || on(&db, &["phase2", "status"]).succeeds();
    status().stdout_has("the columns are wide").stdout_has("nobody is watched").stdout_has("proof: none");
    on(&db, &["phase2", "watch"]).succeeds();
    on(&db, &["phase2", "check", "--writers-moved"]).succeeds();
    status().stdout_has("watched since").stdout_has("option table, ready");
    on(&db, &["phase2", "apply"]).succeeds();
    status().stdout_has("option table, applied at").stdout_has("recount phase2 revert");
    on(&db, &["phase2", "finish", "--yes", "--min-age", "0m"]).succeeds();
    status().stdout_has("option table, final since");
    let json = on(&db, &["phase2", "status", "--format", "json"]).succeeds().json();
    assert_eq!((json["state"].as_str(), json["option"].as_str()), (Some("finished"), Some("table")));
    assert_eq!(json["proofs"][0]["ready"], true);
}

#[test]
fn nobody_is_ready_who_was_not_watched_for_long() {
    let db = validator("41");
    let check = |more: &[&str]| on(&db, &[&["phase2", "check", "--format", "json"], more].concat());
    let unwatched = check(&[]).ends_with(1);
    assert_eq!(remarks(&unwatched, "not_watched"), [("weather_forecast_stats".to_owned(), true)]);
    on(&db, &["phase2", "apply"]).ends_with(3).stderr_has("in the way");
    // The operator's word stands for it.
    assert_eq!(remarks(&check(&["--writers-moved"]).succeeds(), "not_watched"), [("weather_forecast_stats".to_owned(), false)]);
    check(&["--quiet-for", "0m"]).succeeds();
    // A name is no word about those that nobody knows.
    check(&["--writers-moved=validator"]).ends_with(1);

    on(&db, &["phase2", "watch"]).succeeds().stdout_has("watching since");
    let since = db.psql("SELECT started_at FROM recount.rollup_phase2_watch");
    on(&db, &["phase2", "watch"]).succeeds();
    assert_eq!(db.psql("SELECT started_at FROM recount.rollup_phase2_watch"), since, "a second one goes on with the first");
    assert_eq!(remarks(&check(&[]).ends_with(1), "not_watched").len(), 1);
    days_pass(&db, 8);
    assert_eq!(remarks(&check(&[]).succeeds(), "not_watched"), []);

    // A trigger that was asleep for a while has missed something.
    db.execute(
        "ALTER TABLE weather_forecast_stats DISABLE TRIGGER recount_watch_wide;
         ALTER TABLE weather_forecast_stats ENABLE ALWAYS TRIGGER recount_watch_wide",
    );
    check(&[]).ends_with(1);
    on(&db, &["phase2", "watch"]).succeeds();
    days_pass(&db, 8);
    check(&[]).succeeds();
    on(&db, &["phase2", "apply"]).succeeds();
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'recount_watch%'";
    assert_eq!(db.psql(triggers), "0", "the triggers went with the columns");
    on(&db, &["phase2", "watch"]).ends_with(3).stderr_has("applied already");
    on(&db, &["phase2", "revert"]).succeeds();
    on(&db, &["phase2", "watch"]).succeeds();
    on(&db, &["phase2", "watch", "--stop"]).succeeds();
    assert_eq!(db.psql(triggers), "0");
}

/// Statements, whether each names a wide column, and what it is noted as.
const STATEMENTS: [(&str, bool, &str); 7] = [
    (
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status, era5_score_24h)
         VALUES (0, 'h', 'x', now(), 'completed', NULL)",
        true,
        "INSERT",
    ),
    (
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status)
         VALUES (0, 'h', 'x', now(), 'seeded') ON CONFLICT (miner_uid, forecast_run_id) DO UPDATE SET era5_score_48h = 0.5",
        true,
        "UPDATE",
    ),
    ("INSERT INTO public.weather_forecast_stats AS s SELECT * FROM weather_forecast_stats WHERE false", true, "INSERT"),
    ("UPDATE weather_forecast_stats SET era5_score_240h = NULL WHERE false", true, "UPDATE"),
    (
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status)
         VALUES (0, 'h', 'x', now(), 'seeded') ON CONFLICT (miner_uid, forecast_run_id) DO UPDATE SET forecast_status = 'seeded'",
        false,
        "INSERT",
    ),
    ("UPDATE weather_forecast_stats SET current_forecast_stage = 'day1_scoring' WHERE false", false, "UPDATE"),
    ("DELETE FROM weather_forecast_stats WHERE false", false, "DELETE"),
];

#[test]
fn a_living_writer_is_in_the_way() {
    let db = validator("42");
    on(&db, &["phase2", "watch"]).succeeds();
    days_pass(&db, 8);
    // It has no right to the tables that it is noted in, a name of its own, and one application.
    let role = format!("writer_{}", db.name());
    db.execute(&format!(
        "CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON weather_forecast_stats TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let write = |statement: &str| {
        db.execute(&format!(
            "SET SESSION AUTHORIZATION {role}; SET application_name = 'gaia'; SET standard_conforming_strings = off; BEGIN; {statement}; COMMIT"
        ));
    };
    for (statement, wide, kind) in STATEMENTS {
        db.execute("DELETE FROM recount.rollup_phase2_writes");
        write(statement);
        let noted = db.psql("SELECT DISTINCT statement, role, application FROM recount.rollup_phase2_writes WHERE wide");
        // An upsert whose SET list names a column is noted as the INSERT that it is, and as the UPDATE.
        assert_eq!(noted.lines().any(|line| line == format!("{kind}|{role}|gaia")), wide, "{statement}: {noted}");
        assert_eq!(noted.is_empty(), !wide, "{statement}: {noted}");
        let any = db.psql(&format!("SELECT count(*) > 0 FROM recount.rollup_phase2_writes WHERE statement = '{kind}'"));
        assert_eq!(any, "t", "{statement}");
        db.execute("DELETE FROM weather_forecast_stats WHERE forecast_run_id = 'x'");
    }
    // A busy writer is noted now and then.
    db.execute("DELETE FROM recount.rollup_phase2_writes");
    for _ in 0..20 {
        write("UPDATE weather_forecast_stats SET era5_score_24h = era5_score_24h");
    }
    assert_eq!(
        db.psql("SELECT count(*) FROM recount.rollup_phase2_writes"),
        "2",
        "as one that writes, and one that names a column"
    );

    let check = |more: &[&str]| on(&db, &[&["phase2", "check", "--format", "json"], more].concat());
    let writer = format!("{role} (gaia)");
    assert_eq!(remarks(&check(&[]).ends_with(1), "living_writer"), [(writer.clone(), true)]);
    assert_eq!(remarks(&check(&["--writers-moved=somebody"]).ends_with(1), "living_writer"), [(writer.clone(), true)]);
    for moved in ["--writers-moved=somebody,gaia".to_owned(), format!("--writers-moved={role}"), "--writers-moved".to_owned()] {
        assert_eq!(remarks(&check(&[&moved]).succeeds(), "living_writer"), [(writer.clone(), false)], "{moved}");
    }
    on(&db, &["phase2", "watch"]).succeeds().stdout_has("gaia").stdout_has("named");

    // A word that does not hold: it wrote again after the proof.
    db.execute("DELETE FROM recount.rollup_phase2_writes");
    write("UPDATE weather_forecast_stats SET era5_score_24h = era5_score_24h");
    on(&db, &["phase2", "apply"]).ends_with(3).stderr_has(&writer).stderr_has("after proof");

    // Long ago is not now; and who writes other columns is in the way of a view alone.
    days_pass(&db, 8);
    assert_eq!(remarks(&check(&[]).succeeds(), "living_writer"), []);
    write("UPDATE weather_forecast_stats SET current_forecast_stage = current_forecast_stage");
    assert_eq!(remarks(&check(&[]).succeeds(), "living_writer"), []);
    assert_eq!(remarks(&check(&["--option", "view"]).ends_with(1), "living_writer"), [(writer, true)]);
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A correction of recount is no writer that has to be moved.
#[test]
fn recount_itself_is_not_noted() {
    let db = validator("43");
    on(&db, &["phase2", "watch"]).succeeds();
    db.execute(
        "UPDATE weather_forecast_stats SET era5_score_24h = era5_score_24h + 0.01; DELETE FROM recount.rollup_phase2_writes",
    );
    recount(["reconcile", &db.url(), "--apply", "--max-fraction", "1"]).run().stdout_has("Corrected");
    assert_eq!(db.psql("SELECT count(*) FROM recount.rollup_phase2_writes"), "0");
}

/// What a validator does all day, moved to the narrow shape: it seeds a run, polls, scores lead by lead, and puts the rollups right, each in a
/// transaction of its own. The numbers are those of a miner and a lead.
fn day(round: u32) -> Vec<String> {
    let run = format!(
        "(SELECT id FROM weather_forecast_runs WHERE gfs_init_time_utc = timestamptz '2031-01-01Z' + interval '{round} h')"
    );
    let id =
        format!("to_char((timestamptz '2031-01-01Z' + interval '{round} h') AT TIME ZONE 'UTC', '\"forecast_\"YYYYMMDD_HH24')");
    let seeded = format!(
        "INSERT INTO weather_forecast_runs (run_initiation_time, target_forecast_time_utc, gfs_init_time_utc, status)
         SELECT now(), t, t, 'sent_to_miners' FROM (SELECT timestamptz '2031-01-01Z' + interval '{round} h' AS t) r"
    );
    let stats = format!(
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, run_id, forecast_init_time, forecast_status)
         SELECT uid, hotkey, {id} || replace({id}, 'forecast_', '_to_'), {run}, timestamptz '2031-01-01Z' + interval '{round} h', 'seeded'
         FROM node_table WHERE hotkey IS NOT NULL
         ON CONFLICT (miner_uid, forecast_run_id) DO UPDATE SET run_id = excluded.run_id, forecast_status = excluded.forecast_status"
    );
    let responses = format!(
        "INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time, status)
         SELECT {run}, uid, hotkey, now(), 'inference_running' FROM node_table WHERE hotkey IS NOT NULL"
    );
    let steps = format!(
        "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at)
         SELECT {run}, uid, hotkey, 'era5', 'score', 24, 'in_progress', now() FROM node_table WHERE hotkey IS NOT NULL
         ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) DO UPDATE SET status = excluded.status"
    );
    let poll = format!(
        "UPDATE weather_forecast_stats SET current_forecast_stage = 'inference_running', updated_at = now() WHERE run_id = {run}"
    );
    let scores = format!(
        "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours,
             variable_level, valid_time_utc)
         SELECT r.id, r.run_id, r.miner_uid, r.miner_hotkey, format('era5_skill_gfs_%s_24h', v), now(), 0.5, 24, v, now()
         FROM weather_miner_responses r, unnest('{{2t,10u,10v,msl,t,u,v,q,z}}'::text[]) v WHERE r.run_id = {run}"
    );
    let rollup = format!(
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, run_id, forecast_init_time, forecast_status,
             era5_combined_score, era5_completeness, overall_forecast_score)
         SELECT miner_uid, miner_hotkey, forecast_run_id, run_id, forecast_init_time, 'era5_scoring', 0.05, 0.1, 0.0475
         FROM weather_forecast_stats WHERE run_id = {run}
         ON CONFLICT (miner_uid, forecast_run_id) DO UPDATE SET forecast_status = excluded.forecast_status,
             era5_combined_score = excluded.era5_combined_score, era5_completeness = excluded.era5_completeness, updated_at = now()"
    );
    let nulls = "UPDATE weather_forecast_stats SET era5_combined_score = coalesce(era5_combined_score, 0.0),
                     era5_completeness = coalesce(era5_completeness, 0.0)";
    let miners = "UPDATE miner_stats m SET avg_forecast_score = s.mean, updated_at = now()
                  FROM (SELECT miner_uid, avg(era5_combined_score) AS mean FROM weather_forecast_stats GROUP BY miner_uid) s
                  WHERE s.miner_uid = m.miner_uid";
    vec![seeded, stats, responses, steps, poll, scores, rollup, nulls.to_owned(), miners.to_owned()]
}

/// The error that met the validator, if one did.
async fn live(mut connection: PgConnection, stop: &AtomicBool, rounds: &AtomicU32) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        for statement in day(rounds.fetch_add(1, Ordering::Relaxed)) {
            let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await;
            if let Err(error) = done {
                return Err(format!("{error}\n{statement}"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    }
    connection.close().await.map_err(|error| error.to_string())
}

/// The wide columns go while the validator seeds, polls, scores and updates; nothing of it is turned away.
#[test]
fn a_table_is_made_narrow_while_the_validator_works() {
    let db = validator("44");
    on(&db, &["phase2", "watch"]).succeeds();
    days_pass(&db, 8);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    let commands = || {
        let wait = |more: u32| {
            let until = rounds.load(Ordering::Relaxed) + more;
            while rounds.load(Ordering::Relaxed) < until && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        };
        wait(3);
        let check = on(&db, &["phase2", "check"]);
        // Before anything is said of it: the writer has to be told to stop.
        let apply = (check.status == Some(0)).then(|| on(&db, &["phase2", "apply"]));
        if apply.as_ref().is_some_and(|apply| apply.status == Some(0)) {
            wait(3);
        }
        stop.store(true, Ordering::Relaxed);
        (check, apply)
    };
    let (check, apply) = std::thread::scope(|scope| {
        let commands = scope.spawn(commands);
        let met = block_on(async { live(db.connect().await, &stop, &rounds).await });
        stop.store(true, Ordering::Relaxed);
        let done = commands.join().unwrap();
        assert_eq!(met, Ok(()), "no statement of the validator fails");
        done
    });
    check.succeeds().stdout_has("to know").never_says("in the way");
    apply.expect("it was ready").succeeds();
    assert_eq!(
        db.psql("SELECT count(DISTINCT run_id) >= 6 FROM weather_forecast_stats WHERE forecast_init_time >= '2031-01-01'"),
        "t"
    );
    let after = "SELECT era5_score_24h FROM weather_forecast_stats_wide WHERE forecast_init_time = '2031-01-01Z' LIMIT 1";
    assert_eq!(db.psql(after), "0.5");
}

/// The job of a reader finds the views of the phases beside the tables that it reads, every night.
#[test]
fn a_reader_reads_what_stands_beside_its_tables() {
    let db = validator("45");
    let role = format!("reader_{}", db.name());
    db.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    let url = db.url().replace(&format!("validator:{}", crate::support::cluster::PASSWORD), &format!("{role}:p"));
    let night = || recount(["reconcile", &url]).run();
    night().succeeds();
    on(&db, &["phase3", "apply"]).succeeds();
    night().succeeds().never_says("permission denied");
    db.psql(&format!(
        "SET ROLE {role}; SELECT count(*) FROM weather_miner_timeline, weather_subnet_stats, weather_placed_rollups"
    ));
    // Who came later is seen to by the next run.
    db.execute(&format!("CREATE ROLE {role}_late; GRANT SELECT ON weather_forecast_stats TO {role}_late"));
    on(&db, &["phase3", "apply"]).succeeds();
    db.psql(&format!("SET ROLE {role}_late; SELECT count(*) FROM weather_subnet_stats"));
    assert!(db.refuses(&format!("SET ROLE {role}_late; SELECT count(*) FROM weather_miner_timeline")).contains("denied"));

    on(&db, &["phase2", "check", "--writers-moved", "--option", "view"]).succeeds();
    on(&db, &["phase2", "apply", "--option", "view"]).succeeds();
    night().succeeds();
    db.execute(&format!("DROP OWNED BY {role}, {role}_late; DROP ROLE {role}, {role}_late"));
}

/// The statements that docs/migration.md offers to writers work on the narrow table, for a whole run and for one miner.
#[test]
fn the_rewritten_statements_of_the_documents_work() {
    let db = validator("46");
    let before = "SELECT miner_uid, round(era5_combined_score::numeric, 9), era5_completeness FROM weather_forecast_stats
                  WHERE run_id = 1 AND era5_combined_score IS NOT NULL ORDER BY 1";
    let right = db.psql(before);
    on(&db, &["phase2", "check", "--writers-moved"]).succeeds();
    on(&db, &["phase2", "apply"]).succeeds();
    let page = crate::support::repository::read("docs/migration.md");
    let statements = crate::support::repository::blocks(&page, "sql");
    assert_eq!(statements.len(), 4);
    let id = db.psql("SELECT DISTINCT forecast_run_id FROM weather_forecast_stats WHERE run_id = 1");
    let of_one = "(SELECT min(miner_uid) FROM weather_era5_scores WHERE run_id = 1)";
    let bound =
        |sql: &str| sql.replace(":forecast_run_id", &format!("'{id}'")).replace(":run_id", "1").replace(":miner_uid", of_one);
    db.execute("UPDATE weather_forecast_stats SET era5_combined_score = NULL, era5_completeness = NULL");
    // (a) for one miner, (b) for its run, (c) reads, (d) clears.
    db.execute(&bound(&statements[0]));
    assert_eq!(db.psql("SELECT count(era5_combined_score) FROM weather_forecast_stats"), "1");
    db.execute(&bound(&statements[1]));
    assert_eq!(db.psql(before), right);
    assert_ne!(db.psql(&bound(&statements[2])), "");
    db.execute(&bound(&statements[3]));
    assert_eq!(db.psql(before), "");
}
