//! `recount doctor` names what is wrong by its cause: each fault here is planted.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::connections::pooler::{pooler, through};
use crate::corrections::drifted;
use crate::support::cluster::PASSWORD;
use crate::support::command::{Recount, Run};
use crate::support::repository::{read, root};
use crate::support::{Cluster, Database, conformance, database, execute_on, recount};

/// What the doctor says of a database; its exit status has to fit.
struct Examined {
    checks: Vec<Json>,
    run: Run,
}

fn command(url: &str, args: &[&str]) -> Recount {
    recount([&["doctor", "--format", "json"][..], args].concat()).env("DATABASE_URL", url)
}

fn examined(command: Recount) -> Examined {
    let run = command.run().never_says(PASSWORD);
    let report = run.json();
    assert_eq!((report["version"].as_i64(), report["command"].as_str()), (Some(1), Some("doctor")));
    let checks = report["checks"].as_array().unwrap().clone();
    let faults = checks.iter().filter(|check| check["standing"] == "fault").count();
    assert_eq!(report["faults"].as_u64(), Some(faults as u64));
    assert_eq!(run.status, Some(i32::from(faults > 0)), "{run}");
    let page = read("docs/operations.md");
    for check in &checks {
        let name = check["check"].as_str().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not explain the check {name}");
        assert_eq!(
            check["standing"] != "ok",
            check["remedy"].is_string(),
            "what to do stands where something is to be done: {check}"
        );
    }
    Examined { checks, run }
}

fn doctor(url: &str, args: &[&str]) -> Examined {
    examined(command(url, args))
}

impl Examined {
    /// A check of this name stands so, and has seen this.
    #[track_caller]
    fn has(&self, name: &str, standing: &str, seen: &str) -> &Self {
        let is = |check: &&Json| {
            check["check"] == name && check["standing"] == standing && check["seen"].as_str().unwrap().contains(seen)
        };
        assert!(self.checks.iter().any(|check| is(&check)), "expected {standing} {name}: {seen}\n{}", self.run);
        self
    }

    /// Nothing but this is a fault.
    #[track_caller]
    fn only(&self, names: &[&str]) -> &Self {
        let faults =
            self.checks.iter().filter(|check| check["standing"] == "fault").map(|check| check["check"].as_str().unwrap());
        assert_eq!(faults.collect::<Vec<_>>(), names, "{}", self.run);
        self
    }

    #[track_caller]
    fn advises(&self, remedy: &str) -> &Self {
        assert!(self.run.stdout.contains(remedy), "expected the advice {remedy}\n{}", self.run);
        self
    }
}

/// A validator's database, migrated and filled.
fn validator(db: &Database<'_>) {
    drifted(db, 2, 4, 3);
    db.execute("ANALYZE; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
}

#[test]
fn a_database_in_order_has_no_fault() {
    let db = database();
    validator(&db);
    let found = doctor(&db.url(), &["--apply"]);
    found.only(&[]).has("connection", "ok", "answers within").has("version", "ok", "PostgreSQL ").has("standby", "ok", "primary");
    found.has("reading", "ok", "reconcile, diff").has("correcting", "ok", "undo").has("contract", "ok", "").has(
        "phase",
        "ok",
        "phase1 applied",
    );
    found.has("clock", "ok", "").has("memory", "ok", "").has("tmpdir", "ok", "").has("statistics", "ok", "").has("tls", "ok", "");
    found.has("role", "note", "is a superuser");
    let text = recount(["doctor", "-q"]).env("DATABASE_URL", db.url()).run().succeeds();
    assert!(text.stdout.starts_with("Well: 0 faults, ") && text.stdout.lines().count() == 1, "{text}");
    assert!(text.left_behind().is_empty(), "{text}");
}

#[test]
fn a_snapshot_folder_is_looked_at_too() {
    let sample = root().join("data/sample");
    let found = doctor("", &[sample.to_str().unwrap()]);
    found.only(&[]).has("contract", "ok", "").has("runs", "ok", "runs, the newest initialised");
    recount(["doctor"]).run().ends_with(2).stderr_has("no SOURCE is given");
    recount(["doctor", "--rank-method", "x"]).run().ends_with(2);
}

#[test]
fn what_stands_in_the_way_of_a_connection_is_named() {
    let db = database();
    let wrong = |part: &str, other: &str| db.url().replace(part, other);
    doctor(&wrong(PASSWORD, "other"), &[]).only(&["connection"]).advises("check user and password");
    doctor(&wrong(db.name(), "no_such_database"), &[]).only(&["connection"]).advises("check the name of the database");
    doctor(&wrong(&db.cluster().port().to_string(), "1"), &[]).only(&["connection"]).advises("host");
    doctor(&format!("{}?sslmod=require", db.url()), &[]).only(&["connection"]).advises("sslmod");
    doctor(&format!("{}?sslmode=require", db.url()), &[]).only(&["connection"]).has("connection", "fault", "TLS");
    // An address that is no address to those who look at the text alone.
    doctor(&wrong("127.0.0.1", "127.1"), &["--allow-cleartext-password"])
        .has("tls", "fault", "not encrypted")
        .advises("sslmode=verify-full");
}

#[test]
fn poolers_are_named() {
    let db = database();
    validator(&db);
    let sessions = pooler(&db, "session");
    doctor(&through(&sessions, &db), &[]).only(&[]).has("pooler", "note", "keeps its session");
    let transactions = pooler(&db, "transaction");
    doctor(&through(&transactions, &db), &[]).only(&["pooler"]).has("pooler", "fault", "pool_mode=transaction");
}

/// Faults of the tables: SQL that plants one, the check that names it, how it stands and what it says, and SQL that mends it.
const PLANTED: &[(&str, &str, &str, &str, &str)] = &[
    (
        "DROP INDEX recount_components_run",
        "indexes",
        "note",
        "weather_forecast_component_scores has no index on run_id",
        "CREATE INDEX recount_components_run ON weather_forecast_component_scores (run_id)",
    ),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'recount_components_run'::regclass",
        "indexes",
        "note",
        "of no use to readers and a cost to writers: recount_components_run",
        "UPDATE pg_index SET indisvalid = true",
    ),
    (
        "ALTER TABLE weather_forecast_stats DROP CONSTRAINT weather_forecast_stats_miner_uid_forecast_run_id_key",
        "keys",
        "fault",
        "no unique key on (forecast_run_id, miner_uid)",
        "ALTER TABLE weather_forecast_stats ADD CONSTRAINT weather_forecast_stats_miner_uid_forecast_run_id_key UNIQUE (miner_uid, forecast_run_id)",
    ),
    (
        "ALTER TABLE weather_miner_scores DROP CONSTRAINT weather_miner_scores_run_id_fkey;
         INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time)
         SELECT response_id, 999, miner_uid, miner_hotkey, 'lost', calculation_time FROM weather_miner_scores LIMIT 1",
        "contract",
        "fault",
        "1 rows refer to runs that do not exist",
        "DELETE FROM weather_miner_scores WHERE run_id = 999;
         ALTER TABLE weather_miner_scores ADD CONSTRAINT weather_miner_scores_run_id_fkey FOREIGN KEY (run_id) REFERENCES weather_forecast_runs",
    ),
    (
        "ALTER TABLE weather_miner_scores DROP CONSTRAINT weather_miner_scores_run_id_fkey",
        "keys",
        "note",
        "weather_miner_scores has no valid foreign key",
        "ALTER TABLE weather_miner_scores ADD CONSTRAINT weather_miner_scores_run_id_fkey FOREIGN KEY (run_id) REFERENCES weather_forecast_runs",
    ),
    (
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
         CREATE TRIGGER touch BEFORE UPDATE ON miner_stats FOR EACH ROW EXECUTE FUNCTION stamp()",
        "triggers",
        "fault",
        "the trigger touch of miner_stats stamps updated_at",
        "DROP TRIGGER touch ON miner_stats; DROP FUNCTION stamp",
    ),
    (
        "UPDATE pg_class SET reltuples = -1 WHERE relname = 'weather_miner_scores'",
        "statistics",
        "note",
        "never gathered statistics of weather_miner_scores",
        "ANALYZE weather_miner_scores",
    ),
    (
        "ALTER TABLE weather_miner_scores ALTER COLUMN score TYPE text",
        "contract",
        "fault",
        "weather_miner_scores.score",
        "ALTER TABLE weather_miner_scores ALTER COLUMN score TYPE double precision USING score::float8",
    ),
    (
        "UPDATE recount.recount_migrations SET checksum = '' WHERE version = 121",
        "phase",
        "fault",
        "applied with another text than this version of recount has: migration 121",
        "DELETE FROM recount.recount_migrations WHERE version = 121",
    ),
    ("SELECT 1", "phase", "note", "phase1 applied but for 1 of ", "SELECT 1"),
    (
        "ALTER TABLE recount.rollup_jobs RENAME TO rollup_jobs_away",
        "correcting",
        "fault",
        "there are no tables rollup_jobs and rollup_corrections",
        "ALTER TABLE recount.rollup_jobs_away RENAME TO rollup_jobs",
    ),
    (
        "CREATE SCHEMA other; CREATE TABLE other.weather_forecast_runs (id int)",
        "schema",
        "fault",
        "weather_forecast_runs is in 2 schemas: other, public",
        "DROP SCHEMA other CASCADE",
    ),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "schema", "note", "everybody may create in the schema public", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    (
        "CREATE ROLE planter; GRANT CREATE ON SCHEMA public TO planter; SET ROLE planter;
         CREATE FUNCTION public.weather_trap() RETURNS int LANGUAGE sql AS 'SELECT 1'; RESET ROLE",
        "schema",
        "fault",
        "of the role planter",
        "DROP OWNED BY planter; DROP ROLE planter",
    ),
];

#[test]
fn what_is_wrong_with_the_tables_is_named() {
    // One of the faults is a role, which belongs to a whole server.
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    validator(&db);
    for (plant, name, standing, seen, mend) in PLANTED {
        db.execute(plant);
        doctor(&db.url(), &["--apply"]).has(name, standing, seen);
        db.execute(mend);
    }
    doctor(&db.url(), &["--apply"]).only(&[]);
}

#[test]
fn recounts_own_triggers_are_no_strangers() {
    let db = database();
    validator(&db);
    recount(["phase3", "apply", "--database-url", &db.url()]).run().succeeds();
    recount(["phase2", "watch", "--database-url", &db.url()]).run().succeeds();
    recount(["migrate", "--track-changes", "--database-url", &db.url()]).run().succeeds();
    db.execute("ANALYZE");
    doctor(&db.url(), &["--apply"]).only(&[]).has("triggers", "ok", "nobody's").has("phase", "ok", "phase3 applied");
}

#[test]
fn another_database_is_named() {
    let empty = database();
    doctor(&empty.url(), &[]).has("schema", "fault", "there is no table weather_forecast_runs").has("contract", "fault", "");
    let old = database();
    conformance::load(&old, "small");
    doctor(&old.url(), &[]).only(&[]).has("phase", "note", "phase1 not applied").has("correcting", "note", "rollup_jobs");
    let latin = format!("{}_latin", old.name());
    execute_on(old.cluster(), "postgres", &format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"));
    doctor(&old.cluster().url(&latin), &[]).has("encoding", "note", "LATIN1");
    execute_on(old.cluster(), "postgres", &format!("DROP DATABASE {latin} WITH (FORCE)"));
}

#[test]
fn rights_are_named_command_by_command() {
    // Roles belong to a whole server.
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    validator(&db);
    db.execute(&format!(
        "CREATE ROLE r LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 8; REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE ALL ON DATABASE {} FROM PUBLIC;
         GRANT CONNECT ON DATABASE {} TO r",
        db.name(),
        db.name()
    ));
    let url = db.url().replace("//validator:", "//r:");
    doctor(&url, &[]).has("reading", "fault", "USAGE on public").advises("GRANT USAGE ON SCHEMA \\\"public\\\" TO …");
    db.execute("GRANT USAGE ON SCHEMA public TO r; GRANT SELECT ON ALL TABLES IN SCHEMA public TO r; REVOKE SELECT ON weather_miner_scores FROM r");
    let found = doctor(&url, &[]);
    found.only(&["reading", "contract"]).has(
        "reading",
        "fault",
        "reconcile, diff, explain, recompute, export, archive need SELECT on weather_miner_scores",
    );
    db.execute("GRANT SELECT ON weather_miner_scores TO r; REVOKE SELECT ON miner_stats FROM r");
    doctor(&url, &[]).only(&["reading_rollups"]).has("reading_rollups", "fault", "the role lacks SELECT on miner_stats");
    db.execute("GRANT SELECT ON miner_stats TO r");
    let found = doctor(&url, &[]);
    found.only(&[]).has("correcting", "ok", "as a reader should be").has(
        "role",
        "ok",
        "migrate, phase2 and phase3 are not for it",
    );

    let found = doctor(&url, &["--apply"]);
    for right in [
        "INSERT on weather_forecast_stats",
        "UPDATE on miner_stats",
        "INSERT on rollup_jobs",
        "TEMPORARY on",
        "EXECUTE on public.recount_lock_parents",
        "USAGE on public.weather_forecast_stats_id_seq",
    ] {
        found.only(&["correcting"]).has("correcting", "fault", right);
    }
    db.execute("ALTER ROLE r SET default_transaction_read_only = on");
    doctor(&url, &["--apply"]).has("read_only", "fault", "default_transaction_read_only is on");
    // Its own advice, with a name put in, gives what is lacking.
    let checks = doctor(&url, &["--apply"]).checks;
    let remedy =
        checks.iter().find(|check| check["check"] == "correcting").unwrap()["remedy"].as_str().unwrap().replace('…', "r");
    db.execute(remedy.strip_prefix("as the owner: ").unwrap());
    db.execute("ALTER ROLE r RESET default_transaction_read_only");
    doctor(&url, &["--apply"]).only(&[]).has("correcting", "note", "but not delete");

    db.execute("ALTER TABLE weather_miner_scores ENABLE ROW LEVEL SECURITY");
    doctor(&url, &[]).has("policies", "fault", "every row counts: weather_miner_scores").advises("BYPASSRLS");
    db.execute(
        "ALTER TABLE weather_miner_scores DISABLE ROW LEVEL SECURITY; ALTER ROLE r CONNECTION LIMIT 2 VALID UNTIL 'tomorrow'",
    );
    let found = doctor(&url, &[]);
    found.has("connections", "fault", "a job opens 3 connections, and the CONNECTION LIMIT of the role r leaves").has(
        "password",
        "note",
        "the role r ends in",
    );
    db.execute("ALTER ROLE r CONNECTION LIMIT 8; REVOKE SELECT ON recount.rollup_jobs, recount.recount_migrations FROM r");
    doctor(&url, &[]).only(&[]).has("jobs", "note", "may not read rollup_jobs").has("phase", "note", "recount_migrations");
}

#[test]
fn a_standby_and_its_clock_are_named() {
    let cluster = Cluster::start();
    let db = Database::create(&cluster);
    validator(&db);
    execute_on(&cluster, "postgres", "ALTER SYSTEM SET wal_level = 'replica'");
    cluster.stop("fast");
    cluster.start_again();
    cluster.stop("fast");
    std::fs::write(cluster.folder().join("data/standby.signal"), "").unwrap();
    cluster.start_again();
    doctor(&db.url(), &[]).only(&[]).has("standby", "note", "it is a standby");
    doctor(&db.url(), &["--apply"]).only(&["standby"]).advises("connect to the primary");

    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("clock.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(root().join("tests/operator/clock.c")).status();
    assert!(built.expect("a C compiler").success());
    let late = examined(command(&db.url(), &[]).env("LD_PRELOAD", &library));
    late.only(&["clock"]).has("clock", "fault", "60 minutes apart");
}

#[test]
fn locks_are_named_by_who_holds_them() {
    let db = database();
    validator(&db);
    let held = crate::support::block_on(async {
        let mut held = db.connect().await;
        let sql = "SET application_name = 'backup'; SELECT pg_advisory_lock(746227728439)";
        sqlx::raw_sql(sql).execute(&mut held).await.unwrap();
        held
    });
    doctor(&db.url(), &[]).only(&[]).has("locks", "note", "the validator's pause lock is held by backup");
    drop(held);
}

#[test]
fn what_is_wrong_around_the_job_is_named() {
    let db = database();
    validator(&db);
    let url = db.url();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();

    examined(command(&url, &[]).env("TMPDIR", "/proc")).only(&["tmpdir"]);
    write("file", "");
    doctor(&url, &["--out", &path("file")]).only(&["out"]).has("out", "fault", "is no folder");
    examined(command(&url, &[]).env("RECOUNT_SNAPSHOT_TIME", "2025-01-31T06:00:00Z")).only(&[]).has(
        "settings",
        "note",
        "a replay of that time",
    );
    examined(command(&url, &[]).env("RECOUNT_THREAD", "2")).has("settings", "note", "RECOUNT_THREAD is set");

    let state = path("state");
    let job = || recount(["reconcile", "-q", "--full", "--state", &state]).env("DATABASE_URL", &url).run().ends_with(1);
    doctor(&url, &["--state", &state]).only(&[]).has("state", "note", "there was none yet");
    assert!(!Path::new(&state).exists(), "nothing is written without being asked");
    job();
    doctor(&url, &["--state", &state]).only(&[]).has("state", "ok", "the last job with");
    doctor(&url, &["--state", &state, "--max-age", "0s"]).has("state", "note", "the last job with");
    let lock = std::fs::File::create(Path::new(&state).join("lock")).unwrap();
    lock.lock().unwrap();
    doctor(&url, &["--state", &state]).has("state", "note", "another job is using");
    drop(lock);
    let file = Path::new(&state).join("reconcile.state");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    doctor(&url, &["--state", &state]).has("state", "note", "it is damaged");

    doctor(&url, &["--archive", &path("none")]).only(&["archive"]);
    recount(["archive", "data/sample", "--to", &path("archive")]).folder(root()).run().succeeds();
    doctor(&url, &["--archive", &path("archive")]).only(&[]).has("archive", "note", "days ago");

    let metrics = |name: &str| doctor(&url, &["--metrics", &path(name)]);
    metrics("none.prom").only(&["last_night"]).has("last_night", "fault", "cannot be read");
    write("failed.prom", "recount_exit_status{command=\"reconcile\",name=\"failed\"} 2\n");
    metrics("failed.prom").only(&["last_night"]).has("last_night", "fault", "no job that finished");
    write("old.prom", "recount_last_success_timestamp_seconds{command=\"reconcile\",name=\"old\"} 1700000000\n");
    metrics("old.prom").only(&["last_night"]).has("last_night", "fault", "days ago");
    recount(["reconcile", "-q", "--metrics", &path("new.prom")]).env("DATABASE_URL", &url).run().ends_with(1);
    metrics("new.prom").only(&[]).has("last_night", "ok", "finished");
}
