//! Each cause on a small run. Miner 1 is the suspect. Right: `era5_score_24h` is mean(clamp(skill)) of one variable.

use std::collections::BTreeSet;

use super::*;
use crate::rollup::table::{evidence, rules};
use crate::rollup::{Scratch, fold_unit};

const RESPONSES: &str = "
responses
id | miner_uid | time
1  | 1         | 10
2  | 2         | 10
";

/// What explains a stored number, with settings of [`rules`] changed.
fn cause_with(scores: &str, column: &str, stored: f64, change: fn(&mut Scoring)) -> Cause {
    let (rules, runs) = (rules(change), evidence(&format!("{RESPONSES}\n{scores}")));
    let fold = fold_unit(&runs, &rules, &mut Scratch::default());
    let run: Vec<&ForecastStat> = fold.stats.iter().map(|row| &row.stat).collect();
    let rows = rows_of(&runs[0], &rules, &BTreeSet::from([1]));
    let right = run.iter().find(|row| row.miner_uid == Some(1)).expect("miner 1 has a row");
    Suspect { rules: &rules, rows: &rows[&1], right, run: &run }.cause(column, stored)
}

fn cause(scores: &str, column: &str, stored: f64) -> Cause {
    cause_with(scores, column, stored, |_| {})
}

/// Leads of 0.4 and 0.7; combined (0.4 + 0.7) / 2.
const PLAIN: &str = "
scores
id | response_id | miner_uid | score_type              | lead_hours | calculation_time | score
1  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.4
2  | 1           | 1         | era5_skill_gfs_2t_48h   | 48         | 200              | 0.7
3  | 2           | 2         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.3
4  | 1           | 1         | day1_qc_score           | -          | 50               | 0.6
";

#[test]
fn digits_a_sum_in_another_order_single_precision_and_rounding() {
    assert_eq!(cause(PLAIN, "era5_combined_score", 0.55 + 2e-16), Cause::NaiveSum);
    assert_eq!(of_digits(f64::from(0.123_456_789_f64 as f32), 0.123_456_789), Some(Cause::SinglePrecision));
    assert_eq!(of_digits(0.1235, 0.123_456_789), Some(Cause::Rounded { digits: 4 }));
    assert_eq!(of_digits(0.12, 0.123_456_789), Some(Cause::Rounded { digits: 2 }));
    assert_eq!(of_digits(0.1236, 0.123_456_789), None);
    assert_eq!(of_digits(0.1, 0.123_456_789), None, "one digit may be chance");
}

#[test]
fn near_is_relative_to_the_greater_number() {
    assert!(near(0.5, 0.5 + 0.4 * LAST_BITS) && near(-0.5, -0.5 - 0.4 * LAST_BITS));
    assert!(!near(0.5, 0.5 + LAST_BITS) && !near(0.5, -0.5));
    assert!(near(1e6, 1e6 + 0.5e6 * LAST_BITS), "greater numbers have greater last bits");
}

#[test]
fn r3_with_another_divisor() {
    // (0.4 + 0.7) / 10, and the same in R4: 0.95 * 0.11 + 0.05.
    assert_eq!(cause(PLAIN, "era5_combined_score", (0.4 + 0.7) / 10.0), Cause::Denominator { leads: 10 });
    assert_eq!(cause(PLAIN, "overall_forecast_score", 0.95 * ((0.4 + 0.7) / 10.0) + 0.05), Cause::Denominator { leads: 10 });
    let partial = PLAIN.lines().filter(|line| !line.starts_with("2 ")).collect::<Vec<_>>().join("\n");
    // One scored lead of two expected: the mean over scored leads is the lead itself.
    assert_eq!(cause(&partial, "era5_combined_score", 0.4), Cause::Denominator { leads: 1 });
}

#[test]
fn right_once() {
    let later = "
scores
id | response_id | miner_uid | score_type              | lead_hours | calculation_time | score
1  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.4
2  | 1           | 1         | era5_skill_clim_2t_24h  | 24         | 300              | 0.7
3  | 1           | 1         | day1_qc_score           | -          | 50               | 0.25
4  | 1           | 1         | day1_qc_score           | -          | 60               | 0.75
";
    assert_eq!(cause(later, "era5_score_24h", 0.4), Cause::Stale { scores: 1 }, "before the second value");
    assert_eq!(cause(later, "era5_combined_score", 0.2), Cause::Stale { scores: 1 });
    assert_eq!(cause(later, "forecast_score_initial", 0.25), Cause::Stale { scores: 1 });
}

#[test]
fn i3_left_out() {
    let twice = "
scores
id | response_id | miner_uid | score_type              | lead_hours | calculation_time | score
1  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.25
2  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 200              | 0.7
3  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 300              | 0.9
";
    assert_eq!(cause(twice, "era5_score_24h", (0.25 + 0.7 + 0.9) / 3.0), Cause::Duplicates);
    assert_eq!(cause(twice, "era5_combined_score", (0.25 + 0.7 + 0.9) / 3.0 / 2.0), Cause::Duplicates);
    let components = "
components
id | response_id | miner_uid | score_type | lead_hours | variable_name | calculated_at | rmse
1  | 1           | 1         | era5       | 24         | 2t            | 100           | 2.5
2  | 1           | 1         | era5       | 24         | 2t            | 200           | 3.25
";
    assert_eq!(cause(components, "avg_rmse", (2.5 + 3.25) / 2.0), Cause::Duplicates);
    assert_eq!(cause(components, "avg_rmse", 2.5), Cause::Stale { scores: 1 });
}

#[test]
fn i2_i5_and_l1_left_out() {
    let aside = "
scores
id | response_id | miner_uid | score_type              | lead_hours | calculation_time | score
1  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.4
2  | 2           | 1         | era5_skill_clim_2t_24h  | 24         | 100              | 0.9
3  | 1           | 1         | era5_skill_gfs_zz_48h   | 48         | 100              | 0.7
4  | 1           | 1         | era5_skill_gfs_2t_72h   | 72         | 100              | 0.3
5  | 2           | 1         | day1_qc_score           | -          | 50               | 0.35
6  | 1           | 1         | day1_qc_score           | -          | 60               | 0.8
";
    assert_eq!(cause(aside, "era5_score_24h", (0.4 + 0.9) / 2.0), Cause::SetAside, "I2: an orphan");
    assert_eq!(cause(aside, "era5_combined_score", (0.4 + 0.3) / 2.0), Cause::SetAside, "I5: an unexpected lead");
    assert_eq!(
        cause(aside, "era5_combined_score", (0.4 + 0.7) / 2.0),
        Cause::SetAside,
        "I5 and L1: a variable, of a lead that is partial"
    );
    assert_eq!(cause(aside, "forecast_score_initial", 0.35), Cause::SetAside, "I2: an orphan");
    let two = |scoring: &mut Scoring| scoring.expected_variables.push("10u".into());
    assert_eq!(cause_with(PLAIN, "era5_score_24h", 0.4, two), Cause::SetAside, "L1: a partial lead");
    let infinite = PLAIN.replace("0.6", "-inf");
    assert_eq!(cause(&infinite, "forecast_score_initial", f64::NEG_INFINITY), Cause::SetAside, "I4");
}

#[test]
fn r4_with_other_settings() {
    let combined = (0.4 + 0.7) / 2.0;
    assert_eq!(cause(PLAIN, "overall_forecast_score", 0.8 * combined + 0.2), Cause::OtherWeights { era5: 0.8, day1: 0.2 });
    assert_eq!(cause(PLAIN, "overall_forecast_score", 0.95 * combined), Cause::OtherThreshold, "0.6 did not pass");
}

#[test]
fn the_value_of_a_neighbour() {
    assert_eq!(cause(PLAIN, "era5_score_24h", 0.3), Cause::OtherMiner { miner: 2 });
    assert_eq!(cause(PLAIN, "era5_combined_score", 0.15), Cause::OtherMiner { miner: 2 });
}

#[test]
fn what_nothing_explains_and_what_tells_nothing() {
    assert_eq!(cause(PLAIN, "era5_score_24h", 0.123_456), Cause::Unexplained);
    assert_eq!(cause(PLAIN, "era5_combined_score", 0.123_456), Cause::Unexplained, "at no moment");
    assert_eq!(cause(PLAIN, "forecast_score_initial", 0.0), Cause::Unexplained, "nothing was set aside");
    for stored in [0.0, 1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(cause(PLAIN, "era5_score_24h", stored), Cause::Unexplained, "{stored}");
    }
}

#[test]
fn r3_completeness_as_it_was() {
    assert_eq!(cause(PLAIN, "era5_completeness", 1.0 / 2.0), Cause::Stale { scores: 1 }, "before the second lead");
}

#[test]
fn what_rules_set_aside_is_no_part_of_what_was_right_once() {
    let aside = "
scores
id | response_id | miner_uid | score_type              | lead_hours | calculation_time | score
1  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.4
2  | 1           | 1         | era5_skill_clim_2t_24h  | 24         | 300              | 0.7
3  | 1           | 1         | era5_skill_gfs_zz_24h   | 24         | 50               | 0.9
4  | 1           | 1         | era5_skill_gfs_2t_72h   | 72         | 50               | 0.3
5  | 1           | 1         | era5_rmse_2t_24h        | 24         | 50               | -1
6  | 1           | 1         | era5_rmse_2t_48h        | 48         | 50               | 0
";
    assert_eq!(cause(aside, "era5_score_24h", 0.4), Cause::Stale { scores: 1 }, "I4 and I5");
    // L3: an rmse of 0 is a value; where the upper median is 0, the ratio is 1.
    assert_eq!(cause(aside, "era5_combined_score", (0.4 + 0.5) / 2.0), Cause::Stale { scores: 1 });
    let negative = aside.replace("| 0\n", "| -3\n");
    assert_eq!(cause(&negative, "era5_combined_score", 0.4 / 2.0), Cause::Stale { scores: 1 }, "I4: the lead has no value");
    let positive = aside.replace("| 0\n", "| 2\n");
    assert_eq!(cause(&positive, "era5_combined_score", (0.4 + 0.5) / 2.0), Cause::Stale { scores: 1 });
}

#[test]
fn l1_a_lead_that_has_an_unexpected_variable_alone() {
    let alone = "
scores
id | response_id | miner_uid | score_type              | lead_hours | calculation_time | score
1  | 1           | 1         | era5_skill_gfs_2t_24h   | 24         | 100              | 0.4
2  | 1           | 1         | era5_skill_gfs_zz_48h   | 48         | 100              | 0.7
";
    assert_eq!(cause(alone, "era5_combined_score", (0.4 + 0.7) / 2.0), Cause::SetAside);
}

#[test]
fn r2_the_latest_day1_score_of_several_identities() {
    // By the later one R4's check is passed, by the earlier one it is not.
    for (first, second) in [(60, 50), (50, 60)] {
        let (late, early) = if first > second { (1, 2) } else { (2, 1) };
        let score = |id| if id == late { 0.6 } else { 0.05 };
        let scores = format!(
            "
scores
id | response_id | miner_uid | score_type            | lead_hours | variable_level | calculation_time | score
1  | 1           | 1         | day1_qc_score         | -          | -              | {first}          | {}
2  | 1           | 1         | day1_qc_score         | -          | a              | {second}         | {}
3  | 1           | 1         | era5_skill_gfs_2t_24h | 24         | -              | 100              | 0.4
4  | 1           | 1         | era5_skill_gfs_2t_48h | 48         | -              | 300              | 0.7
",
            score(1),
            score(2)
        );
        let stored = 0.95 * (0.4 / 2.0) + 0.05;
        assert_eq!(cause(&scores, "overall_forecast_score", stored), Cause::Stale { scores: 1 }, "{early} is earlier");
    }
}

#[test]
fn r5_components_of_day1_and_how_many_came_later() {
    let twice = "
components
id | response_id | miner_uid | score_type | lead_hours | variable_name | calculated_at | rmse
1  | 1           | 1         | day1       | 24         | 2t            | 100           | 2.5
2  | 1           | 1         | day1       | 24         | 2t            | 200           | 3.25
";
    assert_eq!(cause(twice, "avg_rmse", (2.5 + 3.25) / 2.0), Cause::Duplicates);
    let later = "
components
id | response_id | miner_uid | score_type | lead_hours | variable_name | calculated_at | rmse
1  | 1           | 1         | era5       | 24         | 2t            | 100           | 2.5
2  | 1           | 1         | era5       | 48         | 2t            | 200           | 3.25
3  | 1           | 1         | era5       | 72         | 2t            | 300           | 4.75
4  | 2           | 1         | era5       | 96         | 2t            | 400           | 8.5
";
    assert_eq!(cause(later, "avg_rmse", 2.5), Cause::Stale { scores: 2 }, "the orphan never counts");
}
