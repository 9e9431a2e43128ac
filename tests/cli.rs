//! The command line as a user meets it: exit statuses, the two streams, settings, and no password anywhere.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{database, recount};

#[test]
fn help_tells_the_exit_statuses() {
    recount(["--help"]).run().succeeds().stdout_has("1    differences were found").stdout_has("130  interrupted");
    recount(["reconcile", "--help"]).run().succeeds().stdout_has("Exit status: 0 in sync, 1 differences");
}

/// What the core lacks is refused by the name of the feature that brings it.
#[cfg(not(feature = "query"))]
#[test]
fn a_program_without_queries_names_the_feature() {
    let run = recount(["query", "archive", "SELECT 1"]).run().ends_with(2);
    run.stderr_has("recount query: this program was built without it").stderr_has("--features query");
}

#[cfg(not(feature = "cloud"))]
#[test]
fn a_program_without_buckets_names_the_feature() {
    for args in [&["verify", "s3://bucket/x"][..], &["archive", "ls", "gs://bucket/x"], &["reconcile", "az://bucket/x"]] {
        let run = recount(args).run().ends_with(2);
        run.stderr_has("this program was built without archives in buckets").stderr_has("--features cloud");
    }
}

#[test]
fn bad_usage_is_2_and_says_nothing_on_stdout() {
    for args in [
        &["frobnicate"][..],
        &["reconcile", "--runs", "5..3", "x"],
        &["export", "x"],
        &["generate", "--runs", "1", "--miners", "1", "--seed", "1"],
        &["config", "--rank-method", "olympic"],
        &["config", "--config", "no/such.toml"],
        &["config", "--columns", "score"],
        &["reconcile"],
        &["migrate"],
        &["migrate", "--database-url", "some/folder"],
    ] {
        let run = recount(args).run().ends_with(2).stderr_has("error: ");
        assert!(run.stdout.is_empty() && run.left_behind().is_empty(), "{run}");
    }
}

#[test]
fn an_unknown_key_of_the_file_names_the_nearest() {
    recount(["config"]).file("recount.toml", "[scoring]\nexpected_lead = [24]\n").run().ends_with(2).stderr_has(
        "error: recount.toml: unknown key scoring.expected_lead\nhint: the nearest known key is scoring.expected_leads\n",
    );
}

#[test]
fn leads_out_of_order_and_weights_of_zero_are_refused() {
    recount(["reconcile", "x"])
        .file("recount.toml", "[scoring]\nexpected_leads = [48, 24]\n")
        .run()
        .ends_with(2)
        .stderr_has("error: setting expected_leads: has 48 before 24; leads must be strictly ascending")
        .stderr_has("hint: expected_leads is set by recount.toml");
    recount(["reconcile", "x", "--era5-weight", "0"])
        .env("RECOUNT_DAY1_WEIGHT", "0")
        .run()
        .ends_with(2)
        .stderr_has("error: setting era5_weight + day1_weight: is 0; the sum must be above zero and finite")
        .stderr_has("hint: era5_weight is set by --era5-weight\n      day1_weight is set by RECOUNT_DAY1_WEIGHT");
}

#[test]
fn config_shows_values_and_origins() {
    let run = recount(["config", "--threads", "3", "--format", "json"])
        .env("RECOUNT_RANK_METHOD", "dense")
        .file("recount.toml", "ignore = ['status', 'errors']\n")
        .run()
        .succeeds();
    let shown = |name: &str| {
        let line = &run.json()["settings"][name];
        (line["value"].clone(), line["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(shown("threads"), (json!(3), "--threads".to_owned()));
    assert_eq!(shown("scoring.rank_method"), (json!("dense"), "RECOUNT_RANK_METHOD".to_owned()));
    assert_eq!(shown("ignore"), (json!(["status", "errors"]), "recount.toml".to_owned()));
    assert_eq!(shown("connections"), (json!(2), "default".to_owned()));
}

#[test]
fn a_slip_in_the_environment_is_mentioned() {
    let run = || recount(["config"]).env("RECOUNT_THREAD", "2");
    run().run().succeeds().stderr_has("warning: RECOUNT_THREAD is set, but there is no such setting\n");
    let quiet = recount(["config", "--quiet"]).env("RECOUNT_THREAD", "2").run().succeeds();
    assert!(quiet.stderr.is_empty(), "{quiet}");
}

#[test]
fn no_message_repeats_a_password() {
    let url = "postgres://user:geheim@localhost:1/db?password=geheim";
    for args in [
        &["config"][..],
        &["config", url],
        &["config", url, "more"],
        &[url],
        &["config", "--source", url],
        &["config", "--threads", url],
        &["generate", "--database-url=postgres://user:geheim@localhost:1/db", "--seed"],
        &["config", "--columns", url],
        &["config", "--runs", url],
        &["config", "host=localhost password=geheim"],
        &["config", "user:geheim@localhost/db"],
        &["migrate", "status"],
        &["migrate", "status", "--database-url", url],
    ] {
        recount(args).env("DATABASE_URL", url).run().never_says("geheim");
    }
    for file in [format!("source = '{url}"), format!("source = ['{url}']"), format!("threads = '{url}'")] {
        recount(["config"]).file("recount.toml", &file).run().ends_with(2).never_says("geheim");
    }
    recount(["config"]).env("DATABASE_URL", url).run().succeeds().stdout_has("postgres://user:***@localhost:1/db?password=***");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut run = recount(["config"]);
    let mut child = run.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn ctrl_c_ends_with_130() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://user@{}/db", server.local_addr().unwrap());
    let mut run = recount(["migrate", "status", "--database-url", &url]);
    let mut child = run.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The client is there and waits for an answer that never comes.
    let client = server.accept().unwrap();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    drop(client);
    assert!(kill.success());
    // It says how far it was: connecting, so that nothing can have been done.
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.starts_with("stopping; press Ctrl-C again to stop at once\nerror: connecting to postgres://user@"), "{said}");
    assert!(said.ends_with("(migrations): interrupted before anything was done\n"), "{said}");
}

#[test]
fn colours_stay_away_from_pipes_unless_asked_for() {
    assert!(!recount(["config"]).run().succeeds().stdout.contains('\x1b'));
    recount(["config", "--color", "always"]).env("NO_COLOR", "1").run().succeeds().stdout_has("\x1b[");
}

#[test]
fn migrate_shows_what_is_pending_and_applies_it() {
    let db = database();
    let states = |args: &[&str]| {
        let run = recount(args.iter().copied().chain(["--format", "json"])).env("DATABASE_URL", db.url()).run().succeeds();
        let lines = run.json()["migrations"].as_array().unwrap().clone();
        let state = |line: &serde_json::Value| {
            let phase = if line["phase"] == "phase1" { "phase1" } else { "later" };
            format!("{phase} {}", line["state"].as_str().unwrap())
        };
        lines.iter().map(state).collect::<std::collections::BTreeSet<_>>()
    };
    let set = |states: [&str; 3]| states.map(str::to_owned).into();
    // "off": changes are not tracked, which no phase asks for.
    assert_eq!(states(&["migrate", "status"]), set(["phase1 pending", "later pending", "later off"]));
    assert!(states(&["migrate", "--standalone"]).contains("phase1 applied now"));
    assert_eq!(
        states(&["migrate", "status"]),
        set(["phase1 applied", "later pending", "later off"]),
        "migrate applies Phase 1 only"
    );
    recount(["migrate", "status"]).env("DATABASE_URL", db.url()).run().succeeds().stdout_has("phase1");
}

#[test]
fn an_output_folder_that_cannot_be_written_is_named_and_nothing_is_left() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");
    for command in ["recompute", "diff", "export"] {
        let run = recount([command, sample, "--out", "taken/out"]).file("taken", "a file").run().ends_with(2);
        let run = run.stderr_has("taken/out").stderr_has("creating the folder");
        assert_eq!(run.left_behind(), ["taken"]);
        for (out, complaint) in [("kept", "it exists and is not empty"), (".", "it has no name of its own")] {
            let run = recount([command, sample, "--out", out]).file("kept/note", "a file").run().ends_with(2);
            let run = run.stderr_has(complaint).stderr_has("hint: ");
            assert_eq!(run.left_behind(), ["kept"]);
        }
    }
}

#[test]
fn a_command_that_takes_everything_refuses_to_be_narrowed() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");
    for command in ["recompute", "export"] {
        let run = recount([command, sample, "--out", "out", "--runs", "1"]).run().ends_with(2);
        run.stderr_has("always takes everything");
    }
}

#[test]
fn a_comparison_of_nothing_is_no_success() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample");
    let run = recount(["reconcile", sample, "--columns", "era5_score_7h"]).run().ends_with(2);
    run.stderr_has("nothing was compared");
}
