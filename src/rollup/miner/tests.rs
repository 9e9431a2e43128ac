//! M1–M10 and `unregistered_miner`, each by its rule. Expected cells are worked out by hand.

use super::*;
use crate::rollup::table::{assert_cells, assert_findings, history, lifetime, rules};

#[test]
fn m1_the_hotkey_of_the_newest_run() {
    let (miners, _) = lifetime(
        "run_id | init | hotkey
         3      | 10   | c
         9      | 20   | a
         8      | 20   | b
         4      | 19   | d",
    );
    assert_cells(&miners, "miner_uid | miner_hotkey\n 1 | a");
}

#[test]
fn m2_averages_extremes_and_deviation() {
    let (miners, _) = lifetime(
        "miner_uid | combined | completeness | day1
         1         | 0.25     | 0.5          | 0.5
         1         | 0.75     | 1            | -
         1         | -        | 0            | 0.25
         1         | -        | 0            | -
         2         | -        | 0.5          | -
         3         | 0.5      | 1            | 0",
    );
    // Miner 1: mean 0.5; squares 2 * 0.0625, by one: the root of 0.125.
    assert_cells(
        &miners,
        "miner_uid | avg_forecast_score | best_forecast_score | worst_forecast_score | score_std_dev       | avg_day1_score | avg_era5_score | avg_era5_completeness
         1         | 0.5                | 0.75                | 0.25                 | 0.3535533905932738  | 0.375          | 0.25           | 0.375
         2         | -                  | -                   | -                    | -                   | -              | 0.0            | 0.5
         3         | 0.5                | 0.5                 | 0.5                  | -                   | 0.0            | 0.5            | 1.0",
    );
}

#[test]
fn m3_successes_and_failures() {
    let (miners, _) = lifetime(
        "miner_uid | status
         1         | completed
         1         | completed
         1         | completed
         1         | failed
         2         | -
         2         | failed",
    );
    assert_cells(
        &miners,
        "miner_uid | successful_forecasts | failed_forecasts | forecast_success_ratio
         1         | 3                    | 1                | 0.75
         2         | 0                    | 1                | 0.0",
    );
}

#[test]
fn m4_hosting() {
    let (miners, _) = lifetime(
        "miner_uid | hosting      | latency
         1         | accessible   | 100
         1         | accessible   | 200
         1         | accessible   | -
         1         | accessible   | -
         1         | accessible   | -
         1         | inaccessible | -
         1         | timeout      | -
         1         | error        | -
         1         | -            | -
         2         | -            | -
         3         | timeout      | -",
    );
    assert_cells(
        &miners,
        "miner_uid | hosting_successes | hosting_failures | host_reliability_ratio | avg_hosting_latency_ms
         1         | 5                 | 3                | 0.625                  | 150.0
         2         | 0                 | 0                | 0.0                    | -
         3         | 0                 | 1                | 0.0                    | -",
    );
}

#[test]
fn m5_the_last_success_and_the_last_failure() {
    let (miners, _) = lifetime(
        "miner_uid | status    | end
         1         | completed | 10
         1         | completed | 30
         1         | completed | -
         1         | failed    | 20
         1         | failed    | 15
         1         | -         | 90
         2         | failed    | -",
    );
    assert_cells(&miners, "miner_uid | last_successful_forecast | last_failed_forecast\n 1 | 30 | 20\n 2 | - | -");
}

#[test]
fn m6_streaks_from_the_newest_run_back() {
    let (miners, _) = lifetime(
        "miner_uid | init | run_id | status
         1         | 50   | 9      | -
         1         | 40   | 8      | completed
         1         | 40   | 7      | completed
         1         | 30   | 2      | -
         1         | 20   | 5      | completed
         1         | 20   | 4      | failed
         1         | 10   | 6      | completed
         2         | 10   | 2      | failed
         2         | 10   | 1      | completed
         2         | 20   | 3      | failed
         3         | 10   | 1      | completed
         3         | 20   | 2      | completed
         4         | 10   | 1      | -",
    );
    assert_cells(
        &miners,
        "miner_uid | consecutive_successes | consecutive_failures
         1         | 3                     | 0
         2         | 0                     | 2
         3         | 2                     | 0
         4         | 0                     | 0",
    );
}

#[test]
fn m7_inference_time() {
    let (miners, _) = lifetime("miner_uid | seconds\n 1 | 10\n 1 | -\n 1 | 21\n 2 | -");
    assert_cells(&miners, "miner_uid | total_inference_time | avg_inference_time\n 1 | 31 | 15.5\n 2 | 0 | -");
}

#[test]
fn m8_the_five_most_frequent_errors_and_their_rate() {
    let kinds = ["f", "b", "a", "a", "c", "d", "e", "e", "g", "-", "-", "-", "-", "-", "-", "-"];
    let rows: String = kinds.iter().map(|kind| format!("1 | {kind}\n")).collect();
    let (miners, _) = lifetime(&format!("miner_uid | error\n{rows}2 | -"));
    // Nine of sixteen rows; of those with one error b, c and d come first by name.
    assert_cells(
        &miners,
        r#"miner_uid | common_errors                     | error_rate_by_type
         1         | {"a":2,"b":1,"c":1,"d":1,"e":2} | {"10day":0.5625}
         2         | -                                 | -"#,
    );
}

#[test]
fn m9_first_and_last_response() {
    let (miners, _) = lifetime("miner_uid | response\n 1 | 20\n 1 | 10\n 1 | -\n 1 | 15\n 2 | -");
    assert_cells(&miners, "miner_uid | first_seen | last_active\n 1 | 10 | 20\n 2 | - | -");
}

#[test]
fn m10_ranks_over_all_miners() {
    let (miners, _) = lifetime("miner_uid | combined\n 5 | 0.5\n 1 | 0.25\n 3 | -\n 2 | 0.5\n 1 | 0.5");
    assert_cells(&miners, "miner_uid | avg_forecast_score | miner_rank\n 1 | 0.375 | 3\n 2 | 0.5 | 1\n 3 | - | -\n 5 | 0.5 | 1");
}

#[test]
fn f_miners_that_are_not_registered_under_their_hotkey() {
    let mut first = FirstPass::default();
    for row in history("miner_uid | init | hotkey\n 1 | 1 | a\n 2 | 1 | b\n 3 | 1 | c\n 4 | 1 | d\n 4 | 2 | e") {
        first.absorb(row);
    }
    let node = |uid: i32, hotkey: Option<&str>| Node { uid: MinerUid(uid), hotkey: hotkey.map(str::to_owned) };
    let nodes = [node(1, Some("a")), node(2, None), node(4, Some("e")), node(9, Some("z"))];
    assert_findings(
        &first.unregistered(&nodes),
        "unregistered_miner | - | 2 | - | node_table | 2\n unregistered_miner | - | 3 | - | node_table | 3",
    );
}

#[test]
fn the_second_pass_takes_what_the_first_gave_back() {
    let mut first = FirstPass::default();
    let again: Vec<SecondPassRow> =
        history("init | run_id | combined | status\n 7 | 3 | 0.5 | failed").into_iter().map(|row| first.absorb(row)).collect();
    let expected =
        SecondPassRow { miner: MinerUid(1), init: Micros(7_000_000), run: RunId(3), combined: Some(0.5), success: Some(false) };
    assert_eq!(again, [expected]);
    let mut second = first.end();
    second.absorb(again[0]);
    assert_cells(&second.finish(&rules(|_| {})).0, "consecutive_failures\n 1");
}

#[test]
fn m2_the_deviation_is_that_of_two_passes_to_the_last_bit() {
    for scores in [[0.1, 0.3, 0.7], [0.123456789, 0.2, 0.87654321], [1.0 / 3.0, 2.0 / 3.0, 0.99]] {
        let rows: String = scores.iter().map(|score| format!("{score}\n")).collect();
        let (miners, _) = lifetime(&format!("combined\n{rows}"));
        assert_eq!(miners[0].score_std_dev, crate::rollup::exact::stddev(&scores), "{scores:?}");
    }
}

#[test]
fn a_branch_goes_on_from_the_sums_so_far() {
    let rows = history("run_id | init | combined\n 1 | 5 | 0.5\n 2 | 6 | 0.25");
    let (one, two) = (MinerUid(1), MinerUid(2));
    let (mut first, mut branch) = (FirstPass::default(), FirstPass::default());
    let mut again = vec![first.absorb(rows[0].clone())];
    assert!(first.has(one) && !first.has(two) && !branch.has(one));
    first.branch(one, &mut branch);
    assert!(branch.has(one) && !branch.has(two));
    again.push(branch.absorb(rows[1].clone()));
    // What has gone on already stays.
    first.branch(one, &mut branch);
    let mut second = branch.end();
    assert!(second.has(one) && !second.has(two));
    again.into_iter().for_each(|row| second.absorb(row));
    assert_cells(&second.finish(&rules(|_| {})).0, "avg_forecast_score\n 0.375");
}
