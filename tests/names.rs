//! Names in SQL mean what recount means: whatever others have put into the validator's schema, whatever the search_path of the role says,
//! and whatever the server sets for other work.

use crate::phase2::validator;
use crate::support::cluster::PASSWORD;
use crate::support::command::Run;
use crate::support::{Database, block_on, database, recount};

fn on(url: &str, arguments: &[&str]) -> Run {
    recount(arguments.iter().chain(&["--database-url", url])).run()
}

/// Every command that changes the schema, or looks at it.
const COMMANDS: [&[&str]; 18] = [
    &["migrate"],
    &["migrate", "status"],
    &["migrate", "--track-changes"],
    &["migrate", "--no-track-changes"],
    &["phase3", "apply"],
    &["phase3", "refresh"],
    &["phase2", "watch"],
    &["phase2", "watch", "--stop"],
    &["phase2", "check", "--option", "view", "--writers-moved"],
    &["phase2", "plan", "--option", "view"],
    &["phase2", "apply", "--option", "view"],
    &["phase2", "revert"],
    &["phase2", "check", "--writers-moved"],
    &["phase2", "apply"],
    &["phase2", "finish", "--yes", "--min-age", "0m"],
    &["steps", "due"],
    &["steps", "backfill", "--apply"],
    &["jobs"],
];

/// What schemas hold, but for the server's own and recount's.
fn places(db: &Database) -> String {
    db.psql(
        "SELECT DISTINCT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|information_schema|recount$)'
         UNION SELECT n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname !~ '^(pg_|information_schema|recount$)'",
    )
}

#[test]
fn a_schema_of_the_roles_own_name_gets_nothing() {
    let db = validator("61");
    let role = format!("dba_{}", db.name());
    db.execute(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA {role} AUTHORIZATION {role}"));
    let url = db.url().replace("//validator:", &format!("//{role}:"));
    let kind = || db.psql("SELECT relkind FROM pg_class WHERE oid = to_regclass('public.weather_forecast_stats')");
    for command in COMMANDS {
        let run = on(&url, command).succeeds();
        assert_eq!(places(&db), "public", "{command:?}");
        match command {
            ["phase2", "plan", ..] => drop(run.stdout_has("SET LOCAL search_path = \"public\", recount, pg_temp;")),
            ["phase2", "apply", "--option", "view"] => assert_eq!(kind(), "m"),
            ["phase2", "revert"] => assert_eq!(kind(), "r"),
            _ => {}
        }
    }
    db.execute(&format!("REASSIGN OWNED BY {role} TO validator; DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// An operator of exact types stands above the server's own, wherever it is; a function likewise; a table of our names would be taken for ours.
const PLANTED: [(&str, &str); 4] = [
    (
        "CREATE FUNCTION trap(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'sprung'; END $$;
         CREATE OPERATOR public.= (FUNCTION = trap, LEFTARG = varchar, RIGHTARG = varchar)",
        "operator public.=(character varying,character varying)",
    ),
    (
        "CREATE FUNCTION public.left(varchar, integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'sprung'; END $$",
        "function public.\"left\"(character varying,integer)",
    ),
    (
        "CREATE FUNCTION public.weather_retry_policy(varchar) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'sprung'; END $$",
        "function public.weather_retry_policy(character varying)",
    ),
    ("CREATE TABLE public.rollup_phase2_watch (x int)", "relation public.rollup_phase2_watch"),
];

#[test]
fn what_others_have_planted_is_refused_by_name() {
    let db = validator("62");
    let role = format!("mallory_{}", db.name());
    db.execute(&format!("CREATE ROLE {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}"));
    let url = db.url();
    for (number, (planted, name)) in PLANTED.into_iter().enumerate() {
        db.execute(&format!("SET SESSION AUTHORIZATION {role}; SET search_path = public, pg_catalog; {planted}"));
        let before = crate::support::catalogue::names(&db);
        let refused = |run: Run| {
            run.ends_with(3).stderr_has(name).stderr_has(&role).stderr_has("REVOKE CREATE ON SCHEMA").never_says("sprung")
        };
        // All begin with the same look; one of each kind of session for every trap, all of them for the first.
        let commands = if number == 0 { &COMMANDS[..] } else { &COMMANDS[..5] };
        commands.iter().for_each(|command| drop(refused(on(&url, command))));
        refused(recount(["reconcile", &url, "--apply"]).run());
        assert_eq!(crate::support::catalogue::names(&db), before, "nothing was changed");
        db.execute(&format!("DROP OWNED BY {role} CASCADE; GRANT CREATE, USAGE ON SCHEMA public TO {role}"));
    }
    // What the owner of the validator's tables has made is the validator's own.
    db.execute("CREATE FUNCTION round(double precision, integer) RETURNS double precision LANGUAGE sql AS 'SELECT round($1::numeric, $2)::float8'");
    recount(["reconcile", &url]).run().succeeds();
    on(&url, &["phase3", "apply"]).succeeds();
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn two_validators_in_one_database_are_refused() {
    let db = validator("63");
    db.execute("CREATE SCHEMA staging; CREATE TABLE staging.weather_forecast_runs (id int)");
    for command in COMMANDS {
        on(&db.url(), command).ends_with(2).stderr_has("weather_forecast_runs is in 2 schemas: public, staging");
    }
}

/// Every function that a migration makes, with what it stands on.
const LOOSE: &str = "
    SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosqlbody IS NULL
      AND NOT coalesce(p.proconfig::text LIKE '%search_path=pg_catalog, %pg_temp%', false)";

/// A server that quotes all names and takes backslashes for escapes gets the same schema, the same views and the same answers.
#[test]
fn settings_for_other_work_change_nothing() {
    let [plain, odd] = [validator("64"), validator("64")];
    let owner = format!("Gaia-\"{}", odd.name());
    let quoted = format!("\"{}\"", owner.replace('"', "\"\""));
    odd.execute(&format!(
        "ALTER DATABASE {0} SET quote_all_identifiers = on; ALTER DATABASE {0} SET standard_conforming_strings = off;
         ALTER DATABASE {0} SET escape_string_warning = off; ALTER DATABASE {0} SET timezone = 'Asia/Tokyo';
         ALTER DATABASE {0} SET datestyle = 'German'; ALTER DATABASE {0} SET default_transaction_isolation = 'serializable';
         CREATE ROLE {quoted}; GRANT CREATE ON SCHEMA public TO {quoted};
         DO $$ DECLARE t record; BEGIN
             FOR t IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s OWNER TO {quoted}', t.name);
             END LOOP;
         END $$",
        odd.name()
    ));
    for db in [&plain, &odd] {
        let url = db.url();
        db.execute("UPDATE weather_forecast_stats SET era5_combined_score = 0.001 WHERE id = 1");
        for command in [
            &["phase3", "apply"][..],
            &["phase3", "refresh"],
            &["migrate", "--track-changes"],
            &["phase2", "watch"],
            &["phase2", "check", "--option", "view", "--writers-moved"],
            &["phase2", "apply", "--option", "view"],
            &["phase3", "refresh"],
            &["phase2", "revert"],
            &["phase2", "check", "--writers-moved"],
            &["phase2", "apply"],
        ] {
            on(&url, command).succeeds();
            if command == ["phase3", "apply"] {
                let corrected = recount(["reconcile", &url, "--apply"]).run().succeeds();
                corrected.stdout_has("weather_subnet_stats is a materialized view: it was refreshed");
            }
        }
        assert_eq!(db.psql(LOOSE), "", "functions that stand on the search_path of who asks");
    }
    assert_eq!(
        odd.psql("SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname ~ '^weather_forecast_stats(_wide.*)?$' AND relkind IN ('r', 'v')"),
        quoted
    );
    let told = |db: &Database| {
        db.psql(
            "SET quote_all_identifiers = off; SET standard_conforming_strings = on;
             SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')
             UNION ALL
             SELECT p.oid::regprocedure::text, concat(p.prosrc, p.proconfig, p.prosqlbody IS NOT NULL) FROM pg_proc p
             WHERE p.pronamespace = 'public'::regnamespace ORDER BY 1",
        )
    };
    assert_eq!(told(&odd), told(&plain));
    let sanitized = "SELECT recount_sanitize('GET https://ann:pw@db.example:5432/a failed from 10.1.2.3')";
    assert_eq!(odd.psql(sanitized), plain.psql(sanitized));
    odd.execute(&format!("REASSIGN OWNED BY {quoted} TO validator; DROP OWNED BY {quoted}; DROP ROLE {quoted}"));
}

/// Who may read the stored rollups may ask where the database stands; who may not change it is told so in plain words.
#[test]
fn a_reader_is_told_where_a_database_stands() {
    let db = validator("67");
    on(&db.url(), &["phase2", "check", "--writers-moved"]).succeeds();
    let role = format!("reader_{}", db.name());
    db.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON weather_forecast_stats TO {role}"));
    let url = db.url().replace("//validator:", &format!("//{role}:"));
    let hidden = on(&url, &["migrate", "status"]).ends_with(2).stderr_has("permission denied for table recount_migrations");
    hidden.stderr_has("the role needs SELECT on the tables").never_says("error returned from database").never_says("at line");
    on(&db.url(), &["phase3", "apply"]).succeeds();
    on(&url, &["migrate", "status"]).succeeds();
    let refused = on(&url, &["phase2", "apply"]).ends_with(2).stderr_has("connect as the owner of the validator's tables");
    refused.never_says("error returned from database").never_says("at line");
    db.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// Columns of domains are compared as what they are made of.
#[test]
fn a_view_gives_the_rows_of_a_table_with_domains() {
    let db = validator("65");
    db.execute(
        "CREATE DOMAIN inner_score AS double precision; CREATE DOMAIN outer_score AS inner_score; CREATE DOMAIN error AS jsonb;
         ALTER TABLE weather_forecast_stats ALTER avg_rmse TYPE outer_score, ALTER era5_combined_score TYPE inner_score,
             ALTER forecast_error_msg TYPE error",
    );
    on(&db.url(), &["phase2", "check", "--option", "view", "--writers-moved"]).succeeds();
    on(&db.url(), &["phase2", "apply", "--option", "view"]).succeeds();
    assert_eq!(db.psql("SELECT pg_typeof(avg_rmse) FROM weather_forecast_stats LIMIT 1"), "outer_score");
    recount(["reconcile", &db.url()]).run().succeeds();
}

/// Sessions of recount in this database that have asked for the pause lock.
const ASKING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'recount migrate' AND query LIKE '%746227728439%'";

/// A session that was closed is gone a moment later.
async fn until(db: &Database<'_>, sql: &str, wanted: &str) {
    let since = std::time::Instant::now();
    while db.psql(sql) != wanted {
        assert!(since.elapsed() < std::time::Duration::from_secs(20), "{sql}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn the_validators_pause_lock_is_heeded_and_taken() {
    use sqlx::Connection;
    let db = validator("66");
    on(&db.url(), &["phase2", "check", "--writers-moved"]).succeeds();
    let held = |lock: &'static str, arguments: &'static [&'static str]| {
        block_on(async {
            until(&db, ASKING, "0").await;
            let mut other = db.connect().await;
            sqlx::query(lock).execute(&mut other).await.unwrap();
            let url = db.url();
            let mut started = recount(arguments.iter().chain(&["--database-url", &url]));
            let child =
                started.command().stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
            until(&db, ASKING, "1").await;
            assert_eq!(db.psql("SELECT to_regclass('weather_forecast_stats_wide')"), "∅", "nothing is changed meanwhile");
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut other).await.unwrap();
            let ended = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
            assert!(ended.status.success());
            other.close().await.unwrap();
            String::from_utf8_lossy(&ended.stderr).into_owned()
        })
    };
    let maintenance = "SELECT pg_advisory_lock(746227728439)";
    let told = held(maintenance, &["migrate"]);
    assert!(told.contains("note: waited") && told.contains("for the validator's pause lock"), "{told}");
    // A worker holds it shared: others that hold it shared go beside it, and who pauses it waits.
    let worker = "SELECT pg_advisory_lock_shared(746227728439)";
    let told = held(worker, &["phase2", "apply", "--pause-validator"]);
    assert!(told.contains("note: the validator was paused"), "{told}");
    block_on(async {
        let mut other = db.connect().await;
        sqlx::query(worker).execute(&mut other).await.unwrap();
        let url = db.url();
        tokio::task::block_in_place(|| on(&url, &["phase2", "revert"]).succeeds().never_says("note: waited"));
        other.close().await.unwrap();
        let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                     WHERE l.locktype = 'advisory' AND d.datname = current_database()";
        until(&db, locks, "0").await;
    });
}

/// An empty database gets its tables where the role's search_path puts them, and keeps them together.
#[test]
fn an_empty_database_gets_its_tables_into_one_schema() {
    let db = database();
    db.execute(&format!("CREATE SCHEMA \"own place\"; ALTER DATABASE {} SET search_path = \"own place\", public", db.name()));
    on(&db.url(), &["migrate", "--standalone"]).succeeds();
    for command in [&["migrate"][..], &["phase3", "apply"], &["migrate", "--track-changes"], &["migrate", "status"]] {
        on(&db.url(), command).succeeds();
        assert_eq!(places(&db), "own place");
    }
    db.execute(&format!("ALTER DATABASE {} SET search_path = nowhere", db.name()));
    on(&db.url(), &["migrate", "status"]).succeeds().stdout_has("applied");
    recount(["reconcile", &db.url()]).run().succeeds();
    let nowhere = database();
    nowhere.execute(&format!("ALTER DATABASE {} SET search_path = nowhere", nowhere.name()));
    on(&nowhere.url(), &["migrate", "--standalone"]).ends_with(2).stderr_has("names no schema that is there");
}
