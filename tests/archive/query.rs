//! `recount query`.

use crate::support::recount;

use super::{archived_sample, files};

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
    recount(["query", &dest, "SELECT * FROM moon"]).run().ends_with(2).stderr_has("the tables are weather_forecast_stats");
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
