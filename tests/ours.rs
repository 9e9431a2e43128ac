//! The schema `recount`: what is recount's alone is in it, and comes into it from databases that an older version has migrated.

use crate::phase2::validator;
use crate::support::command::Run;
use crate::support::{Database, database, recount};

fn on(db: &Database, arguments: &[&str]) -> Run {
    let url = db.url();
    recount([arguments, &["--database-url", &url]].concat()).run()
}

fn tables(db: &Database, schema: &str) -> String {
    db.psql(&format!(
        "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c
         WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^(recount|rollup|weather_legacy)_'"
    ))
}

const ALL: &str = "recount_migrations recount_touched_runs recount_touched_units recount_tracking rollup_corrections rollup_jobs \
                   rollup_phase2_changes rollup_phase2_proofs rollup_phase2_watch rollup_phase2_writes rollup_step_changes \
                   weather_legacy_lead_scores";

/// Puts everything where an older version had it: the tables beside the validator's, functions that write to them there, no schema.
const AS_BEFORE: &str = "
    DROP VIEW rollup_jobs, rollup_corrections;
    DO $$ DECLARE name text; body text; BEGIN
        FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'recount'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('ALTER TABLE recount.%I SET SCHEMA public', name);
        END LOOP;
        FOR body IN SELECT replace(pg_get_functiondef(oid), ' recount.', ' public.') FROM pg_proc
                    WHERE proname IN ('recount_watch_writes', 'recount_stamp_runs', 'recount_stamp_units', 'recount_prune_stamps') LOOP
            EXECUTE body;
        END LOOP;
    END $$;
    DROP SCHEMA recount CASCADE;
    DELETE FROM recount_migrations WHERE version IN (124, 210, 305, 408)";

/// A database with a row in each of our tables: it was corrected, changed, watched and tracked.
fn lived(revision: &str) -> Database<'static> {
    let db = validator(revision);
    on(&db, &["migrate", "--track-changes"]).succeeds();
    on(&db, &["phase3", "apply"]).succeeds();
    on(&db, &["phase2", "watch"]).succeeds();
    on(&db, &["phase2", "check", "--writers-moved"]).succeeds();
    on(&db, &["phase2", "apply"]).succeeds();
    on(&db, &["phase2", "revert"]).succeeds();
    on(&db, &["phase2", "watch"]).succeeds();
    db.execute("UPDATE weather_forecast_stats SET era5_combined_score = 0.25 WHERE miner_uid = 1");
    recount(["reconcile", &db.url(), "--apply", "--max-fraction", "1"]).run().succeeds();
    db
}

fn contents(db: &Database, schema: &str) -> Vec<String> {
    ALL.split(' ')
        .filter(|table| *table != "recount_migrations")
        .map(|t| db.psql(&format!("SELECT t::text FROM {schema}.{t} t ORDER BY 1")))
        .collect()
}

#[test]
fn nothing_of_recounts_alone_is_beside_the_validators_tables() {
    let db = lived("62");
    assert_eq!((tables(&db, "public"), tables(&db, "recount")), ("∅".to_owned(), ALL.to_owned()));
    // Queries that operators have go on: the old names are views.
    let both = "SELECT (SELECT count(*) FROM public.rollup_jobs) = (SELECT count(*) FROM recount.rollup_jobs),
                       (SELECT count(*) FROM public.rollup_corrections) = (SELECT count(*) FROM recount.rollup_corrections)";
    assert_eq!(db.psql(both), "t|t");
    // Without them all goes on too, and they come back.
    db.execute("DROP VIEW public.rollup_jobs, public.rollup_corrections");
    on(&db, &["jobs"]).succeeds().stdout_has("reconcile");
    on(&db, &["migrate"]).succeeds();
    assert_eq!(db.psql(both), "t|t");
}

#[test]
fn what_an_older_version_made_is_moved_with_rows_and_rights() {
    let db = lived("62");
    let role = format!("reader_{}", db.name());
    db.execute(AS_BEFORE);
    db.execute(&format!("CREATE ROLE {role}; GRANT SELECT ON rollup_jobs TO {role}"));
    let before = contents(&db, "public");
    // Until then every command finds them where they are.
    recount(["reconcile", &db.url()]).run().succeeds();
    on(&db, &["jobs"]).succeeds().stdout_has("reconcile");
    on(&db, &["migrate", "status"]).succeeds().stdout_has("pending");
    assert_eq!(tables(&db, "public"), ALL);

    on(&db, &["migrate"]).succeeds();
    assert_eq!(tables(&db, "public"), "weather_legacy_lead_scores", "the rules' own file moves it");
    on(&db, &["phase3", "apply"]).succeeds();
    on(&db, &["phase2", "watch"]).succeeds();
    assert_eq!((tables(&db, "public"), tables(&db, "recount")), ("∅".to_owned(), ALL.to_owned()));
    assert_eq!(contents(&db, "recount"), before);
    assert_eq!(
        db.psql(&format!("SET ROLE {role}; SELECT count(*) FROM recount.rollup_jobs j JOIN rollup_jobs v USING (id)")),
        "1"
    );

    // What writes to them writes where they are now, and what was written can be taken back.
    db.execute("TRUNCATE recount.recount_touched_runs, recount.recount_touched_units; DELETE FROM recount.rollup_phase2_writes");
    db.execute("SET application_name = 'gaia'; UPDATE weather_forecast_stats SET era5_score_24h = 0.5 WHERE miner_uid = 2; DELETE FROM weather_miner_scores WHERE id = (SELECT min(id) FROM weather_miner_scores)");
    for table in ["recount_touched_runs", "recount_touched_units", "rollup_phase2_writes"] {
        assert_ne!(db.psql(&format!("SELECT count(*) FROM recount.{table}")), "0", "{table}");
    }
    let job = db.psql("SELECT id FROM recount.rollup_jobs");
    on(&db, &["undo", &job]).succeeds();
    on(&db, &["migrate"]).succeeds().never_says("applied now");
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_schema_of_this_name_that_is_anothers_is_left_alone() {
    let db = validator_without_schema();
    let role = format!("other_{}", db.name());
    db.execute(&format!(
        "CREATE ROLE {role}; CREATE SCHEMA recount AUTHORIZATION {role};
         SET ROLE {role}; CREATE TABLE recount.rollup_jobs (id int); CREATE TABLE recount.recount_tracking (x int)"
    ));
    // No name is looked up in it, and nothing is made in it.
    recount(["reconcile", &db.url()]).run().succeeds();
    on(&db, &["migrate"])
        .ends_with(3)
        .stderr_has(&format!("the schema recount belongs to the role {role}"))
        .stderr_has("ALTER SCHEMA recount");
    assert_eq!(tables(&db, "recount"), "recount_tracking rollup_jobs");
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    on(&db, &["migrate"]).succeeds();
}

#[test]
fn what_others_put_into_it_is_refused_by_name() {
    let db = validator("62");
    let role = format!("mallory_{}", db.name());
    db.execute(&format!(
        "CREATE ROLE {role}; GRANT CREATE ON SCHEMA recount TO {role};
         SET ROLE {role}; CREATE FUNCTION recount.anything(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    ));
    recount(["reconcile", &db.url()]).run().ends_with(3).stderr_has("function recount.anything(integer)").stderr_has(&role);
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    recount(["reconcile", &db.url()]).run().succeeds();
}

/// The right to create a schema is the database owner's to give.
#[test]
fn who_may_not_create_it_is_told_what_to_ask_for() {
    let db = database();
    let role = format!("owner_{}", db.name());
    let password = crate::support::cluster::PASSWORD;
    db.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'; ALTER SCHEMA public OWNER TO {role}"));
    let url = db.url().replace("//validator:", &format!("//{role}:"));
    let migrate = || recount(["migrate", "--standalone", "--database-url", &url]).run();
    migrate().ends_with(3).stderr_has("may not create it").stderr_has(&format!("CREATE SCHEMA recount AUTHORIZATION {role}"));
    db.execute(&format!("CREATE SCHEMA recount AUTHORIZATION {role}"));
    migrate().succeeds();
    recount(["reconcile", &url]).run().succeeds();
    db.execute(&format!("REASSIGN OWNED BY {role} TO validator; DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// As an older version has migrated it.
fn validator_without_schema() -> Database<'static> {
    let db = validator("62");
    db.execute(AS_BEFORE);
    db
}

/// A dump of the validator's schema alone has our triggers and functions, and none of our tables: the validator writes on.
#[test]
fn without_our_schema_the_validator_writes_on_and_all_of_it_can_be_made_again() {
    let db = lived("62");
    on(&db, &["phase2", "watch"]).succeeds();
    db.execute("DROP SCHEMA recount CASCADE");
    db.execute(
        "UPDATE weather_forecast_stats SET era5_score_24h = era5_score_24h; DELETE FROM weather_miner_scores WHERE id = (SELECT min(id) FROM weather_miner_scores)",
    );
    recount(["reconcile", &db.url()]).run();
    on(&db, &["migrate", "--track-changes"]).succeeds();
    on(&db, &["phase3", "apply"]).succeeds();
    on(&db, &["phase2", "check", "--writers-moved"]);
    assert_eq!((tables(&db, "public"), tables(&db, "recount")), ("∅".to_owned(), ALL.to_owned()));
    recount(["reconcile", &db.url(), "--apply", "--max-fraction", "1"]).run().succeeds();
}
