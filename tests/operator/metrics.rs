//! `--metrics FILE`, read by a parser that is not ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use recount::Code;
use serde_json::Value as Json;

use crate::connections::interrupts::{signal, someone_waits};
use crate::corrections::{drifted, last_job, on};
use crate::support::command::Run;
use crate::support::python::environment;
use crate::support::repository::{read, root};
use crate::support::{database, recount};

/// The samples of a file.
struct Metrics(Vec<Json>);

impl Metrics {
    fn read(path: &Path) -> Metrics {
        let mut command = Command::new(environment("tests/operator/requirements.txt"));
        let output = command.arg(root().join("tests/operator/metrics.py")).arg(path).output().expect("python starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}\n{}", std::fs::read_to_string(path).unwrap_or_default());
        let answer: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["problems"], serde_json::json!([]), "as promtool check metrics has it");
        let page = read("docs/operations.md");
        for sample in answer["samples"].as_array().unwrap() {
            let name = sample[0].as_str().unwrap();
            assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not explain {name}");
        }
        Metrics(answer["samples"].as_array().unwrap().clone())
    }

    /// The value of a series by its own labels, where it is there.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is = |sample: &&Json| sample[0] == name && labels.iter().all(|(label, value)| sample[1][*label] == *value);
        let found: Vec<&Json> = self.0.iter().filter(is).collect();
        assert!(found.len() < 2, "{name} {labels:?}: {found:?}");
        found.first().map(|sample| sample[2].as_f64().expect("a number"))
    }

    /// The sum over all series of a name.
    fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|sample| sample[0] == name).map(|sample| sample[2].as_f64().expect("a number")).sum()
    }
}

fn sample() -> String {
    root().join("data/sample").to_str().unwrap().to_owned()
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("recount.prom")
}

fn reconciled(path: &Path, args: &[&str]) -> Run {
    recount([&["reconcile", "--metrics", path.to_str().unwrap()][..], args].concat()).run()
}

#[test]
fn a_job_is_told_as_the_report_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = reconciled(&file(&folder), &[&sample(), "--format", "json"]).ends_with(1);
    let (report, metrics) = (run.json(), Metrics::read(&file(&folder)));
    for (table, found) in report["tables"].as_object().unwrap() {
        for class in ["match", "drift", "unproven", "missing", "extra"] {
            let told = metrics.value("recount_rows", &[("table", table), ("class", class)]);
            assert_eq!(told, found["rows"][class].as_f64(), "{table} {class}");
        }
        for (column, cells) in found["columns"].as_object().unwrap() {
            for (name, key) in [("recount_drifted_cells", "drift"), ("recount_unproven_cells", "unproven")] {
                assert_eq!(metrics.value(name, &[("table", table), ("column", column)]), cells[key].as_f64(), "{name} {column}");
            }
        }
    }
    for (table, rows) in report["snapshot"]["rows"].as_object().unwrap() {
        assert_eq!(metrics.value("recount_rows_read", &[("table", table)]), rows.as_f64(), "{table}");
    }
    for (code, count) in report["findings"].as_object().unwrap() {
        assert_eq!(metrics.value("recount_findings", &[("code", code)]), count.as_f64(), "{code}");
    }
    let findings = metrics.0.iter().filter(|sample| sample[0] == "recount_findings");
    assert_eq!(findings.count(), Code::ALL.len(), "what is not found is told too, as 0");
    for stage in ["runs", "read", "fold", "diff", "lifetime"] {
        let seconds = metrics.value("recount_stage_duration_seconds", &[("stage", stage)]).expect(stage);
        assert!((0.0..60.0).contains(&seconds), "{stage} {seconds}");
    }
    let all = [("command", "reconcile"), ("name", "recount")];
    assert_eq!(metrics.value("recount_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(metrics.value("recount_exit_status", &all), Some(1.0));
    assert_eq!(metrics.value("recount_refused", &all), Some(0.0));
    assert_eq!(metrics.value("recount_digest_changed", &all), None, "there was none before");
    assert_eq!(metrics.sum("recount_corrected_cells"), 0.0);
    let (success, run) =
        ["success", "run"].map(|what| metrics.value(&format!("recount_last_{what}_timestamp_seconds"), &all)).into();
    assert!(success.unwrap() > 1.7e9 && success == run);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_failed_job_is_told_and_keeps_the_time_of_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    reconciled(&file(&folder), &[&sample()]).ends_with(1);
    let good = Metrics::read(&file(&folder)).value("recount_last_success_timestamp_seconds", &[]).unwrap();

    for args in
        [&["no/such/folder"][..], &["postgres://nobody:Kept-Secret-7@127.0.0.1:1/none"], &[&sample(), "--rank-method", "x"]]
    {
        reconciled(&file(&folder), args).ends_with(2);
        let metrics = Metrics::read(&file(&folder));
        assert_eq!(metrics.value("recount_last_success_timestamp_seconds", &[]), Some(good), "{args:?}");
        assert_eq!(metrics.value("recount_exit_status", &[]), Some(2.0));
        assert!(metrics.value("recount_last_run_timestamp_seconds", &[]).unwrap() > good);
        assert_eq!(metrics.value("recount_rows", &[("class", "drift"), ("table", "miner_stats")]), None, "nothing was compared");
        assert!(!std::fs::read_to_string(file(&folder)).unwrap().contains("Kept-Secret-7"));
    }

    reconciled(&file(&folder), &[&sample()]).ends_with(1);
    let metrics = Metrics::read(&file(&folder));
    assert_eq!(metrics.value("recount_digest_changed", &[]), Some(0.0), "as in the good job before the failed ones");
    reconciled(&file(&folder), &[&sample(), "--rank-method", "dense", "--era5-weight", "0.5"]).ends_with(1);
    assert_eq!(Metrics::read(&file(&folder)).value("recount_digest_changed", &[]), Some(1.0));
}

#[test]
fn corrections_and_refusals_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let metrics = ["--metrics", path.to_str().unwrap()];
    let db = database();
    drifted(&db, 2, 4, 6);
    on(&db, &[&["reconcile", "--apply", "--max-rows", "1"], &metrics[..]].concat()).ends_with(3);
    let told = Metrics::read(&path);
    assert_eq!((told.value("recount_refused", &[]), told.value("recount_exit_status", &[])), (Some(1.0), Some(3.0)));
    assert!(told.value("recount_last_success_timestamp_seconds", &[]).is_none(), "there was no good job yet");
    assert!(told.sum("recount_drifted_cells") > 0.0, "what was found is told, though nothing was done about it");

    on(&db, &[&["reconcile", "--apply"], &metrics[..]].concat()).succeeds();
    let told = Metrics::read(&path);
    let cells = db.psql(&format!(
        "SELECT sum((value->>'cells')::int) FROM recount.rollup_jobs, jsonb_each(counts) WHERE id = '{}'",
        last_job(&db)
    ));
    assert_eq!(told.sum("recount_corrected_cells").to_string(), cells);
    assert_eq!(told.value("recount_refused", &[]), Some(0.0));
}

#[test]
fn a_job_that_is_interrupted_is_told() {
    let (folder, db) = (tempfile::tempdir().unwrap(), database());
    crate::support::conformance::create_tables(&db);
    let mut holder = crate::support::block_on(db.connect());
    crate::support::block_on(async {
        let locked = sqlx::raw_sql("BEGIN; LOCK TABLE weather_miner_scores IN ACCESS EXCLUSIVE MODE");
        locked.execute(&mut holder).await.unwrap();
    });
    let mut job = recount(["reconcile", "--metrics", file(&folder).to_str().unwrap(), &db.url()]);
    let mut child = job.command().stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    someone_waits(&db);
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(holder);
    assert_eq!(Metrics::read(&file(&folder)).value("recount_exit_status", &[]), Some(130.0));
}

#[test]
fn archives_are_told_of_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    recount(["archive", &sample(), "--to", &path("archive"), "--metrics", &path("archiving.prom")]).run().succeeds();
    recount(["verify", &path("archive"), "--metrics", &path("verifying.prom")]).run().succeeds();
    let (archiving, verifying) =
        (Metrics::read(&folder.path().join("archiving.prom")), Metrics::read(&folder.path().join("verifying.prom")));
    assert_eq!(archiving.value("recount_exit_status", &[("command", "archive"), ("name", "archiving")]), Some(0.0));
    assert!(archiving.value("recount_archive_rows", &[]).unwrap() > 1000.0);
    assert_eq!(verifying.value("recount_archive_problems", &[("command", "verify")]), Some(0.0));
}

#[test]
fn what_the_collector_would_not_read_is_refused_before_the_work() {
    for (path, detail) in [("recount.txt", "does not end in .prom"), ("no/folder/recount.prom", "no/folder is no folder")] {
        let run = recount(["reconcile", &sample(), "--metrics", path]).run().ends_with(2).stderr_has(detail);
        assert!(run.stdout.is_empty() && run.left_behind().is_empty(), "{run}");
    }
}

#[test]
fn metrics_that_cannot_be_written_are_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(file(&folder)).unwrap();
    let run = reconciled(&file(&folder), &[&sample()]).ends_with(1);
    run.stderr_has("warning: writing").stderr_has("the job itself is done as its status says").stdout_has("DRIFT");
}

/// Every series that the rules and the dashboard ask for is one that the page explains, with labels that it has.
#[test]
fn rules_and_dashboard_ask_for_what_is_there() {
    let page = read("docs/operations.md");
    let rules = page.split("- name: recount").nth(1).unwrap().split("```").next().unwrap();
    let dashboard: Json = serde_json::from_str(&read("docs/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).chain(rules.lines()).collect();
    let name = regex::Regex::new(r"\brecount_[a-z_]+").unwrap();
    let names: std::collections::BTreeSet<&str> =
        asked.iter().flat_map(|text| name.find_iter(text)).map(|m| m.as_str()).collect();
    for name in &names {
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md does not explain {name}"));
        for query in asked.iter().filter(|query| query.contains(&format!("{name}{{"))) {
            for label in ["table", "column", "class", "group", "cause", "code", "stage"] {
                let asks = query.contains(&format!("{label}=")) || query.contains(&format!("by ({label})"));
                assert!(!asks || row.contains(&format!("`{label}`")), "{name} has no label {label}: {query}");
            }
        }
    }
    assert!(names.len() > 12, "{names:?}");
}
