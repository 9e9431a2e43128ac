//! `recount migrate`: on every shape of database, again, at once with others, interrupted and held up.

use crate::support::{Database, block_on, catalogue, cluster, conformance, database, nulls_not_distinct};
use recount::internals::schema::{self, Migrating, Outcome, Report, State};
use recount::{Error, ErrorKind};
use sqlx::Connection;
use std::collections::BTreeSet;

/// A database of the test's own, empty or not.
pub const STANDALONE: Migrating = Migrating { standalone: true, pause_validator: false };

pub fn migrate(db: &Database) -> Report {
    block_on(schema::migrate(&db.url(), STANDALONE)).unwrap_or_else(|error| panic!("{error}\n{:?}", error.hint_text()))
}

fn refused(url: &str) -> Error {
    block_on(schema::migrate(url, STANDALONE)).expect_err("this should have failed")
}

/// The versions that came out so.
fn versions(report: &Report, wanted: impl Fn(&Outcome) -> bool) -> Vec<i64> {
    report.migrations.iter().filter(|m| wanted(&m.outcome)).map(|m| m.version).collect()
}

fn applied(report: &Report) -> Vec<i64> {
    versions(report, |outcome| matches!(outcome, Outcome::Applied { .. }))
}

/// The key of a step, which PostgreSQL 14 needs in another form than the later ones.
struct Key {
    needed: i64,
    not_needed: i64,
    name: &'static str,
    columns: u32,
    indexed: &'static str,
}

fn key() -> Key {
    if nulls_not_distinct() {
        return Key {
            needed: 105,
            not_needed: 107,
            name: "recount_steps_one_per_key",
            columns: 5,
            indexed: "CREATE UNIQUE INDEX ON public.weather_forecast_steps USING btree (run_id, miner_uid, step_name, substep, lead_hours) \
                      NULLS NOT DISTINCT",
        };
    }
    Key {
        needed: 107,
        not_needed: 105,
        name: "recount_steps_one_per_null_key",
        columns: 7,
        indexed: "CREATE UNIQUE INDEX ON public.weather_forecast_steps USING btree (run_id, miner_uid, step_name, ((substep IS NULL)), \
                  COALESCE(substep, ''::character varying), ((lead_hours IS NULL)), COALESCE(lead_hours, 0)) \
                  WHERE ((substep IS NULL) OR (lead_hours IS NULL))",
    }
}

/// Versions in order, with this one among them.
fn with(version: i64, others: &[i64]) -> Vec<i64> {
    let mut versions = [others, &[version]].concat();
    versions.sort_unstable();
    versions
}

fn equal_keys(db: &Database) -> String {
    db.psql(
        "SELECT count(*) FROM (SELECT FROM weather_forecast_steps
         GROUP BY run_id, miner_uid, step_name, substep, lead_hours HAVING count(*) > 1) k",
    )
}

#[test]
fn an_empty_database_gets_the_tables_as_they_are_described() {
    let (ours, described) = (database(), database());
    let report = migrate(&ours);
    conformance::create_tables(&described);

    assert_eq!(catalogue::columns(&ours), catalogue::columns(&described));
    assert_eq!(catalogue::constraints(&ours), catalogue::constraints(&described));
    let (ours, described): (BTreeSet<_>, BTreeSet<_>) =
        (catalogue::indexes(&ours).into_iter().collect(), catalogue::indexes(&described).into_iter().collect());
    assert_eq!(described.difference(&ours).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(
        ours.difference(&described).collect::<Vec<_>>(),
        [
            "CREATE INDEX ON public.weather_forecast_component_scores USING btree (run_id)",
            "CREATE INDEX ON public.weather_miner_scores USING btree (run_id, miner_uid, score_type, lead_hours)",
            key().indexed,
        ]
    );
    // The indexes of the steps came with their table.
    assert_eq!(applied(&report), with(key().needed, &[101, 102, 103, 104, 106, 111, 112, 120, 121, 122, 123, 124]));
    assert_eq!(versions(&report, |o| *o == Outcome::NotNeeded), with(key().not_needed, &[108, 109, 110]));
}

/// The validator's own CREATE TABLE of the event log would fail if ours had come first.
#[test]
fn the_validators_own_migrations_come_first() {
    let migrate = |db: &Database, more: &[&str]| {
        let url = db.url();
        crate::support::recount([&["migrate", "--database-url", &url], more].concat()).run()
    };
    let empty = database();
    migrate(&empty, &[])
        .ends_with(3)
        .stderr_has("weather_forecast_runs")
        .stderr_has("alembic upgrade head")
        .stderr_has("--standalone");
    assert_eq!(catalogue::names(&empty), [""; 0], "nothing was created");

    // A validator before the revision that creates the event log, and one whose history nobody knows.
    let older = database();
    conformance::load(&older, "small");
    older.execute("DROP TABLE weather_forecast_steps; CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)");
    for revision in
        ["", "INSERT INTO alembic_version VALUES ('0f9fe00f6e93')", "UPDATE alembic_version SET version_num = 'a_fork'"]
    {
        older.execute(revision);
        let before = catalogue::names(&older);
        migrate(&older, &[]).ends_with(3).stderr_has("803c6cff9b58").stderr_has("alembic upgrade head");
        migrate(&older, &["--standalone"]).ends_with(3);
        assert_eq!(catalogue::names(&older), before, "nothing was created");
    }

    // Its upgrade creates the event log; then ours may come.
    older.execute(
        "UPDATE alembic_version SET version_num = '803c6cff9b58';
         CREATE TABLE weather_forecast_steps (
             id bigserial PRIMARY KEY, run_id int NOT NULL, miner_uid int NOT NULL, miner_hotkey varchar(255) NOT NULL,
             step_name varchar(32) NOT NULL, substep varchar(64), lead_hours int, status varchar(32) NOT NULL, started_at timestamptz,
             completed_at timestamptz, retry_count int NOT NULL, next_retry_time timestamptz, latency_ms int, error_json jsonb, context jsonb,
             UNIQUE (run_id, miner_uid, step_name, substep, lead_hours))",
    );
    migrate(&older, &[]).succeeds();
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    let db = database();
    conformance::load(&db, "small");
    migrate(&db);
    let before = (catalogue::names(&db), db.psql("SELECT * FROM weather_forecast_steps ORDER BY id"));
    let again = migrate(&db);
    assert_eq!(versions(&again, |o| *o == Outcome::AlreadyApplied).len(), again.migrations.len());
    assert_eq!((catalogue::names(&db), db.psql("SELECT * FROM weather_forecast_steps ORDER BY id")), before);
}

/// Each file is safe to run twice: a history that was lost does no harm.
#[test]
fn a_lost_history_does_no_harm() {
    let db = database();
    conformance::load(&db, "production");
    migrate(&db);
    db.execute("DROP TABLE recount.recount_migrations");
    let before = (catalogue::columns(&db), catalogue::constraints(&db), catalogue::indexes(&db));
    migrate(&db);
    assert_eq!((catalogue::columns(&db), catalogue::constraints(&db), catalogue::indexes(&db)), before);
}

#[test]
fn nothing_of_a_production_database_is_dropped_or_renamed() {
    for set in conformance::SETS {
        let db = database();
        conformance::create_tables(&db);
        conformance::make_production_shaped(&db);
        // The other sets have a NULL there, which production has not.
        db.execute("ALTER TABLE weather_forecast_steps ALTER retry_count DROP NOT NULL");
        conformance::fill(&db, set);
        db.execute("CREATE TABLE alembic_version AS SELECT 'abc' AS version_num");
        let kept = ["node_table", "weather_forecast_runs", "weather_miner_responses", "weather_miner_scores"]
            .map(|table| (table, db.psql(&format!("SELECT * FROM {table} ORDER BY 1"))));
        let before = catalogue::names(&db);
        let keys = db.psql(
            "SELECT DISTINCT run_id, miner_uid, step_name, substep, lead_hours FROM weather_forecast_steps ORDER BY 1,2,3,4,5",
        );

        migrate(&db);

        let after: BTreeSet<_> = catalogue::names(&db).into_iter().collect();
        let missing: Vec<_> = before.iter().filter(|name| !after.contains(*name)).collect();
        assert!(missing.is_empty(), "{set}: {missing:#?}");
        for (table, rows) in kept {
            assert_eq!(db.psql(&format!("SELECT * FROM {table} ORDER BY 1")), rows, "{set}: {table}");
        }
        assert_eq!(equal_keys(&db), "0", "{set}");
        let after =
            db.psql("SELECT run_id, miner_uid, step_name, substep, lead_hours FROM weather_forecast_steps ORDER BY 1,2,3,4,5");
        assert_eq!(after, keys, "{set}");
    }
}

/// Without its steps and rollups a database gets just these.
#[test]
fn a_database_without_steps_gets_them() {
    let db = database();
    conformance::load(&db, "small");
    db.execute("DROP TABLE weather_forecast_steps, miner_stats");
    migrate(&db);
    let described = database();
    conformance::create_tables(&described);
    assert_eq!(catalogue::columns(&db), catalogue::columns(&described));
    assert_eq!(catalogue::constraints(&db), catalogue::constraints(&described));
}

#[test]
fn an_index_like_ours_under_another_name_is_enough() {
    let db = database();
    conformance::create_tables(&db);
    db.execute("CREATE INDEX theirs ON weather_forecast_component_scores (run_id, lead_hours)");
    db.execute("CREATE INDEX not_whole ON weather_miner_scores (run_id, miner_uid, score_type, lead_hours) WHERE score > 0");
    db.execute("CREATE INDEX other_order ON weather_miner_scores (miner_uid, run_id, score_type, lead_hours)");
    let report = migrate(&db);
    assert_eq!(versions(&report, |o| *o == Outcome::NotNeeded), with(key().not_needed, &[108, 109, 110, 112]));
}

#[test]
fn status_tells_what_is_pending_and_changes_nothing() {
    let db = database();
    let phases = block_on(schema::status(&db.url())).unwrap();
    assert_eq!(phases.iter().map(|p| p.phase).collect::<Vec<_>>(), ["phase1", "rules", "phase2", "phase3"]);
    assert!(phases.iter().flat_map(|p| &p.migrations).all(|m| m.state == State::Pending));
    assert_eq!(phases[0].migrations[3].description, "merge duplicate steps");
    assert_eq!(catalogue::names(&db), [""; 0]);

    migrate(&db);
    let phases = block_on(schema::status(&db.url())).unwrap();
    assert!(phases[0].migrations.iter().all(|m| matches!(m.state, State::Applied { .. })), "{phases:?}");
    assert!(phases[1..].iter().flat_map(|p| &p.migrations).all(|m| m.state == State::Pending), "{phases:?}");

    db.execute("UPDATE recount.recount_migrations SET checksum = 'other' WHERE version = 103");
    db.execute("DELETE FROM recount.recount_migrations WHERE version > 109");
    let phases = block_on(schema::status(&db.url())).unwrap();
    assert!(matches!(phases[0].migrations[2].state, State::Changed { .. }));
    assert_eq!(phases[0].migrations[10].state, State::Pending);
    let error = refused(&db.url());
    assert_eq!(error.kind(), ErrorKind::Contract);
    let expected = "checking migration 103 (one row per step): it was applied with another text than this version of recount has";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn several_runs_at_once_do_each_thing_once() {
    let db = database();
    conformance::load(&db, "production");
    let url = db.url();
    let run = || schema::migrate(&url, STANDALONE);
    let reports = block_on(async { tokio::join!(run(), run(), run()) });
    let mut done: Vec<_> = [reports.0, reports.1, reports.2].iter().flat_map(|r| applied(r.as_ref().unwrap())).collect();
    done.sort_unstable();
    assert_eq!(done, with(key().needed, &[101, 102, 103, 104, 106, 111, 112, 120, 121, 122, 123, 124]));
}

#[test]
fn a_table_that_is_locked_is_waited_for_only_briefly() {
    let db = database();
    conformance::load(&db, "small");
    let error = block_on(async {
        let mut other = db.connect().await;
        let mut held = other.begin().await.unwrap();
        sqlx::raw_sql("LOCK TABLE weather_forecast_steps IN ROW EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
        let error = schema::migrate(&format!("{}?options=-c%20lock_timeout%3D100", db.url()), STANDALONE).await.unwrap_err();
        held.rollback().await.unwrap();
        error
    });
    assert_eq!(error.kind(), ErrorKind::Retry);
    let expected = "applying migration 103 (one row per step): canceling statement due to lock timeout";
    assert_eq!(error.to_string(), expected);
    assert!(error.hint_text().unwrap().contains("another session holds a lock"), "{error:?}");
    assert!(!format!("{error:?}").contains(cluster::PASSWORD));
    assert_eq!(db.psql("SELECT max(version) FROM recount_migrations"), "102");
    assert_eq!(applied(&migrate(&db)), with(key().needed, &[103, 104, 106, 111, 112, 120, 121, 122, 123, 124]));
}

#[test]
fn what_an_interrupted_build_left_is_cleared_away() {
    let db = database();
    conformance::load(&db, "small");
    // A build that fails leaves the same thing as one that is interrupted.
    db.refuses("CREATE UNIQUE INDEX CONCURRENTLY recount_scores_run_miner ON weather_miner_scores (run_id)");
    db.refuses(&format!("CREATE UNIQUE INDEX CONCURRENTLY {} ON weather_forecast_steps (run_id)", key().name));
    db.refuses("CREATE UNIQUE INDEX CONCURRENTLY somebody_elses ON weather_forecast_component_scores (run_id)");
    migrate(&db);
    let built = db.psql(
        "SELECT indexrelid::regclass, indisvalid, indnatts FROM pg_index
         WHERE indexrelid::regclass::text ~ '^(recount_(scores|steps_one|comp)|somebody)' ORDER BY indexrelid::regclass::text",
    );
    let Key { name, columns, .. } = key();
    let expected = format!("recount_components_run|t|1\nrecount_scores_run_miner|t|4\n{name}|t|{columns}\nsomebody_elses|f|1");
    assert_eq!(built, expected);
}

#[test]
fn bad_urls_are_told_without_their_password() {
    let db = database();
    let wrong = [
        (db.url().replace(cluster::PASSWORD, "Wrong-Secret-9"), ErrorKind::Database, "password authentication failed"),
        (db.url().replace(db.name(), "nowhere"), ErrorKind::Database, "database \"nowhere\" does not exist"),
        ("postgres://me:Wrong-Secret-9@[::1/x".to_owned(), ErrorKind::Usage, "a [ without a ]"),
    ];
    for (url, kind, part) in wrong {
        let error = refused(&url);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        let all = format!("{error} {error:?}");
        assert!(!all.contains("Secret"), "{all}");
    }
}

#[test]
fn who_may_not_change_the_tables_is_told_so() {
    let db = database();
    conformance::create_tables(&db);
    let user = format!("reader_{}", db.name());
    db.execute(&format!("CREATE ROLE {user} LOGIN PASSWORD 'p'; GRANT CREATE ON SCHEMA public TO {user}"));
    let error = refused(&db.url().replace(&format!("validator:{}", cluster::PASSWORD), &format!("{user}:p")));
    db.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}"));
    assert!(error.to_string().starts_with("applying migration 103 (one row per step): "), "{error}");
    assert_eq!(error.hint_text(), Some("connect as the owner of the validator's tables"));
}
