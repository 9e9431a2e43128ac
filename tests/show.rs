//! `recount show`: where each difference and each finding is.

use crate::support::recount;
use crate::support::repository::root;

#[test]
fn a_diff_and_a_report_are_listed_row_by_row() {
    let sample = root().join("data/sample");
    let sample = sample.to_str().unwrap();
    let run = recount(["diff", sample, "--out", "tonight", "--report", "tonight.json"]).run().ends_with(1);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(run.folder().join("tonight.json")).unwrap()).unwrap();
    let show = |more: &[&str]| {
        let args = [&["show"], more, &["--format", "json"]].concat();
        recount(args).folder(run.folder()).run().succeeds().json()
    };
    let cells = |table: &str, class: &str| report["tables"][table]["cells"][class].as_u64().unwrap();
    let rows = |table: &str, class: &str| report["tables"][table]["rows"][class].as_u64().unwrap();
    let tables = ["miner_stats", "weather_forecast_stats"];
    let expected: u64 = tables
        .iter()
        .map(|table| {
            ["within", "drift", "unproven"].map(|class| cells(table, class)).iter().sum::<u64>()
                + rows(table, "missing")
                + rows(table, "extra")
        })
        .sum();
    let all = show(&["tonight", "--limit", "5"]);
    assert_eq!((all["count"].as_u64(), all["rows"].as_array().unwrap().len()), (Some(expected), 5));

    let of_miner = show(&["tonight", "--run", "1", "--miner", "7", "--column", "overall_forecast_score"]);
    assert_eq!(of_miner["count"], 1);
    assert_eq!(of_miner["rows"][0]["stored"], "0.3058304329177329");
    assert_eq!(of_miner["rows"][0]["cause"], "unexplained");

    let orphans = show(&["tonight.json", "--findings", "orphan_score"]);
    assert_eq!(
        (orphans["count"].as_u64(), orphans["complete"].as_bool()),
        (report["findings"]["orphan_score"].as_u64(), Some(true))
    );
    assert!(orphans["rows"][0]["row_id"].is_i64(), "{orphans:#}");
    let duplicates = show(&["tonight.json", "--findings", "duplicate_score"]);
    assert_eq!(duplicates["complete"], false, "a report has the first of each code");

    recount(["show", "tonight", "--findings", "orphan_score"])
        .folder(run.folder())
        .run()
        .ends_with(2)
        .stderr_has("holds no findings");
    recount(["show", "tonight.json", "--findings", "orphans"]).folder(run.folder()).run().ends_with(2).stderr_has("is no code");
    recount(["show", "nowhere"]).folder(run.folder()).run().ends_with(2).stderr_has("reading the report nowhere");
}
