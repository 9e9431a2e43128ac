//! `recount query`.

use std::path::Path;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::python::answer;
use crate::support::{conformance, database, recount};

use super::{archived_sample, files, json};

/// Equal, where whole numbers and doubles of the same value are the same.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[test]
fn every_statement_has_the_answer_that_duckdb_gives() {
    let (folder, dest) = archived_sample();
    let statements: Vec<&str> = include_str!("statements.sql").split("\n\n").skip(1).map(str::trim).collect();
    assert!(statements.len() >= 80);
    let refused = |(at, sql): (usize, &&str)| {
        let out = folder.path().join(format!("{at}.parquet"));
        let run = recount(["query", &dest, sql, "--out", out.to_str().unwrap()]).run();
        (run.status != Some(0)).then(|| format!("{sql}\n  {}", run.stderr))
    };
    let refused: Vec<String> = statements.iter().enumerate().filter_map(refused).collect();
    assert!(refused.is_empty(), "{} statements\n{}", refused.len(), refused.join("\n"));
    let asked = serde_json::to_string(&statements).unwrap();
    let answers = answer(include_str!("sql.py"), folder.path(), &[&dest, &asked]);
    let wrong: Vec<String> = statements
        .iter()
        .zip(answers.as_array().unwrap())
        .filter(|(_, answer)| !same(&answer[0], &answer[1]))
        .map(|(sql, answer)| format!("{sql}\n  DuckDB  {}\n  recount {}", answer[0], answer[1]))
        .collect();
    assert!(wrong.is_empty(), "{} statements\n{}", wrong.len(), wrong.join("\n"));
    let empty = answers.as_array().unwrap().iter().filter(|answer| answer[0].as_array().unwrap().is_empty()).count();
    assert!(empty <= 2, "an answer without rows shows little: {empty}");
}

#[test]
fn what_does_more_than_to_read_is_refused() {
    let (_folder, dest) = archived_sample();
    let before = files(&dest);
    for sql in [
        "DROP TABLE runs",
        "DELETE FROM runs",
        "INSERT INTO runs SELECT * FROM runs",
        "CREATE EXTERNAL TABLE a STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO 'a.csv'",
        "SET datafusion.execution.batch_size = 1",
    ] {
        recount(["query", &dest, sql])
            .run()
            .ends_with(2)
            .stderr_has("SELECT (also WITH and VALUES), EXPLAIN, DESCRIBE and SHOW TABLES");
    }
    for sql in ["SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_parquet('a')"] {
        recount(["query", &dest, sql]).run().ends_with(2);
    }
    assert!(before == files(&dest));
}

#[test]
fn an_error_names_the_nearest_table_or_column() {
    let (_folder, dest) = archived_sample();
    recount(["query", &dest, "SELECT * FROM lead_score"]).run().ends_with(2).stderr_has("did you mean lead_scores?");
    recount(["query", &dest, "SELECT lead_hour FROM lead_scores"]).run().ends_with(2).stderr_has("did you mean lead_hours?");
}

#[test]
fn tables_are_listed_and_described_and_the_newest_state_has_a_name() {
    let (_folder, dest) = archived_sample();
    let shown = recount(["query", &dest, "SHOW TABLES", "--format", "csv"]).run().succeeds();
    assert!(shown.stdout.lines().any(|line| line == "miner_stats_latest"), "{}", shown.stdout);
    recount(["query", &dest, "DESCRIBE runs"]).run().succeeds().stdout_has("init_date");
    recount(["query", &dest, "EXPLAIN SELECT * FROM runs"]).run().succeeds();
    let both = "SELECT (SELECT count(*) FROM miner_stats) = (SELECT count(*) FROM miner_stats_latest) AS same";
    assert_eq!(recount(["query", &dest, both, "--format", "csv"]).run().succeeds().stdout, "same\ntrue\n");
}

#[test]
fn the_ending_of_the_file_tells_the_form_and_null_is_no_empty_text() {
    let (_folder, dest) = archived_sample();
    let values = "SELECT * FROM (VALUES (1, 'a'), (2, ''), (3, NULL)) v(n, t) ORDER BY n";
    let write = |name: &str| {
        let run = recount(["query", &dest, values, "--out", name]).run().succeeds();
        std::fs::read(run.folder().join(name)).unwrap()
    };
    assert_eq!(write("a.csv"), b"n,t\n1,a\n2,\"\"\n3,\n");
    assert_eq!(write("a.jsonl"), b"{\"n\":1,\"t\":\"a\"}\n{\"n\":2,\"t\":\"\"}\n{\"n\":3,\"t\":null}\n");
    assert_eq!(serde_json::from_slice::<Json>(&write("a.json")).unwrap()[2]["t"], Json::Null);
    assert!(write("a.parquet").ends_with(b"PAR1"));
    recount(["query", &dest, values, "--out", "a.xyz"]).run().ends_with(2).stderr_has("--format");
}

#[test]
fn a_row_that_is_wider_than_the_window_is_a_record() {
    let (_folder, dest) = archived_sample();
    let wide =
        recount(["query", &dest, "SELECT * FROM miner_stats ORDER BY miner_uid LIMIT 1"]).env("COLUMNS", "80").run().succeeds();
    assert!(wide.stdout.lines().count() > 20, "one column a line: {}", wide.stdout);
    assert!(wide.stdout.lines().any(|line| line.trim_start().starts_with("miner_hotkey ")), "{}", wide.stdout);
}

#[test]
fn folders_that_recompute_and_diff_wrote_are_asked_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    recount(["recompute", &super::sample(), "--out", &at("again")]).run().succeeds();
    let count = "SELECT count(*) > 0 AS some FROM lead_scores";
    assert_eq!(recount(["query", &at("again"), count, "--format", "csv"]).run().succeeds().stdout, "some\ntrue\n");
    recount(["query", folder.path().to_str().unwrap(), count]).run().ends_with(2).stderr_has("a snapshot folder");
}

/// A snapshot with NaN, infinities, NULL and rows that belong to no run in it.
fn snapshot() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("night").to_str().unwrap().to_owned();
    let db = database();
    conformance::load(&db, "small");
    recount(["export", &db.url(), "--out", &dir]).run().succeeds();
    (folder, dir)
}

fn tables_of(dir: &str) -> Vec<String> {
    files(dir).into_keys().filter_map(|name| Some(name.strip_suffix(".arrow")?.to_owned())).collect()
}

#[test]
fn every_table_of_a_snapshot_has_the_rows_and_types_that_pyarrow_reads() {
    let (folder, dir) = snapshot();
    let tables = tables_of(&dir);
    let shown = recount(["query", &dir, "SHOW TABLES", "--format", "csv"]).run().succeeds().stdout;
    assert_eq!(shown.lines().skip(1).collect::<Vec<_>>(), tables, "by the names of the database");
    for table in &tables {
        let out = folder.path().join(format!("{table}.parquet"));
        recount(["query", &dir, &format!("SELECT * FROM {table}"), "--out", out.to_str().unwrap()]).run().succeeds();
    }
    let answers = answer(include_str!("snapshot.py"), folder.path(), &[&dir]);
    for table in &tables {
        let [own, asked] = [&answers[table][0], &answers[table][1]];
        assert_eq!(own["kinds"], asked["kinds"], "{table}");
        assert!(own["rows"] == asked["rows"], "{table}");
    }
    let text = answers["weather_miner_scores"][0]["rows"].to_string();
    assert!(["nan", "inf", "None"].iter().all(|word| text.contains(word)), "the scores have all that is hard to carry");
}

#[test]
fn a_snapshot_is_asked_with_joins_filters_limits_and_no_columns_at_all() {
    let dir = super::sample();
    let asked = |sql: &str| recount(["query", &dir, sql, "--format", "csv"]).run().succeeds().stdout;
    let rows = json(&dir, "manifest.json")["files"]["weather_miner_scores.arrow"]["rows"].clone();
    assert_eq!(asked("SELECT count(*) AS n FROM weather_miner_scores"), format!("n\n{rows}\n"));
    let joined = "SELECT count(*) AS n FROM weather_miner_scores s JOIN weather_forecast_runs r ON r.id = s.run_id";
    assert_eq!(asked(joined), format!("n\n{rows}\n"));
    let split = "SELECT sum(n) AS n FROM (SELECT run_id, count(*) AS n FROM weather_miner_scores GROUP BY run_id)";
    assert_eq!(asked(split), format!("n\n{rows}\n"));
    assert_eq!(asked("SELECT run_id FROM weather_miner_scores LIMIT 3").lines().count(), 4);
    assert_eq!(asked("SELECT DISTINCT run_id FROM weather_miner_scores WHERE run_id = 2"), "run_id\n2\n");
    recount(["query", &dir, "SELECT * FROM weather_miner_score"])
        .run()
        .ends_with(2)
        .stderr_has("did you mean weather_miner_scores?");
}

#[test]
fn a_damaged_file_of_a_snapshot_is_named_and_leaves_no_result() {
    let (_folder, whole) = snapshot();
    for table in tables_of(&whole) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("night").to_str().unwrap().to_owned();
        let sql = format!("SELECT * FROM {table}");
        let name = format!("{table}.arrow");
        let path = Path::new(&dir).join(&name);
        let bytes = files(&whole).remove(&name).unwrap();
        let footer = bytes.len() - 20;
        let places =
            if table == "weather_miner_scores" { vec![bytes.len() / 3, bytes.len() * 2 / 3, footer] } else { vec![footer / 2] };
        for at in places {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            super::copy(&whole, &dir);
            std::fs::write(&path, changed).unwrap();
            let out = folder.path().join("out.csv");
            let told = recount(["query", &dir, &sql, "--out", out.to_str().unwrap()]).run().ends_with(2);
            assert!(told.stderr.contains(&format!("{name} does not match its hash")), "{told}");
            assert!(told.stderr.contains("hint: the folder is damaged") && !out.exists(), "{told}");
        }
        std::fs::write(&path, &bytes[1..]).unwrap();
        recount(["query", &dir, &sql]).run().ends_with(2).stderr_has(&format!("{name} has {} bytes", bytes.len() - 1));
        std::fs::remove_file(&path).unwrap();
        recount(["query", &dir, &sql]).run().ends_with(2).stderr_has(&format!("{name} is missing"));
    }
    let dir = whole;
    let manifest = std::fs::read_to_string(Path::new(&dir).join("manifest.json")).unwrap();
    std::fs::write(Path::new(&dir).join("manifest.json"), manifest.replacen("\"rows\": ", "\"rows\": 1", 1)).unwrap();
    recount(["query", &dir, "SELECT 1"]).run().ends_with(2).stderr_has("manifest.json does not match its own hash");
    std::fs::remove_file(Path::new(&dir).join("manifest.json")).unwrap();
    recount(["query", &dir, "SELECT 1"]).run().ends_with(2).stderr_has("there is no manifest.json in it");
}

#[test]
fn tables_are_asked_by_name_in_four_forms() {
    let (_folder, dest) = archived_sample();
    let count = "SELECT COUNT(*) AS n, MIN(init_date) AS first FROM lead_scores WHERE init_date >= '2025-01-03'";
    let csv = recount(["query", &dest, count, "--as", "csv"]).run().succeeds();
    assert_eq!(csv.stdout, "n,first\n149,2025-01-04\n");
    let times = "SELECT forecast_init_time AS at FROM weather_forecast_stats ORDER BY at LIMIT 1";
    recount(["query", &dest, times, "--as", "csv"]).run().succeeds().stdout_has("2025-01-01T00:00:00.000000Z");
    let decay = "SELECT lead_hours, AVG(skill) AS skill FROM lead_scores GROUP BY lead_hours ORDER BY lead_hours";
    let lines = recount(["query", &dest, decay, "--as", "jsonl"]).run().succeeds();
    let first: serde_json::Value = serde_json::from_str(lines.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((lines.stdout.lines().count(), &first["lead_hours"]), (10, &24.into()));
    recount(["query", &dest, decay]).run().succeeds().stdout_has("lead_hours");
    let file = recount(["query", &dest, decay, "--as", "parquet", "--out", "decay.parquet"]).run().succeeds();
    assert!(std::fs::read(file.folder().join("decay.parquet")).unwrap().starts_with(b"PAR1"));
    let joined = "SELECT m.miner_uid, COUNT(*) AS n FROM miner_stats m JOIN lead_scores l ON l.miner_uid = m.miner_uid
                  WHERE m.miner_rank = 1 GROUP BY m.miner_uid";
    recount(["query", &dest, joined]).run().succeeds();
    recount(["query", &dest, "SELECT * FROM moon"]).run().ends_with(2).stderr_has("the tables are ");
}

#[test]
fn days_that_are_not_asked_for_are_not_read() {
    let (_folder, dest) = archived_sample();
    let whole = recount(["query", &dest, "SELECT COUNT(*) AS n FROM scores WHERE init_date = '2025-01-02'", "--as", "csv"]).run();
    // The last days lose their rows, and their footers with them.
    let days = files(&dest).into_keys().filter(|name| name.starts_with("scores/") && !name.contains("2025-01-0"));
    let damaged = days.map(|name| std::fs::write(std::path::Path::new(&dest).join(name), b"PAR1").unwrap()).count();
    assert!(damaged > 0);
    let one = "SELECT COUNT(*) AS n FROM scores WHERE init_date = '2025-01-02'";
    let pruned = recount(["query", &dest, one, "--as", "csv"]).run().succeeds();
    assert_eq!(pruned.stdout, whole.succeeds().stdout);
    recount(["query", &dest, "SELECT SUM(score) AS s FROM scores"]).run().ends_with(2);
}

#[test]
fn a_table_without_rows_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("a").to_str().unwrap().to_owned();
    let make = ["generate", "--runs", "1", "--miners", "2", "--seed", "1", "--no-components", "--out", "small"];
    let made = recount(make).run().succeeds();
    recount(["archive", made.folder().join("small").to_str().unwrap(), "--to", &dest]).run().succeeds();
    let asked = recount(["query", &dest, "SELECT COUNT(*) AS n FROM component_scores", "--as", "csv"]).run().succeeds();
    assert_eq!(asked.stdout, "n\n0\n");
}
