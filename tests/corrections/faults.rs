//! Faults: two jobs at once, roles and constraints that say no, a server that restarts, an interrupt. Nothing is ever half done.

use std::time::Duration;

use sqlx::Connection;

use super::{at, command, diff, drifted, dump, jobs, on};
use crate::support::{Cluster, Database, block_on, database, recount};

/// The lock of jobs that write.
const LOCK_KEY: i64 = 0x72_65_63_6f_75_6e_74_77;

#[test]
fn a_second_job_ends_at_once_and_says_who_is_at_work() {
    let db = database();
    drifted(&db, 3, 6, 5);
    let before = dump(&db);
    block_on(async {
        let mut other = db.connect().await;
        sqlx::query("SET application_name = 'the other one'").execute(&mut other).await.unwrap();
        let mut transaction = other.begin().await.unwrap();
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK_KEY).execute(&mut *transaction).await.unwrap();
        tokio::task::block_in_place(|| {
            let run = on(&db, &["reconcile", "--apply"]).ends_with(3);
            let run = run.stderr_has("another job is at work: the other one, process").stderr_has(", since 20");
            run.stderr_has("nothing was written");
            on(&db, &["jobs", "prune", "--keep", "1d"]).ends_with(3);
        });
        transaction.rollback().await.unwrap();
    });
    assert_eq!(dump(&db), before);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("diff");
    diff(&db, &out);
    let both: Vec<_> = (0..2).map(|_| command(&db, &["apply", out.to_str().unwrap()]).command().spawn().unwrap()).collect();
    let status: Vec<_> = both.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect();
    // Either one was refused, or it came after the other and found everything changed.
    assert!(status.contains(&0) || status.contains(&1), "{status:?}");
    on(&db, &["reconcile", "--apply", "--prune-extra"]).succeeds();
    on(&db, &["reconcile"]).succeeds();
}

#[test]
fn without_apply_the_server_itself_rejects_writes() {
    let db = database();
    drifted(&db, 2, 4, 0);
    // Reading the nodes now writes, if it is let.
    db.execute(
        "CREATE TABLE witness (at timestamptz);
         CREATE FUNCTION spy(uid int) RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO witness VALUES (now()); RETURN uid; END $$;
         ALTER TABLE node_table RENAME TO nodes;
         CREATE VIEW node_table AS SELECT spy(uid) AS uid, hotkey, coldkey, ip, ip_type, port, incentive, stake, trust, vtrust,
             protocol, last_updated FROM nodes",
    );
    on(&db, &["reconcile"]).ends_with(2).stderr_has("read-only transaction");
    assert_eq!(db.psql("SELECT count(*) FROM witness"), "0");
}

#[test]
fn a_database_without_phase_1_is_refused() {
    let db = database();
    crate::support::conformance::load(&db, "small");
    on(&db, &["reconcile", "--apply"]).ends_with(3).stderr_has("recount migrate");
    on(&db, &["jobs"]).ends_with(3).stderr_has("recount migrate");
}

#[test]
fn a_role_that_may_not_write_changes_nothing() {
    let db = database();
    drifted(&db, 3, 6, 5);
    let before = dump(&db);
    let role = format!("reader_{}", db.name());
    db.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'Kept-Secret-7'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
    ));
    let url = db.url().replace("//validator:", &format!("//{role}:"));
    let args = ["reconcile", "--apply", "--max-fraction", "1"];
    at(&url, &args).run().ends_with(2).stderr_has("permission denied").stderr_has("docs/corrections.md");
    db.execute(&format!(
        "ALTER ROLE {role} SET default_transaction_read_only = on; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    at(&url, &args).run().ends_with(2);
    assert_eq!((dump(&db), jobs(&db)), (before, "0".to_owned()));
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// What the database says no to is named, and everything is rolled back.
fn rejected(setup: &str, named: &[&str]) {
    let db = database();
    drifted(&db, 4, 8, 0);
    db.execute(
        "UPDATE weather_forecast_stats SET forecast_inference_duration_seconds = 125; DELETE FROM weather_forecast_stats WHERE miner_uid = 6",
    );
    db.execute(setup);
    let before = dump(&db);
    let run = on(&db, &["reconcile", "--apply"]).ends_with(2).stderr_has("nothing was written");
    let _ = named.iter().fold(run, |run, part| run.stderr_has(part));
    assert_eq!((dump(&db), jobs(&db)), (before, "0".to_owned()));
}

fn trigger(event: &str, table: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION say_no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
         CREATE TRIGGER say_no BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION say_no()"
    )
}

#[test]
fn a_trigger_that_rejects_a_row_is_answered_with_its_name() {
    let body = "IF NEW.miner_uid = 5 AND NEW.run_id = 3 THEN RAISE 'not this one'; END IF;";
    rejected(
        &trigger("UPDATE", "weather_forecast_stats", body),
        &["weather_forecast_stats", "miner_uid 5", "run_id 3", "not this one"],
    );
    let body = "IF NEW.run_id = 2 THEN RAISE 'no new ones'; END IF;";
    rejected(
        &trigger("INSERT", "weather_forecast_stats", body),
        &["weather_forecast_stats", "miner_uid 6", "run_id 2", "no new ones"],
    );
}

#[test]
fn a_constraint_that_rejects_a_row_is_answered_with_its_name() {
    let check =
        "ALTER TABLE weather_forecast_stats ADD CONSTRAINT low CHECK (miner_uid <> 4 OR era5_completeness < 0.2) NOT VALID";
    rejected(check, &["weather_forecast_stats", "miner_uid 4", "run_id 1", "violates check constraint \"low\""]);
}

#[test]
fn a_trigger_that_changes_or_skips_a_row_is_found_by_reading_back() {
    let body = "IF NEW.miner_uid = 5 AND NEW.run_id = 3 THEN NEW.forecast_inference_duration_seconds := 75; END IF;";
    rejected(
        &trigger("UPDATE", "weather_forecast_stats", body),
        &["column forecast_inference_duration_seconds", "miner_uid 5", "does not hold"],
    );
    let body = "IF NEW.miner_uid = 5 AND NEW.run_id = 3 THEN RETURN NULL; END IF;";
    rejected(&trigger("UPDATE", "weather_forecast_stats", body), &["miner_uid 5", "run_id 3", "does not hold"]);
    let body = "IF NEW.run_id = 2 THEN NEW.avg_rmse := 7; END IF;";
    rejected(&trigger("INSERT", "weather_forecast_stats", body), &["miner_uid 6", "run_id 2", "does not hold"]);
}

/// A disk that is full says so at any statement; here it is the last but one.
#[test]
fn a_full_disk_rolls_everything_back() {
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE 'could not write to file \"pg_wal\": No space left on device' USING ERRCODE = '53100'; END $$;";
    for table in ["recount.rollup_jobs", "recount.rollup_corrections", "weather_forecast_stats"] {
        let on =
            format!("CREATE TRIGGER full_disk AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION full_disk()");
        rejected(&format!("{full} {on}"), &["No space left on device"]);
    }
}

#[test]
fn a_server_may_restart_between_diff_and_apply() {
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    drifted(&db, 4, 8, 20);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("diff");
    diff(&db, &out);
    cluster.stop("immediate");
    let gone = on(&db, &["apply", out.to_str().unwrap()]).ends_with(2);
    assert!(gone.stderr.contains("nothing was written"), "{gone}");
    cluster.start_again();
    on(&db, &["apply", out.to_str().unwrap(), "--prune-extra"]).succeeds();
    on(&db, &["reconcile"]).succeeds();
}

#[test]
fn an_edited_or_foreign_diff_is_refused() {
    let db = database();
    drifted(&db, 3, 6, 5);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("diff");
    diff(&db, &out);
    let manifest = out.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"source\": \"", "\"source\": \"x")).unwrap();
    on(&db, &["apply", out.to_str().unwrap()]).ends_with(2).stderr_has("edited or damaged");
    let sample = env!("CARGO_MANIFEST_DIR").to_owned() + "/tests";
    on(&db, &["apply", &sample]).ends_with(2).stderr_has("there is no manifest.json in it");
    recount(["apply", out.to_str().unwrap()]).run().ends_with(2).stderr_has("--database-url");
}

#[test]
fn an_interrupt_before_commit_leaves_everything_as_it_was() {
    let db = database();
    drifted(&db, 4, 8, 20);
    // The job hangs in the middle of its transaction, with rows written.
    let body = "PERFORM pg_sleep(30);";
    db.execute(&trigger("INSERT", "recount.rollup_corrections", body));
    let before = dump(&db);
    let mut started = command(&db, &["reconcile", "--apply"]);
    let child = started.command().stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    while db.psql(sleeping) == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    // SAFETY: a signal to a child of this test.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) };
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{told}");
    assert!(told.contains("nothing was written"), "{told}");
    assert_eq!((dump(&db), jobs(&db)), (before, "0".to_owned()));
    assert_eq!(db.psql(sleeping), "0", "the server still works for a job that was interrupted");
}
