//! Whom a job tells how it went, in which form, and where it takes a password from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value as Json;

use crate::corrections::drifted;
use crate::support::cluster::PASSWORD;
use crate::support::repository::root;
use crate::support::{database, recount};

const TELL: &str = "echo to-stdout; printf '%s\\n%s\\n' \"$RECOUNT_STATUS\" \"$RECOUNT_HEADLINE\" > told";

fn told(folder: &Path) -> (String, String) {
    let text = fs::read_to_string(folder.join("told")).unwrap();
    let (status, headline) = text.trim_end().split_once('\n').unwrap();
    (status.to_owned(), headline.to_owned())
}

#[test]
fn a_command_hears_status_and_headline() {
    let folder = tempfile::tempdir().unwrap();
    let sample = root().join("data/sample");
    let sample = sample.to_str().unwrap();
    let run = |args: &[&str]| recount([args, &["--on-result", TELL]].concat()).folder(folder.path()).run();

    let job = run(&["reconcile", sample, "--format", "json"]).ends_with(1).stderr_has("to-stdout");
    assert_eq!(job.json()["command"], "reconcile", "stdout has the report and nothing else");
    let (status, headline) = told(folder.path());
    assert!(
        status == "1" && headline.starts_with("DRIFT that reaches weights: overall_forecast_score is wrong in 1 of 65 rows"),
        "{status} {headline}"
    );
    let text = recount(["reconcile", sample, "-q"]).run().ends_with(1).stdout;
    assert_eq!(headline, text.trim_end(), "the headline of the report");

    let job = run(&["reconcile", "postgres://u:Kept-Secret-7@127.0.0.1:1/none"]).ends_with(2);
    let (status, headline) = told(folder.path());
    assert!(status == "2" && headline.starts_with("error: connecting to postgres://u@127.0.0.1:1/none"), "{status} {headline}");
    job.never_says(PASSWORD);
    run(&["archive", sample, "--to", "archive"]).succeeds();
    assert!(told(folder.path()).1.starts_with("Archived "));
    run(&["verify", "archive"]).succeeds();
    assert!(told(folder.path()).1.starts_with("Intact: "));
}

#[test]
fn a_correction_is_told_with_what_it_did() {
    let (folder, db) = (tempfile::tempdir().unwrap(), database());
    drifted(&db, 2, 4, 6);
    let job = |args: &[&str]| {
        let args = [&["reconcile", "-q", "--apply", "--on-result", TELL, "--expected-leads", "24,48"][..], args].concat();
        recount(args).env("DATABASE_URL", db.url()).folder(folder.path()).run()
    };
    job(&["--max-rows", "1"]).ends_with(3);
    let (status, headline) = told(folder.path());
    assert!(status == "3" && headline.contains("--max-rows"), "{status} {headline}");
    job(&["--max-fraction", "1"]).succeeds();
    let (status, headline) = told(folder.path());
    assert!(
        status == "0" && headline.starts_with("DRIFT that reaches weights: ") && headline.contains(" Corrected "),
        "{status} {headline}"
    );
}

#[test]
fn a_command_that_fails_is_a_note() {
    let job = recount(["reconcile", "data/sample", "-q", "--on-result", "exit 7"]).folder(root()).run().ends_with(1);
    job.stderr_has("note: the command of --on-result failed (exit status: 7)");
}

#[test]
fn messages_are_json_where_that_is_asked_for() {
    let lines = |run: &crate::support::Run| -> Vec<Json> {
        run.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{run}"))).collect()
    };
    let run = recount(["reconcile", "no/such", "--log-format", "json"]).env("RECOUNT_THREAD", "1").run().ends_with(2);
    let [warning, error] = &lines(&run)[..] else { panic!("two lines: {run}") };
    assert_eq!((&warning["level"], &error["level"]), (&"WARN".into(), &"ERROR".into()));
    assert!(
        error["message"].as_str().unwrap().contains("no/such") && warning["message"].as_str().unwrap().contains("RECOUNT_THREAD")
    );
    assert!(warning["timestamp"].as_str().unwrap().ends_with('Z'));
    let run = recount(["reconcile", "data/sample", "-q", "--on-result", "false"])
        .env("RECOUNT_LOG_FORMAT", "json")
        .folder(root())
        .run();
    assert_eq!(lines(&run)[0]["level"], "INFO", "{run}");
    let run = recount(["reconcile"]).env("RECOUNT_LOG_FORMAT", "json").run().ends_with(2);
    assert!(lines(&run)[0]["hint"].as_str().unwrap().contains("name a PostgreSQL URL"), "{run}");
    // What the program tells of its doings has the same form.
    let run = recount(["reconcile", "data/sample", "-vv", "--log-format", "json"]).folder(root()).run().ends_with(1);
    let lines = lines(&run);
    assert!(
        lines.iter().any(|line| line["message"] == "opened" && line["level"] == "INFO" && line["timestamp"].is_string()),
        "{run}"
    );
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{run}");
    recount(["config", "--log-format", "xml"]).run().ends_with(2).stderr_has("possible values: text, json");
}

#[test]
fn a_password_comes_from_a_file_that_others_cannot_read() {
    let (folder, db) = (tempfile::tempdir().unwrap(), database());
    drifted(&db, 1, 2, 0);
    let file = folder.path().join("password");
    let write = |text: &str, mode: u32| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    let bare = db.url().replace(&format!(":{PASSWORD}"), "");
    let job = |url: &str| {
        let mut job = recount(["reconcile", "-q", "--expected-leads", "24,48"])
            .env("DATABASE_URL", url)
            .env("RECOUNT_PASSWORD_FILE", &file);
        job.command().env("PGPASSWORD", "wrong");
        job.run().never_says(PASSWORD)
    };
    for (text, mode) in [(PASSWORD.to_owned(), 0o600), (format!("{PASSWORD}\n"), 0o400), (format!("{PASSWORD}\r\n"), 0o440)] {
        write(&text, mode);
        job(&bare).succeeds();
    }
    let recount_toml = format!("password_file = \"{}\"\n", file.display());
    recount(["reconcile", "-q", &bare, "--expected-leads", "24,48"]).file("recount.toml", &recount_toml).run().succeeds();

    write("not this one", 0o600);
    job(&db.url()).succeeds();
    job(&bare).ends_with(2).stderr_has("check user and password");
    write(PASSWORD, 0o644);
    job(&bare).ends_with(2).stderr_has("everybody on this machine can read it").stderr_has("chmod 0600");
    for wrong in ["", "\n", "two\nlines"] {
        write(wrong, 0o600);
        job(&bare).ends_with(2).stderr_has("it does not hold a password");
    }
    fs::remove_file(&file).unwrap();
    job(&bare).ends_with(2).stderr_has(&format!("reading the password file {}", file.display()));
}
