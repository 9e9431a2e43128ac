//! R1–R7, L1 and legacy scores, M5, D1 and the findings of a row, each by its rule. Expected cells are worked out by hand.

use super::*;
use crate::rollup::table::{assert_cells, assert_findings, at, fold, fold_with};

fn stats(fold: &UnitFold) -> impl Iterator<Item = &ForecastStat> {
    fold.stats.iter().map(|placed| &placed.stat)
}

#[test]
fn r1_ids_times_and_the_hotkey() {
    let fold = fold(
        "runs
         id | init  | target
         7  | 21600 | 885600

         responses
         run_id | miner_uid | miner_hotkey
         7      | 1         | 5Own

         steps
         run_id | id | miner_uid | miner_hotkey | step_name
         7      | 8  | 1         | 5Step        | query
         7      | 3  | 2         | 5Three       | query
         7      | 9  | 2         | 5Nine        | poll
         7      | 4  | 2         | 5Four        | verify",
    );
    assert_cells(
        stats(&fold),
        "run_id | miner_uid | miner_hotkey | forecast_run_id                         | forecast_init_time
         7      | 1         | 5Own         | forecast_19700101_06_to_19700111_06     | 21600
         7      | 2         | 5Nine        | forecast_19700101_06_to_19700111_06     | 21600",
    );
}

#[test]
fn r2_the_latest_valid_day1_score_of_several_identities() {
    let fold = fold(
        "responses
         miner_uid
         1
         2

         scores
         id | miner_uid | score_type    | variable_level | calculation_time | score
         1  | 1         | day1_qc_score | -              | 5                | 0.3
         3  | 1         | day1_qc_score | a              | 9                | 0.4
         2  | 1         | day1_qc_score | b              | 9                | 0.8
         4  | 1         | day1_qc_score | c              | 10               | NaN
         5  | 2         | day1_qc_score | -              | 5                | -",
    );
    assert_cells(stats(&fold), "miner_uid | forecast_score_initial\n 1 | 0.4\n 2 | -");
}

#[test]
fn r3_the_sum_over_scored_leads_by_the_number_of_expected_ones() {
    let fold = fold(
        "responses
         miner_uid
         1
         2
         3

         scores
         miner_uid | score_type            | score
         1         | era5_skill_gfs_2t_24h | 0.75
         1         | era5_skill_gfs_2t_48h | 0.25
         2         | era5_skill_gfs_2t_48h | 0.5",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | era5_combined_score | era5_completeness
         1         | 0.5                 | 1.0
         2         | 0.25                | 0.5
         3         | -                   | 0.0",
    );
}

#[test]
fn r4_weights_are_divided_by_their_sum_and_the_threshold_passes() {
    let fold = fold_with(
        "responses
         miner_uid
         1
         2
         3
         4
         5

         scores
         miner_uid | score_type            | score
         1         | era5_skill_gfs_2t_24h | 0.5
         1         | day1_qc_score         | 0.25
         2         | era5_skill_gfs_2t_24h | 0.5
         2         | day1_qc_score         | 0.125
         4         | day1_qc_score         | 0.5
         5         | era5_skill_gfs_2t_24h | 0.5",
        |scoring| (scoring.era5_weight, scoring.day1_weight, scoring.day1_pass_threshold) = (3.0, 1.0, 0.25),
    );
    // 0.75 * 0.25 + 0.25 * 1; 0.75 * 0.25; nothing; 0.25 * 1; 0.75 * 0.25
    assert_cells(stats(&fold), "miner_uid | overall_forecast_score\n 1 | 0.4375\n 2 | 0.1875\n 3 | -\n 4 | 0.25\n 5 | 0.1875");
}

#[test]
fn r6_ranks_within_the_run() {
    let tables = "responses
         miner_uid
         1
         2
         3
         4
         5

         scores
         miner_uid | score_type            | score
         1         | era5_skill_gfs_2t_24h | 0.5
         3         | era5_skill_gfs_2t_24h | 1
         4         | era5_skill_gfs_2t_24h | 0.5
         5         | era5_skill_gfs_2t_24h | 0.25";
    assert_cells(stats(&fold(tables)), "miner_uid | miner_rank\n 1 | 2\n 2 | -\n 3 | 1\n 4 | 2\n 5 | 4");
    let dense = fold_with(tables, |scoring| scoring.rank_method = crate::model::settings::RankMethod::Dense);
    assert_cells(stats(&dense), "miner_uid | miner_rank\n 1 | 2\n 2 | -\n 3 | 1\n 4 | 2\n 5 | 3");
}

#[test]
fn r7_the_first_status_that_holds() {
    let fold = fold(
        "responses
         miner_uid | status
         1         | failed
         2         | error
         3         | received
         4         | received
         5         | received
         6         | verified

         scores
         miner_uid | score_type            | score
         1         | era5_skill_gfs_2t_24h | 0.5
         1         | era5_skill_gfs_2t_48h | 0.5
         2         | era5_skill_gfs_2t_48h | 0.5
         3         | era5_skill_gfs_2t_48h | 0.5
         4         | era5_skill_gfs_2t_48h | 0
         4         | day1_qc_score         | 0.5
         5         | day1_qc_score         | 0

         steps
         miner_uid | step_name | status
         3         | verify    | failed
         7         | query     | pending
         8         | query     | failed",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | forecast_status
         1         | completed
         2         | failed
         3         | failed
         4         | era5_scoring
         5         | day1_scored
         6         | input_received
         7         | pending
         8         | failed",
    );
}

#[test]
fn r7_a_superseded_failure_does_not_fail() {
    let fold = fold(
        "responses
         miner_uid
         1
         2
         3

         steps
         miner_uid | step_name | substep | lead_hours | status    | completed_at
         1         | verify    | hash    | -          | failed    | 10
         1         | verify    | store   | 0          | succeeded | 11
         2         | verify    | hash    | -          | failed    | 12
         2         | verify    | store   | -          | succeeded | 11
         3         | verify    | hash    | -          | failed    | 10
         3         | query     | hash    | -          | succeeded | 11",
    );
    assert_cells(stats(&fold), "miner_uid | forecast_status\n 1 | input_received\n 2 | failed\n 3 | failed");
}

#[test]
fn l1_scored_partial_or_without_a_row() {
    let fold = fold_with(
        "responses
         miner_uid
         1
         2

         scores
         score_type             | score
         era5_skill_gfs_2t_24h  | 0.5
         era5_rmse_q_24h        | 2
         era5_acc_2t_48h        | 0.5",
        |scoring| scoring.expected_variables = vec!["2t".into(), "q".into()],
    );
    // 48 h has no value of q: its parts are there, its score is not. Alone, a skill of 0.5 stands against an RMSE of 2: 0.5.
    assert_cells(
        &fold.lead_scores,
        "run_id | miner_uid | lead_hours | scored | era5_score | skill | acc  | rmse
         1      | 1         | 24         | true   | 0.5        | 0.5   | -    | 0.5
         1      | 1         | 48         | false  | -          | -     | 0.75 | -",
    );
    assert_findings(&fold.findings, "partial_lead | 1 | 1 | 48 | weather_miner_scores | -");
    assert_eq!(fold.stats[0].stat.wide, [Some(0.5), None]);
    assert_eq!(fold.stats[1].stat.wide, [None, None]);
}

#[test]
fn l1_a_legacy_score_counts_where_nothing_was_measured() {
    let fold = fold_with(
        "responses
         miner_uid
         1
         2
         4

         scores
         miner_uid | score_type            | score
         1         | era5_skill_gfs_2t_24h | 0.5
         2         | era5_skill_gfs_2t_24h | 0.5
         2         | era5_skill_gfs_q_24h  | 0.25

         legacy
         miner_uid | lead_hours | era5_score
         1         | 24         | 0.75
         1         | 48         | 0.125
         1         | 72         | 0.75
         2         | 24         | 0.75
         2         | 48         | 0.25
         4         | 24         | NaN
         3         | 24         | 0.75

         steps
         miner_uid | step_name | substep | lead_hours
         1         | era5      | score   | 48",
        |scoring| scoring.expected_variables = vec!["2t".into(), "q".into()],
    );
    assert_cells(
        &fold.lead_scores,
        "miner_uid | lead_hours | scored | era5_score | skill
         1         | 24         | false  | -          | 0.5
         1         | 48         | true   | 0.125      | -
         2         | 24         | true   | 0.375      | 0.375
         2         | 48         | true   | 0.25       | -",
    );
    // A legacy score needs no step, and its lead is scored.
    assert_findings(
        &fold.findings,
        "partial_lead       | 1 | 1 | 24 | weather_miner_scores | -
         score_without_step | 1 | 2 | 24 | weather_miner_scores | -",
    );
}

#[test]
fn m5_end_times_of_completed_and_failed_rows() {
    let fold = fold(
        "responses
         miner_uid | status   | response_time
         1         | received | 1
         2         | received | 2
         3         | failed   | 3
         4         | received | 4

         scores
         miner_uid | score_type            | calculation_time
         1         | era5_skill_gfs_2t_24h | 30
         1         | era5_acc_2t_48h       | 20
         1         | day1_qc_score         | 90
         1         | era5_acc_2t_72h       | 95

         steps
         miner_uid | step_name | substep | status | started_at | completed_at
         2         | verify    | a       | failed | 40         | 50
         2         | verify    | b       | failed | 60         | -
         2         | poll      | -       | succeeded | 99      | -",
    );
    let ends: Vec<_> = fold.history.iter().map(|row| (row.miner.0, row.success, row.end)).collect();
    let expected =
        [(1, Some(true), Some(at(30.0))), (2, Some(false), Some(at(60.0))), (3, Some(false), Some(at(3.0))), (4, None, None)];
    assert_eq!(ends, expected);
}

#[test]
fn d1_the_greatest_run_has_the_place() {
    let fold = fold(
        "runs
         id
         4
         5

         responses
         run_id | miner_uid
         4      | 1
         4      | 2
         5      | 1",
    );
    let placed: Vec<_> = fold.stats.iter().map(|row| (row.stat.run_id, row.stat.miner_uid, row.placed)).collect();
    assert_eq!(placed, [(Some(4), Some(1), false), (Some(4), Some(2), true), (Some(5), Some(1), true)]);
    let history: Vec<_> = fold.history.iter().map(|row| (row.run.0, row.miner.0)).collect();
    assert_eq!(history, [(4, 2), (5, 1)]);
    assert_findings(&fold.findings, "forecast_run_id_collision | 4 | 1 | - | weather_forecast_stats | -");
    assert_eq!(fold.findings[0].detail, "forecast_19700101_00_to_19700101_00, place of run 5");
    // A run's own row of the subnet is over all its rows.
    assert_cells(&fold.subnet, "scope | run_id | miners\n run | 4 | 2\n run | 5 | 1");
}

#[test]
fn f_scores_without_steps_and_steps_without_scores() {
    let scores = "responses
         miner_uid
         1

         scores
         score_type
         era5_acc_2t_24h
         era5_acc_2t_48h";
    let steps = "steps
         id | step_name | substep | lead_hours | status
         1  | era5      | score   | 24         | succeeded
         2  | era5      | score   | 48         | failed
         3  | era5      | load    | 48         | succeeded
         4  | era5      | score   | 72         | succeeded
         5  | era5      | score   | 0          | succeeded
         6  | era5      | score   | -          | succeeded
         7  | day1      | score   | 96         | succeeded";
    assert_findings(
        &fold(&format!("{scores}\n\n{steps}")).findings,
        "score_without_step | 1 | 1 | 48 | weather_miner_scores   | -
         step_without_score | 1 | 1 | 72 | weather_forecast_steps | 4",
    );
    // Only in runs where a miner's step named era5 exists.
    assert_findings(&fold(scores).findings, "");
}

#[test]
fn f_a_negative_duration_names_its_response() {
    let fold = fold(
        "responses
         miner_uid | inference_started_at | inference_completed_at
         1         | 20                   | 10
         2         | 10                   | 20",
    );
    assert_findings(&fold.findings, "negative_duration | 1 | 1 | - | weather_miner_responses | 101");
    assert_cells(stats(&fold), "miner_uid | forecast_inference_duration_seconds\n 1 | -\n 2 | 10");
}

#[test]
fn what_the_lifetime_takes_of_a_row() {
    let fold = fold(
        "responses
         miner_uid | response_time | inference_started_at | inference_completed_at | error_message
         1         | 7             | 10                   | 20                     | timeout: slow

         scores
         score_type            | score
         era5_skill_gfs_2t_24h | 0.5
         day1_qc_score         | 0.75

         steps
         step_name | substep    | latency_ms
         verify    | open_store | 30",
    );
    let row = &fold.history[0];
    assert_eq!((row.run.0, row.init, row.miner.0, row.hotkey.as_str()), (1, at(0.0), 1, "key1"));
    assert_eq!((row.combined, row.completeness, row.day1), (Some(0.25), 0.5, Some(0.75)));
    assert_eq!((row.hosting.map(|h| h.name()), row.latency_ms, row.inference_seconds), (Some("accessible"), Some(30), Some(10)));
    assert_eq!((row.error_type.as_deref(), row.response_time), (Some("timeout"), Some(at(7.0))));
}

#[test]
fn r1_the_response_with_the_latest_id_where_a_table_has_two() {
    let fold = fold(
        "responses
         id  | miner_uid | miner_hotkey
         105 | 1         | 5Late
         101 | 1         | 5Early
         102 | 2         | 5Early
         106 | 2         | 5Late",
    );
    assert_cells(stats(&fold), "miner_uid | miner_hotkey\n 1 | 5Late\n 2 | 5Late");
}

/// Rows of miners are taken side by side where they are alike: what differs in one must be seen.
#[test]
fn i4_and_f_of_miners_whose_rows_are_alike_but_for_one() {
    let scores = "
         scores
         id | miner_uid | score_type            | miner_hotkey | score
         1  | 1         | era5_skill_gfs_2t_24h | key1         | 0.5
         2  | 1         | era5_skill_gfs_2t_48h | key1         | 0.5
         3  | 2         | era5_skill_gfs_2t_24h | key2         | 0.25
         4  | 2         | era5_skill_gfs_2t_48h | key2         | 0.25
         5  | 2         | day1_qc_score         | key2         | 0.75
         6  | 3         | era5_skill_gfs_2t_24h | key3         | 0.125
         7  | 3         | era5_skill_gfs_2t_48h | other        | 0.125
         8  | 4         | era5_skill_gfs_2t_24h | key4         | 0.125
         9  | 4         | era5_skill_gfs_2t_48h | key4         | -";
    let fold = fold(&format!("responses\n miner_uid\n 1\n 2\n 3\n 4\n\n{scores}"));
    assert_cells(
        stats(&fold),
        "miner_uid | era5_combined_score | forecast_score_initial
         1         | 0.5                 | -
         2         | 0.25                | 0.75
         3         | 0.125               | -
         4         | 0.0625              | -",
    );
    let told: Vec<_> = fold.findings.iter().map(|found| (found.code.name(), found.row_id)).collect();
    assert_eq!(told, [("hotkey_changed", Some(7)), ("invalid_score", Some(9))]);
}
