//! `recount phase2`: nothing is dropped that is not proved, every way back works, and a killed change leaves nothing half done.

use std::time::Duration;

use serde_json::Value as Json;

use crate::support::cluster::{Cluster, PASSWORD};
use crate::support::command::Run;
use crate::support::{Database, block_on, catalogue, database, recount};

const STATS: &str = "SELECT * FROM weather_forecast_stats ORDER BY miner_uid, forecast_run_id";

/// A validator after Phase 1, its stored rollups right, all runs at rest.
pub fn validator(seed: &str) -> Database<'static> {
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["generate", "--runs", "5", "--miners", "9", "--seed", seed, "--database-url", &db.url()]).run().succeeds();
    db
}

/// The only writers here are the tests; what becomes of others is in `watch.rs`.
pub fn phase2(db: &Database, arguments: &[&str]) -> Run {
    let url = db.url();
    let own: &[&str] = match arguments[0] {
        "check" => &["--writers-moved"],
        "finish" => &["--yes", "--min-age", "0m"],
        _ => &[],
    };
    recount([&["phase2"], arguments, own, &["--database-url", &url]].concat()).run()
}

fn codes(run: &Run) -> Vec<String> {
    let remarks = run.json()["remarks"].as_array().unwrap().clone();
    let mut codes: Vec<_> =
        remarks.iter().filter(|r| r["blocks"] == Json::Bool(true)).map(|r| r["code"].as_str().unwrap().to_owned()).collect();
    codes.dedup();
    codes
}

fn digest(db: &Database) -> String {
    let url = db.url();
    let run = recount(["reconcile", &url, "--format", "json"]).run();
    run.json()["digest"].as_str().unwrap().to_owned()
}

/// What must be as it was: the rows as `SELECT *` gives them, every column in its place, and everything that has a name.
fn schema_and_rows(db: &Database) -> (Vec<Vec<Option<String>>>, String, String, Vec<String>) {
    let columns = "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attacl,
                          col_description(attrelid, attnum)
                   FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                   WHERE attrelid = 'weather_forecast_stats'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    (db.rows(STATS), db.psql(columns), catalogue::constraints(db), catalogue::indexes(db))
}

#[test]
fn a_right_database_is_ready_and_a_table_goes_there_and_back() {
    let db = validator("1");
    let before_digest = digest(&db);
    let run = phase2(&db, &["check", "--format", "json"]);
    assert_eq!(run.status, Some(0), "{run}");
    let wide = "SELECT sum(num_nonnulls(era5_score_24h, era5_score_120h, era5_score_240h)) > 0 FROM weather_forecast_stats";
    assert_eq!(db.psql(wide), "t");
    let (before, old_rows) = (schema_and_rows(&db), db.rows(STATS));
    let plan = phase2(&db, &["plan"]).succeeds();
    phase2(&db, &["apply"]).succeeds().stdout_has("one transaction");
    assert_eq!(db.psql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'weather_forecast_stats'::regclass AND attname ~ '^era5_score_' AND NOT attisdropped"), "0");
    assert!(plan.stdout.contains("DROP COLUMN era5_score_24h") && plan.stdout.contains("revert"), "{plan}");
    assert_old_answers(&db, &old_rows);
    assert_eq!(digest(&db), before_digest);
    phase2(&db, &["apply"]).ends_with(3).stderr_has("phase2 revert");
    phase2(&db, &["revert"]).succeeds();
    assert_eq!(schema_and_rows(&db), before, "every bit of every row is back, and every column in its place");
    assert_eq!(digest(&db), before_digest);
    phase2(&db, &["revert"]).ends_with(3);
}

/// The view of the old shape has the old columns in the old order, and their old values within the tolerance.
fn assert_old_answers(db: &Database, old: &[Vec<Option<String>>]) {
    let new = db.rows("SELECT * FROM weather_forecast_stats_wide ORDER BY miner_uid, forecast_run_id");
    assert_eq!(new.len(), old.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(old.len(), new.len());
        for (old, new) in old.iter().zip(new) {
            let numbers =
                old.as_ref().zip(new.as_ref()).and_then(|(a, b)| Some((a.parse::<f64>().ok()?, b.parse::<f64>().ok()?)));
            match numbers {
                Some((a, b)) => assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{a} and {b}"),
                None => assert_eq!(old, new),
            }
        }
    }
}

#[test]
fn a_view_takes_the_tables_place_and_gives_it_back() {
    let db = validator("2");
    recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds();
    // A row that nothing derives any more, as retention leaves them.
    db.execute(
        "INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status, era5_combined_score)
         VALUES (0, 'gone', 'forecast_20200101_00_to_20200101_00', '2020-01-01', 'completed', 0.5);
         UPDATE weather_forecast_stats SET validator_hotkey = 'our own', forecast_input_sources = '{\"a\": 1}'",
    );
    let before_digest = digest(&db);
    phase2(&db, &["check", "--option", "view"]).succeeds();
    let (before, old_rows) = (schema_and_rows(&db), db.rows(STATS));
    phase2(&db, &["apply", "--option", "view"]).succeeds();
    assert_eq!(db.psql("SELECT relkind FROM pg_class WHERE oid = 'weather_forecast_stats'::regclass"), "m");
    assert_old_answers(&db, &old_rows);
    let run = recount(["reconcile", &db.url(), "--format", "json"]).run();
    let drifted = &run.json()["tables"]["weather_forecast_stats"];
    assert_eq!((drifted["rows"]["drift"].as_u64(), drifted["rows"]["missing"].as_u64()), (Some(0), Some(0)), "{run}");
    assert_eq!(digest(&db), before_digest);

    // New evidence comes in by a refresh.
    db.execute(
        "DELETE FROM weather_forecast_stats_kept WHERE miner_uid = 1; UPDATE weather_miner_responses SET status = 'failed'",
    );
    recount(["phase3", "refresh", "--database-url", &db.url()]).run().succeeds().stdout_has("refreshed weather_forecast_stats");
    assert_ne!(db.psql("SELECT count(*) FROM weather_forecast_stats WHERE miner_uid = 1 AND id < 0"), "0");

    // So does the correction of a night: both views, the one that the other is made from first.
    db.execute("DELETE FROM weather_miner_scores WHERE lead_hours = 24");
    let night = recount(["reconcile", &db.url(), "--apply", "--max-fraction", "1"]).run();
    let refreshed = night.stdout.contains("weather_forecast_stats is a materialized view: it was refreshed")
        && night.stdout.contains("weather_subnet_stats is a materialized view: it was refreshed");
    assert!(refreshed, "{night}");
    let after = recount(["reconcile", &db.url(), "--format", "json"]).run().json();
    for table in ["weather_forecast_stats", "weather_subnet_stats"] {
        assert_eq!(after["tables"][table]["rows"]["drift"].as_u64(), Some(0), "{table} {after:#}");
    }

    phase2(&db, &["revert"]).succeeds();
    assert_eq!(schema_and_rows(&db), before, "the table with every bit");
}

#[test]
fn finish_is_final() {
    for option in ["table", "view"] {
        let db = validator("3");
        phase2(&db, &["check", "--option", option]).succeeds();
        phase2(&db, &["finish"]).ends_with(3).stderr_has("not applied");
        phase2(&db, &["apply", "--option", option]).succeeds();
        // A user who does not answer, or asks too early, loses nothing.
        let url = db.url();
        let finish = |more: &[&str]| recount([&["phase2", "finish", "--database-url", &url], more].concat()).run();
        finish(&["--yes"]).ends_with(3).stderr_has("--min-age");
        let said = finish(&["--min-age", "0m"]).ends_with(3).stderr_has("for good").stderr_has("--yes");
        assert!(said.stderr.contains("45 rows"), "{said}");
        assert_eq!(db.psql("SELECT finished_at IS NULL FROM recount.rollup_phase2_changes"), "t");
        phase2(&db, &["finish"]).succeeds();
        phase2(&db, &["revert"]).ends_with(3).stderr_has("finished");
        phase2(&db, &["check"]).ends_with(3);
        let left = db.psql("SELECT relname FROM pg_class WHERE relname IN ('weather_forecast_stats_before', 'weather_forecast_stats_wide_values')");
        assert_eq!(left, "");
        let status = recount(["migrate", "status", "--database-url", &db.url()]).run().succeeds();
        assert!(status.stdout.contains(&format!("option {option}")) && status.stdout.contains("finished"), "{status}");
        // Readers and refreshes go on.
        db.psql("SELECT * FROM weather_forecast_stats_wide LIMIT 1");
        recount(["phase3", "refresh", "--database-url", &db.url()]).run().succeeds();
    }
}

/// Each reason is planted, named, and put right again.
#[test]
fn what_stands_in_the_way_is_named() {
    let db = validator("4");
    let value = "(SELECT id FROM weather_forecast_stats WHERE era5_score_24h IS NOT NULL ORDER BY id LIMIT 1)";
    let reasons = [
        ("wide_differs", format!("UPDATE weather_forecast_stats SET era5_score_24h = era5_score_24h + 1e-6 WHERE id = {value}"), format!("UPDATE weather_forecast_stats SET era5_score_24h = era5_score_24h - 1e-6 WHERE id = {value}")),
        ("rollup_drift", format!("UPDATE weather_forecast_stats SET era5_combined_score = era5_combined_score + 1e-6 WHERE id = {value}"), format!("UPDATE weather_forecast_stats SET era5_combined_score = era5_combined_score - 1e-6 WHERE id = {value}")),
        ("dependent_view", "CREATE VIEW reader AS SELECT miner_uid, era5_score_24h AS day FROM weather_forecast_stats".to_owned(), "DROP VIEW reader".to_owned()),
        ("dependent_view", "CREATE MATERIALIZED VIEW reader AS SELECT avg(era5_score_48h) FROM weather_forecast_stats".to_owned(), "DROP MATERIALIZED VIEW reader".to_owned()),
        ("dependent_function", "CREATE FUNCTION reader() RETURNS float8 LANGUAGE sql AS 'SELECT max(era5_score_72h) FROM weather_forecast_stats'".to_owned(), "DROP FUNCTION reader".to_owned()),
        ("dependent_function", "CREATE FUNCTION reader() RETURNS float8 LANGUAGE sql BEGIN ATOMIC SELECT max(era5_score_72h) FROM weather_forecast_stats; END".to_owned(), "DROP FUNCTION reader".to_owned()),
        ("dependent_statistics", "CREATE STATISTICS together ON era5_score_24h, era5_score_48h FROM weather_forecast_stats".to_owned(), "DROP STATISTICS together".to_owned()),
        ("dependent_constraint", "ALTER TABLE weather_forecast_stats ADD era5_score_6h float8 NOT NULL DEFAULT 0".to_owned(), "ALTER TABLE weather_forecast_stats DROP era5_score_6h".to_owned()),
        ("dependent_trigger", "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER watch AFTER UPDATE OF era5_score_24h ON weather_forecast_stats FOR EACH ROW EXECUTE FUNCTION watch()".to_owned(), "DROP FUNCTION watch CASCADE".to_owned()),
        ("dependent_constraint", "ALTER TABLE weather_forecast_stats ADD CONSTRAINT sane CHECK (era5_score_24h <= 1)".to_owned(), "ALTER TABLE weather_forecast_stats DROP CONSTRAINT sane".to_owned()),
        ("dependent_column", "ALTER TABLE weather_forecast_stats ADD doubled float8 GENERATED ALWAYS AS (2 * era5_score_24h) STORED".to_owned(), "ALTER TABLE weather_forecast_stats DROP doubled".to_owned()),
        ("wide_not_expected", "ALTER TABLE weather_forecast_stats ADD era5_score_6h float8; UPDATE weather_forecast_stats SET era5_score_6h = 0.5".to_owned(), "ALTER TABLE weather_forecast_stats DROP era5_score_6h".to_owned()),
    ];
    for (code, plant, put_right) in &reasons {
        db.execute(plant);
        let run = phase2(&db, &["check", "--format", "json"]);
        assert_eq!(run.status, Some(1), "{code}\n{run}");
        assert!(codes(&run).contains(&(*code).to_owned()), "{code} is not among {:?}\n{run}", codes(&run));
        phase2(&db, &["apply"]).ends_with(3).stderr_has("in the way");
        db.execute(put_right);
    }
    let run = phase2(&db, &["check", "--format", "json"]);
    assert_eq!((run.status, codes(&run)), (Some(0), vec![]), "{run}");

    // What a living validator brings about every day is in the way of a view, which has to be the table as it stands; of a table without wide
    // columns it is only to know.
    let reasons = [
        ("rollup_missing", format!("CREATE TABLE aside AS SELECT * FROM weather_forecast_stats WHERE id = {value}; DELETE FROM weather_forecast_stats WHERE id = {value}"), "INSERT INTO weather_forecast_stats SELECT * FROM aside; DROP TABLE aside"),
        ("unfinished_run", "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at) SELECT run_id, miner_uid, miner_hotkey, 'cleanup', 'now', 0, 'in_progress', now() FROM weather_miner_responses ORDER BY id LIMIT 1".to_owned(), "DELETE FROM weather_forecast_steps WHERE step_name = 'cleanup'"),
        ("rollup_drift", format!("UPDATE weather_forecast_stats SET current_forecast_stage = 'another', hosting_latency_ms = 7 WHERE id = {value}"), "SELECT 1"),
    ];
    for (code, plant, put_right) in reasons {
        db.execute(&plant);
        let run = phase2(&db, &["check", "--option", "view", "--format", "json"]).ends_with(1);
        assert!(codes(&run).contains(&code.to_owned()), "{code} is not among {:?}\n{run}", codes(&run));
        let run = phase2(&db, &["check", "--option", "table"]).succeeds().stdout_has(code);
        assert!(!run.stdout.contains("in the way"), "{run}");
        db.execute(put_right);
    }
}

#[test]
fn a_proof_must_be_there_young_and_about_this_very_table() {
    let db = validator("5");
    phase2(&db, &["apply"]).ends_with(3).stderr_has("no proof");
    phase2(&db, &["check"]).succeeds();
    phase2(&db, &["apply", "--option", "view"]).ends_with(3).stderr_has("no proof for option view");
    phase2(&db, &["apply", "--keep-wide-in", "TABLE"]).ends_with(3).stderr_has("--keep-wide-in");
    db.execute("UPDATE recount.rollup_phase2_proofs SET proved_at = proved_at - interval '2 hours'");
    phase2(&db, &["apply", "--proof-max-age", "1h"]).ends_with(3).stderr_has("--proof-max-age");
    db.execute("UPDATE weather_forecast_stats SET era5_score_24h = 0.25 WHERE era5_score_24h IS NOT NULL");
    phase2(&db, &["apply"]).ends_with(3).stderr_has("written to since proof");
    assert_eq!(db.psql("SELECT count(*) FROM recount.rollup_phase2_changes"), "0");
}

#[test]
fn legacy_values_are_kept_where_asked() {
    let db = validator("6");
    // The scores of a lead are gone, its wide values are not; and a row outlived its run.
    db.execute(
        "DELETE FROM weather_miner_scores WHERE lead_hours = 48 AND run_id = 1;
         INSERT INTO weather_forecast_stats (miner_uid, miner_hotkey, forecast_run_id, forecast_init_time, forecast_status, era5_score_24h)
         VALUES (2, 'gone', 'forecast_20200101_00_to_20200101_00', '2020-01-01', 'completed', 0.75)",
    );
    let lost: i64 = db.psql("SELECT 1 + count(era5_score_48h) FROM weather_forecast_stats WHERE run_id = 1").parse().unwrap();
    assert!(lost > 1);
    let run = phase2(&db, &["check", "--format", "json"]);
    assert!(run.status == Some(1) && codes(&run).contains(&"wide_without_narrow".to_owned()), "{run}");
    phase2(&db, &["check", "--keep-wide-in", "TABLE"]).succeeds().stdout_has("they are kept");
    let old_rows = db.rows(STATS);
    phase2(&db, &["apply", "--keep-wide-in", "TABLE"]).succeeds();
    assert_eq!(db.psql("SELECT count(*) FROM recount.weather_legacy_lead_scores"), lost.to_string());
    assert_old_answers(&db, &old_rows);
}

#[test]
fn readers_of_the_old_shape_keep_their_rights() {
    for option in ["table", "view"] {
        let db = validator("7");
        let role = format!("reader_{}", db.name());
        db.execute(&format!(
            "CREATE ROLE {role}; CREATE ROLE {role}_columns;
             GRANT SELECT ON weather_forecast_stats TO {role} WITH GRANT OPTION;
             GRANT SELECT (miner_uid, era5_score_24h) ON weather_forecast_stats TO {role}_columns"
        ));
        phase2(&db, &["check", "--option", option]).succeeds();
        phase2(&db, &["apply", "--option", option]).succeeds();
        db.psql(&format!("SET ROLE {role}; SELECT * FROM weather_forecast_stats_wide; SELECT * FROM weather_forecast_stats"));
        db.psql(&format!("SET ROLE {role}_columns; SELECT miner_uid, era5_score_24h FROM weather_forecast_stats_wide"));
        assert!(
            db.refuses(&format!("SET ROLE {role}_columns; SELECT era5_score_48h FROM weather_forecast_stats_wide"))
                .contains("denied")
        );
        phase2(&db, &["revert"]).succeeds();
        db.psql(&format!("SET ROLE {role}_columns; SELECT miner_uid, era5_score_24h FROM weather_forecast_stats"));
        db.execute(&format!("DROP OWNED BY {role}, {role}_columns; DROP ROLE {role}, {role}_columns"));
    }
}

/// What stands on the columns behind the wide ones comes back with them; the triggers of others take none of it for a write.
#[test]
fn the_order_of_the_columns_comes_back() {
    let db = validator("12");
    recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds();
    let role = format!("reader_{}", db.name());
    db.execute(&format!(
        "CREATE ROLE {role}; GRANT SELECT (era5_combined_score, avg_acc) ON weather_forecast_stats TO {role};
         GRANT SELECT ON weather_subnet_stats TO {role};
         CREATE INDEX by_score ON weather_forecast_stats (era5_combined_score DESC) WHERE hosting_status <> 'error';
         COMMENT ON COLUMN weather_forecast_stats.avg_acc IS 'the mean'; COMMENT ON MATERIALIZED VIEW weather_subnet_stats IS 'ours';
         CREATE VIEW best AS SELECT miner_uid, max(era5_combined_score) AS best FROM weather_forecast_stats GROUP BY miner_uid;
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
         CREATE TRIGGER touch BEFORE UPDATE ON weather_forecast_stats FOR EACH ROW EXECUTE FUNCTION touch();
         CREATE TRIGGER asleep BEFORE UPDATE ON weather_forecast_stats FOR EACH ROW EXECUTE FUNCTION touch();
         CREATE TRIGGER always BEFORE UPDATE ON weather_forecast_stats FOR EACH ROW EXECUTE FUNCTION touch();
         ALTER TABLE weather_forecast_stats DISABLE TRIGGER asleep; ALTER TABLE weather_forecast_stats ENABLE ALWAYS TRIGGER always"
    ));
    let beside = "SELECT relname, relkind, relacl, pg_get_viewdef(oid), obj_description(oid, 'pg_class') FROM pg_class
                  WHERE relname IN ('best', 'weather_subnet_stats', 'weather_forecast_stats') ORDER BY 1";
    let triggers = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'weather_forecast_stats'::regclass ORDER BY 1";
    let all = |db: &Database| (schema_and_rows(db), db.psql(beside), db.psql(triggers), db.psql("SELECT * FROM best ORDER BY 1"));
    phase2(&db, &["check"]).succeeds();
    let before = all(&db);
    let table = db.psql("SELECT 'weather_forecast_stats'::regclass::oid");
    phase2(&db, &["apply"]).succeeds();
    phase2(&db, &["revert"]).succeeds();
    assert_eq!(all(&db), before);
    assert_eq!(db.psql("SELECT 'weather_forecast_stats'::regclass::oid"), table, "it is the same table");
    recount(["phase3", "refresh", "--database-url", &db.url()]).run().succeeds().stdout_has("weather_subnet_stats");
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));

    // Something that could not be brought back as it was: all values come back, at the end, and it is told.
    db.execute("ALTER TABLE weather_forecast_stats ADD CONSTRAINT sane CHECK (avg_rmse >= 0)");
    let rows = "SELECT to_jsonb(s) FROM weather_forecast_stats s ORDER BY miner_uid, forecast_run_id";
    let before = (db.psql(rows), catalogue::constraints(&db), db.psql(triggers));
    phase2(&db, &["check"]).succeeds();
    phase2(&db, &["apply"]).succeeds();
    phase2(&db, &["revert"]).succeeds().stderr_has("constraint sane");
    assert_eq!((db.psql(rows), catalogue::constraints(&db), db.psql(triggers)), before);
}

/// Everything that the catalogue knows of the wide columns, but their place.
fn trimmings(db: &Database) -> Vec<String> {
    let columns =
        "SELECT a.attname, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum), a.attstattarget, a.attacl
                   FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
                   WHERE a.attrelid = 'weather_forecast_stats'::regclass AND a.attname ~ '^era5_score_' ORDER BY 1";
    let indexes = catalogue::indexes(db).into_iter().filter(|index| index.contains("era5_score"));
    indexes.chain([db.psql(columns)]).collect()
}

#[test]
fn what_goes_with_a_wide_column_comes_back_with_it() {
    let db = validator("8");
    db.execute(
        "CREATE INDEX by_day ON weather_forecast_stats (era5_score_24h) WHERE era5_score_240h > 0.5;
         ALTER TABLE weather_forecast_stats ALTER era5_score_48h SET DEFAULT 0.25, ALTER era5_score_72h SET STATISTICS 7;
         COMMENT ON COLUMN weather_forecast_stats.era5_score_96h IS 'it''s the fourth day'",
    );
    let before = trimmings(&db);
    phase2(&db, &["check"]).succeeds().stdout_has("by_day");
    phase2(&db, &["apply"]).succeeds();
    phase2(&db, &["revert"]).succeeds();
    assert_eq!(trimmings(&db), before);
}

/// A killed change leaves the schema as it was, or as it was to be.
#[test]
fn a_killed_change_is_all_or_nothing() {
    let db = validator("9");
    phase2(&db, &["check", "--option", "view"]).succeeds();
    phase2(&db, &["check", "--option", "table"]).succeeds();
    let relations = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm') ORDER BY 1";
    let before = (db.psql(relations), schema_and_rows(&db));
    let mut outcomes = [0, 0];
    for (round, option) in (0..12).flat_map(|round| [(round, "view"), (round, "table")]) {
        let url = db.url();
        let mut apply = recount(["phase2", "apply", "--option", option, "--database-url", &url]);
        let mut child = apply.command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(15 * round));
        let _ = child.kill();
        child.wait().unwrap();
        wait_for_backends(&db);
        let applied = db.psql("SELECT count(*) FROM recount.rollup_phase2_changes WHERE reverted_at IS NULL") == "1";
        outcomes[usize::from(applied)] += 1;
        if applied {
            assert_eq!(db.psql("SELECT to_regclass('weather_forecast_stats_wide') IS NOT NULL"), "t");
            phase2(&db, &["revert"]).succeeds();
            phase2(&db, &["check", "--option", option]).succeeds();
        }
        assert_eq!(db.psql(relations), before.0, "round {round}, {option}");
        assert_eq!(schema_and_rows(&db), before.1, "round {round}, {option}");
    }
    assert!(outcomes[0] > 0, "no round was killed in time: {outcomes:?}");
}

/// The same, for certain in the midst of it: each change of the schema takes a while, and the kill comes once the table is locked.
#[test]
fn a_change_killed_under_its_lock_was_none() {
    let db = validator("13");
    phase2(&db, &["check", "--option", "view"]).succeeds();
    phase2(&db, &["check", "--option", "table"]).succeeds();
    let relations = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm') ORDER BY 1";
    let state = |db: &Database| (db.psql(relations), schema_and_rows(db));
    let slow = |db: &Database| {
        db.execute(
            "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); END';
             CREATE EVENT TRIGGER slow ON ddl_command_end EXECUTE FUNCTION slow()",
        );
    };
    let killed = |db: &Database, arguments: &[&str]| {
        slow(db);
        let before = state(db);
        let url = db.url();
        let mut change = recount([&["phase2"], arguments, &["--database-url", &url]].concat());
        let mut child = change.command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let locked = "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                      WHERE a.datname = current_database() AND a.application_name LIKE 'recount%' AND a.query ~ 'ALTER|DROP|CREATE'
                        AND l.relation = 'weather_forecast_stats'::regclass AND l.mode = 'AccessExclusiveLock' AND l.granted";
        while db.psql(locked) != "t" {
            assert!(child.try_wait().unwrap().is_none(), "{arguments:?}: it was done before it was killed");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for_backends(db);
        assert_eq!(state(db), before, "{arguments:?}");
        db.execute("DROP EVENT TRIGGER slow; DROP FUNCTION slow");
    };
    for option in ["view", "table"] {
        killed(&db, &["apply", "--option", option]);
        phase2(&db, &["apply", "--option", option]).succeeds();
        killed(&db, &["revert"]);
        phase2(&db, &["revert"]).succeeds();
    }
}

/// The server notices that a client is gone when it next speaks to it.
fn wait_for_backends(db: &Database) {
    for _ in 0..500 {
        let others =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'recount%'";
        if db.psql(others) == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the server still works for a client that is gone");
}

/// A reader's open transaction holds the lock; the change waits a little, gives up, leaves no trace, and names the cause.
#[test]
fn a_table_in_use_is_waited_for_and_left_alone() {
    let db = validator("10");
    phase2(&db, &["check"]).succeeds();
    let url = db.url();
    block_on(async {
        let mut reader = db.connect().await;
        sqlx::raw_sql("BEGIN; SELECT count(*) FROM weather_forecast_stats").execute(&mut reader).await.unwrap();
        let mut apply = recount(["phase2", "apply", "--database-url", &url]);
        let mut child = apply.command().spawn().unwrap();
        // Longer than one try: the second finds the table free.
        tokio::time::sleep(Duration::from_millis(2_600)).await;
        sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert_eq!(status.code(), Some(0));
    });
    assert_eq!(db.psql("SELECT count(*) FROM recount.rollup_phase2_changes"), "1");
}

/// A server of its own, started with the extension: a statement that still names a column is told of, and a role that cannot see it cannot prove.
#[test]
fn statements_that_name_a_column_are_told() {
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    if db.psql("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'") == "0" {
        return;
    }
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["generate", "--runs", "3", "--miners", "5", "--seed", "11", "--database-url", &db.url()]).run().succeeds();
    // Created, but not loaded: there is nothing to read, and it stops nothing.
    db.execute("CREATE EXTENSION pg_stat_statements");
    phase2(&db, &["check"]).succeeds().stdout_has("is not loaded");

    db.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'");
    cluster.stop("fast");
    cluster.start_again();
    db.execute("SELECT avg(era5_score_96h) AS of_a_dashboard FROM weather_forecast_stats");
    phase2(&db, &["check"]).succeeds().stdout_has("of_a_dashboard");

    // Who owns the tables, and may not see what others ask.
    db.execute(&format!(
        "CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON SCHEMA public TO plain; ALTER SCHEMA recount OWNER TO plain;
         DO $$ DECLARE t record; BEGIN
             FOR t IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace IN ('public'::regnamespace, 'recount'::regnamespace) AND c.relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s OWNER TO plain', t.name);
             END LOOP;
             FOR t IN SELECT c.oid::regclass AS name FROM pg_class c
                      WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v' AND c.relname LIKE 'weather_%' LOOP
                 EXECUTE format('ALTER VIEW %s OWNER TO plain', t.name);
             END LOOP;
         END $$"
    ));
    let url = db.url().replace("validator:", "plain:");
    let check = || recount(["phase2", "check", "--writers-moved", "--database-url", &url]).run();
    check().ends_with(1).stdout_has("statements_unknown").stdout_has("pg_read_all_stats");
    db.execute("GRANT pg_read_all_stats TO plain");
    check().succeeds().stdout_has("of_a_dashboard");
}
