//! The nightly script: as the documents show it, as `recount init` writes it, and under an environment that has nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::init;
use crate::corrections::{drifted, on};
use crate::support::repository::{blocks, read};
use crate::support::{Database, database};

/// What stands in the page, and what is there instead on this machine.
const SHOWN: [&str; 2] = ["/var/lib/recount", "/usr/local/bin/recount"];

/// The script of the page; nothing in it is changed but its folder and where the program is.
fn recipe(folder: &Path) -> String {
    let page = read("docs/operations.md");
    let script = blocks(&page, "sh").into_iter().find(|block| block.starts_with("#!/bin/sh\n")).expect("a script");
    let script = script.replace(SHOWN[1], env!("CARGO_BIN_EXE_recount"));
    script.replace(SHOWN[0], folder.to_str().unwrap())
}

fn night(script: &Path) -> (Option<i32>, String) {
    // cron has a handful of variables, systemd another; neither has what a shell of somebody who is logged in has.
    let Output { status, stdout, stderr } =
        Command::new("env").arg("-i").arg(script).current_dir("/").output().expect("env runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

fn set_up(db: &Database<'_>, folder: &Path) -> std::path::PathBuf {
    init(folder, &[]).succeeds();
    fs::write(folder.join("recount.env"), format!("DATABASE_URL='{}'\nRECOUNT_EXPECTED_LEADS=24,48\n", db.url())).unwrap();
    folder.join("recount-nightly")
}

fn reports(folder: &Path) -> Vec<String> {
    fs::read_dir(folder.join("reports")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_recipe_of_the_page_is_the_script_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &[]).succeeds();
    let written = fs::read_to_string(folder.path().join("recount-nightly")).unwrap();
    assert_eq!(recipe(folder.path()).trim(), written.trim());
}

#[test]
fn a_night_needs_no_environment_and_its_status_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let db = database();
    drifted(&db, 2, 4, 6);
    let script = set_up(&db, folder.path());
    // The page's own text, run as it is.
    fs::write(&script, recipe(folder.path())).unwrap();

    let (status, told) = night(&script);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("stored rollups differ, see the newest file in"), "{told}");
    let [report] = &reports(folder.path())[..] else { panic!("one report: {:?}", reports(folder.path())) };
    assert!(report.ends_with(".json") && report.starts_with("20"), "{report}");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("reports").join(report)).unwrap()).unwrap();
    assert_eq!(report["command"], "reconcile");
    let metrics = || fs::read_to_string(folder.path().join("recount.prom")).unwrap();
    assert!(metrics().contains("recount_exit_status{command=\"reconcile\",name=\"recount\"} 1"), "{}", metrics());

    on(&db, &["reconcile", "--apply"]).succeeds();
    let old = folder.path().join("reports/2020-01-01.json");
    fs::write(&old, "").unwrap();
    assert!(Command::new("touch").args(["-d", "40 days ago"]).arg(&old).status().unwrap().success());
    assert_eq!(night(&script), (Some(0), String::new()), "a good night says nothing");
    assert!(!old.exists() && reports(folder.path()).len() == 1, "old reports go");

    fs::write(folder.path().join("recount.env"), "DATABASE_URL='postgres://nobody@127.0.0.1:1/none'\n").unwrap();
    let (status, told) = night(&script);
    assert!(
        status == Some(2) && told.contains("error: connecting to") && told.contains("recount: failed with status 2"),
        "{told}"
    );
    assert_eq!(
        reports(folder.path()).len(),
        1,
        "what was found before stays, and nothing half written: {:?}",
        reports(folder.path())
    );
    assert!(metrics().contains("recount_exit_status{command=\"reconcile\",name=\"recount\"} 2"));

    let lock = fs::File::create(folder.path().join("nightly.lock")).unwrap();
    lock.lock().unwrap();
    let (status, told) = night(&script);
    assert!(status == Some(2) && told.contains("the night before is still at work"), "{told}");
}
