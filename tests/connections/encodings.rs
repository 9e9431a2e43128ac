//! Databases of other encodings than UTF-8, and roles and databases with settings for other work.

use crate::support::{database, execute_on, recount};

/// A database of this encoding beside that of the test, with the validator's tables, and its URL.
fn twin(database: &crate::support::Database<'_>, encoding: &str) -> (String, String) {
    let name = format!("{}_{}", database.name(), encoding.to_lowercase());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
    execute_on(database.cluster(), "postgres", &create);
    let url = database.cluster().url(&name);
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "3", "--miners", "6", "--seed", "1", "--drift", "5", "--database-url", &url]).run().succeeds();
    (name, url)
}

#[test]
fn a_latin1_database_is_served_by_every_phase() {
    let database = database();
    let (name, url) = twin(&database, "LATIN1");
    recount(["phase3", "apply", "--database-url", &url]).run().succeeds();
    recount(["reconcile", "-q", &url]).run().ends_with(1);
    execute_on(database.cluster(), "postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
}

#[test]
fn bytes_that_are_no_text_are_named_with_what_to_do() {
    let database = database();
    let (name, url) = twin(&database, "SQL_ASCII");
    let bytes = "SET client_encoding = SQL_ASCII; UPDATE weather_miner_responses SET error_message = E'caf\\351 timeout', status = 'failed'";
    execute_on(database.cluster(), &name, bytes);
    recount(["reconcile", "-q", &url]).run().ends_with(2).stderr_has("of run ").stderr_has("bytes that are no UTF-8");
    execute_on(database.cluster(), "postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
}

/// A timeout of the database is for other work: it ends none of ours.
#[test]
fn a_statement_timeout_of_the_database_does_not_rule() {
    let database = database();
    let url = database.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "6", "--miners", "12", "--seed", "7", "--drift", "12", "--database-url", &url])
        .run()
        .succeeds();
    recount(["phase3", "apply", "--database-url", &url]).run().succeeds();
    database.execute(&format!("ALTER DATABASE {} SET statement_timeout = '3ms'", database.name()));
    let run = recount(["reconcile", "-q", &url, "--apply", "--max-fraction", "1"]).run();
    assert!(!run.stderr.contains("statement timeout") && !run.stdout.contains("statement timeout"), "{run}");
    // Our own look is not to be held to three milliseconds, on a busy machine.
    let jobs = "SET statement_timeout = 0; SELECT count(*)::text FROM recount.rollup_jobs";
    assert_eq!(database.rows(jobs), [[Some("1".to_owned())]]);
    for command in [&["steps", "backfill", "--apply"][..], &["steps", "recover", "--apply"], &["phase3", "refresh"]] {
        let args = command.iter().copied().chain(["--database-url", &url]);
        recount(args).run().succeeds();
    }
}

/// Where somebody wants no writes by default, that is not overruled, and it is said what to change.
#[test]
fn a_database_that_is_read_only_by_default_is_not_written_to() {
    let database = database();
    let url = database.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "3", "--miners", "6", "--seed", "1", "--drift", "5", "--database-url", &url]).run().succeeds();
    database.execute(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name()));
    let commands: [&[&str]; 3] = [
        &["reconcile", &url, "--apply", "--max-fraction", "1"],
        &["phase3", "apply", "--database-url", &url],
        &["phase2", "check", "--database-url", &url],
    ];
    for command in commands {
        recount(command).run().ends_with(2).stderr_has("default_transaction_read_only is off");
    }
    assert_eq!(database.rows("SELECT count(*)::text FROM recount.rollup_jobs"), [[Some("0".to_owned())]]);
}
