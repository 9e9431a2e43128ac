//! Reports in files, what makes the exit status 1, what follows from what.

use serde_json::Value as Json;

use crate::support::repository::root;
use crate::support::{database, recount};

fn sample() -> String {
    root().join("data/sample").to_str().unwrap().to_owned()
}

#[test]
fn each_form_is_written_and_a_night_is_kept_beside_the_last() {
    let run = recount(["reconcile", &sample(), "--reports", "reports", "--report", "one.html", "--report", "two.json"])
        .run()
        .ends_with(1);
    let read = |path: &str| std::fs::read_to_string(run.folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    for form in ["txt", "json", "md", "html"] {
        let night = read(&format!("reports/2025-01-19T06-45-00.214992Z.{form}"));
        assert_eq!(night, read(&format!("reports/latest.{form}")));
        assert!(night.contains("DRIFT that reaches weights"), "{form}");
    }
    assert_eq!(read("reports/latest.html"), read("one.html"));
    let report: Json = serde_json::from_str(&read("two.json")).unwrap();
    assert_eq!((report["version"].as_u64(), report["in_sync"].as_bool()), (Some(2), Some(false)));
    assert!(run.stdout.starts_with(report["headline"].as_str().unwrap()), "{run}");

    let run = recount(["reconcile", &sample(), "--report", "one.pdf"]).run().ends_with(2);
    assert!(run.stdout.is_empty() && run.stderr.contains("ends in none of .txt, .json, .md, .html"), "{run}");
}

#[test]
fn what_fails_a_night_is_chosen() {
    for (what, status) in [
        ("drift", 1),
        ("scores", 1),
        ("unproven", 1),
        ("orphan_score", 1),
        ("error", 1),
        ("unexplained", 1),
        ("stale", 0),
        ("habit", 0),
        ("stale,within", 1),
        ("sometimes", 2),
    ] {
        recount(["reconcile", &sample(), "--quiet", "--fail-on", what]).run().ends_with(status);
    }
    let file = "fail_on = [\"stale\"]\n";
    recount(["reconcile", &sample(), "--quiet"]).file("recount.toml", file).run().succeeds();
}

#[test]
fn a_guard_that_stops_the_corrections_gives_the_whole_report() {
    let database = database();
    let url = database.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "4", "--miners", "6", "--seed", "2", "--drift", "9", "--database-url", &url]).run().succeeds();
    let args = ["reconcile", &url, "--apply", "--max-rows", "1", "--format", "json", "--report", "tonight.txt"];
    let run = recount(args).run().ends_with(3).stderr_has("max-rows");
    let report = run.json();
    assert!(report["refused"].as_str().unwrap().contains("rows"), "{run}");
    assert!(report["patterns"].as_array().unwrap().len() > 3, "{run}");
    let told = std::fs::read_to_string(run.folder().join("tonight.txt")).unwrap();
    assert!(told.starts_with("REFUSED: ") && told.contains("DRIFT"), "{told}");
    assert_eq!(database.rows("SELECT count(*)::text FROM recount.rollup_jobs"), [[Some("0".to_owned())]]);
}

/// M2 over the stored rows of the runs, by PostgreSQL's own arithmetic: such cells follow from the one that is wrong.
#[test]
fn lifetime_cells_made_of_a_wrong_run_row_follow_from_it() {
    let database = database();
    let url = database.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["generate", "--runs", "8", "--miners", "6", "--seed", "4", "--complete", "--database-url", &url]).run().succeeds();
    let reconcile = || recount(["reconcile", &url, "--format", "json"]).run();
    reconcile().succeeds();
    database.execute(
        "UPDATE weather_forecast_stats SET era5_combined_score = era5_combined_score / 2 WHERE run_id = 3 AND miner_uid = 2;
         UPDATE miner_stats SET (avg_forecast_score, avg_era5_score, worst_forecast_score, score_std_dev) = (
            SELECT avg(era5_combined_score), avg(era5_combined_score), min(era5_combined_score), stddev_samp(era5_combined_score)
            FROM weather_forecast_stats WHERE miner_uid = 2) WHERE miner_uid = 2",
    );
    let report = reconcile().ends_with(1).json();
    let scores = &report["groups"]["scores"];
    assert_eq!((scores["roots"].as_u64(), scores["follows"].as_u64()), (Some(1), Some(4)), "{:#}", report["patterns"]);
    assert!(report["headline"].as_str().unwrap().contains("cells follow from these"), "{report:#}");
    // A number that no stored row gives is wrong in itself.
    database.execute("UPDATE miner_stats SET best_forecast_score = 0.999 WHERE miner_uid = 2");
    let report = reconcile().ends_with(1).json();
    assert_eq!(report["groups"]["scores"]["roots"], 2, "{:#}", report["patterns"]);
}
