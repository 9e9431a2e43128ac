//! The circuit breaker on a database: exit status 3, nothing written, and the flag to pass is named.

use super::{at, drifted, dump, jobs};
use crate::support::{Database, database, recount};

fn refused(db: &Database, flags: &[&str], named: &str) {
    let before = dump(db);
    let args: Vec<&str> = ["reconcile", "--apply"].into_iter().chain(flags.iter().copied()).collect();
    at(&db.url(), &args).run().ends_with(3).stderr_has(named);
    assert_eq!((dump(db), jobs(db)), (before, "0".to_owned()));
}

#[test]
fn more_than_a_night_should_bring_is_refused() {
    let db = database();
    drifted(&db, 8, 16, 0);
    db.execute("UPDATE weather_forecast_stats SET forecast_score_initial = forecast_score_initial + 0.5 WHERE miner_uid < 8");
    let rows = db.psql("SELECT count(*) FROM weather_forecast_stats");
    assert!(rows.parse::<u32>().unwrap() > 100, "{rows} rows are too few for a share");

    refused(&db, &[], "--max-fraction");
    let most = ["--max-fraction", "1"];
    refused(&db, &[&most[..], &["--max-rows", "5"]].concat(), "--max-rows");
    refused(&db, &[&most[..], &["--max-abs-diff", "forecast_score_initial=0.25"]].concat(), "--max-abs-diff");
    let far = ["--max-abs-diff", "forecast_score_initial=0.75", "--max-abs-diff", "miner_stats.avg_day1_score=0"];
    at(&db.url(), &[&["reconcile", "--apply"][..], &most, &far].concat()).run().succeeds();
    assert_eq!(jobs(&db), "1");
}

#[test]
fn limits_mean_nothing_where_nothing_is_written() {
    recount(["reconcile", "data/sample", "--max-rows", "5"]).run().ends_with(2).stderr_has("--max-rows is about corrections");
    recount(["reconcile", "data/sample", "--apply", "--max-abs-diff", "no_such=1"]).run().ends_with(2);
    let folder = env!("CARGO_MANIFEST_DIR").to_owned() + "/data/sample";
    recount(["reconcile", &folder, "--apply"]).run().ends_with(2).stderr_has("recount apply");
}
