//! What is told of each column of a row: rule, value, expression, the columns that it rests on, the rows behind it. Worked out by hand
//! from the evidence below.

use crate::model::ids::MinerUid;
use crate::rollup::table::{evidence, rules};
use crate::rollup::{Scratch, fold_unit};

use super::*;

/// Two runs, so that what is of another run or another miner is seen where it is taken.
const EVIDENCE: &str = "
    runs
    id | init  | target
    1  | 0     | 864000
    2  | 21600 | 885600

    responses
    run_id | id  | miner_uid | status | verification_passed | inference_started_at | inference_completed_at
    1      | 101 | 1         | ok     | true                | 10                   | 40
    1      | 102 | 2         | other  | false               | 10                   | 50
    2      | 201 | 1         | other  | false               | 10                   | 60

    scores
    run_id | id | miner_uid | response_id | score_type            | variable_level | calculation_time | score
    1      | 1  | 1         | 101         | day1_qc_score         | -              | 5                | 0.5
    1      | 2  | 1         | 101         | day1_qc_score         | a              | 9                | 0.8
    1      | 3  | 1         | 101         | day1_qc_score         | b              | 10               | NaN
    1      | 4  | 1         | 101         | era5_skill_gfs_2t_24h | -              | 5                | 0.5
    1      | 5  | 1         | 101         | era5_acc_2t_24h       | -              | 5                | 0.5
    1      | 6  | 1         | 101         | era5_acc_2t_24h       | -              | 4                | 0.25
    1      | 7  | 1         | 101         | era5_skill_gfs_2t_72h | -              | 5                | 0.5
    1      | 8  | 1         | 101         | nonsense              | -              | 5                | 0.5
    1      | 9  | 2         | 102         | era5_skill_gfs_2t_24h | -              | 5                | 0.25
    2      | 10 | 1         | 201         | era5_skill_gfs_2t_24h | -              | 5                | 0.875

    legacy
    run_id | miner_uid | lead_hours | era5_score
    1      | 1         | 48         | 0.25
    1      | 2         | 48         | 0.5

    components
    run_id | id | miner_uid | response_id | score_type | lead_hours | rmse | acc | skill_score
    1      | 1  | 1         | 101         | era5       | 24         | 2    | NaN | 0.5
    1      | 2  | 1         | 101         | day1       | 24         | 4    | 0.5 | 0.5
    1      | 3  | 2         | 102         | day1       | 24         | 8    | 0.5 | -
    2      | 4  | 1         | 201         | era5       | 24         | 16   | 0.5 | 0.5

    steps
    run_id | id | miner_uid | step_name | substep    | lead_hours | status          | started_at | completed_at | next_retry_time | latency_ms | error_json
    1      | 1  | 1         | era5      | score      | 24         | succeeded       | 20         | 30           | -               | -          | -
    1      | 2  | 1         | query     | -          | -          | retry_scheduled | 40         | 50           | 2000000         | -          | timeout: slow
    1      | 3  | 1         | verify    | open_store | -          | succeeded       | 10         | 12           | -               | 7          | -
    1      | 4  | 1         | poll      | -          | -          | failed          | 60         | 70           | -               | -          | -
    1      | 5  | 2         | query     | -          | -          | failed          | 80         | 90           | -               | -          | -";

fn of(run: usize, miner: i32) -> Option<Vec<Explained>> {
    let (evidence, rules) = (evidence(EVIDENCE), rules(|_| {}));
    let fold = fold_unit(&evidence, &rules, &mut Scratch::default());
    explain(&evidence[run - 1], &fold, &rules, MinerUid(miner), &mut Scratch::default())
}

/// `rule name = value: how <- columns that it rests on [rows that count] (rows that don't, with their findings)`, and its parts below it.
fn told(explained: &Explained) -> String {
    let name = |row: &EvidenceRow| match row.id {
        Some(id) => format!("{} {id}", row.table.trim_start_matches("weather_")),
        None => {
            let cells: Vec<String> = row.cells.iter().map(|(_, cell)| cell.to_text().unwrap_or_default()).collect();
            format!("{} {}", row.table.trim_start_matches("weather_"), cells.join("/"))
        }
    };
    let counted: Vec<String> = explained.rows.iter().filter(|row| row.counts).map(name).collect();
    let aside = |row: &EvidenceRow| {
        let codes: Vec<&str> = row.findings.iter().map(|code| code.name()).collect();
        format!("{} {}", name(row), codes.join("+")).trim_end().to_owned()
    };
    let aside: Vec<String> = explained.rows.iter().filter(|row| !row.counts).map(aside).collect();
    let value = explained.value.to_text().unwrap_or_else(|| "-".to_owned());
    let mut text = format!("{} {} = {value}: {}", explained.rule, explained.name, explained.how);
    let lists = [("<-", explained.rests_on.join(", ")), ("by", counted.join(", ")), ("aside", aside.join(", "))];
    for (mark, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        text += &format!(" {mark} {list};");
    }
    explained.parts.iter().fold(text, |text, part| text + "\n  " + &told(part))
}

/// Holds all that is told of a row against lines.
#[track_caller]
fn assert_told(of: Option<Vec<Explained>>, expected: &str) {
    let told: Vec<String> = of.expect("a row").iter().map(told).collect();
    let found: Vec<&str> = told.iter().flat_map(|text| text.lines()).map(str::trim).collect();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn r_and_l_of_a_row_with_rows_of_every_kind() {
    assert_told(
        of(1, 1),
        "
        L4 era5_score_24h = 0.6000000000000001: clamp(0.6 * 0.5 + 0.4 * 0.75) aside miner_scores 6 duplicate_score;
        L2 skill = 0.5: mean of clamp(skill), 1 values by miner_scores 4;
        L2 acc = 0.75: mean of (acc + 1) / 2, 1 values by miner_scores 5;
        L era5_score_48h = 0.25: the score that was kept of a lead without scores by legacy_lead_scores 48/0.25;
        I8 miner_uid = 1: the key of the row
        R1 miner_hotkey = key1: that of the response, else of the step with the greatest id
        R6 miner_rank = 1: rank by era5_combined_score among the 2 scores of the run <- era5_combined_score; by forecast_stats 1/0.42500000000000004, forecast_stats 2/0.375;
        R1 forecast_run_id = forecast_19700101_00_to_19700111_00: from the run
        I8 run_id = 1: the key of the row
        R1 forecast_init_time = 1970-01-01T00:00:00.000000Z: from the run
        R7 forecast_status = completed: the first that holds: completed, failed, era5_scoring, day1_scored, input_received, pending <- era5_score_24h, era5_score_48h, forecast_score_initial; by miner_responses 101, forecast_steps 4;
        R8 current_forecast_stage = complete: completed, else from the latest step <- forecast_status; by forecast_steps 4;
        R8 current_forecast_status = completed: completed, else from the latest step <- forecast_status; by forecast_steps 4;
        R10 last_error_message = -: none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response <- forecast_status; by forecast_steps 2;
        R9 retries_remaining = 3: max_retries of the latest step less its retry_count, at least 0 by forecast_steps 4;
        R9 next_scheduled_retry = 1970-01-24T03:33:20.000000Z: the earliest next_retry_time of the steps in retry_scheduled by forecast_steps 2;
        R10 forecast_error_msg = -: none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response <- forecast_status; by forecast_steps 2;
        R2 forecast_score_initial = 0.8: the latest valid Day-1 score by miner_scores 2; aside miner_scores 1, miner_scores 3 invalid_score;
        R3 era5_combined_score = 0.42500000000000004: sum(0.6000000000000001, 0.25) / 2 expected leads <- era5_score_24h, era5_score_48h; aside miner_scores 7 unexpected_lead, miner_scores 8 unknown_score_type;
        R3 era5_completeness = 1.0: 2 / 2 <- era5_score_24h, era5_score_48h;
        R4 overall_forecast_score = 0.45375: clamp(0.95 * 0.42500000000000004 + 0.05 * 1), Day-1 score 0.8 ≥ 0.1 <- era5_combined_score, forecast_score_initial;
        R5 avg_rmse = 2.0: mean of rmse, 1 finite values of era5 component rows by forecast_component_scores 1; aside forecast_component_scores 2;
        R5 avg_acc = -: mean of acc, 0 finite values of era5 component rows aside forecast_component_scores 1, forecast_component_scores 2;
        R5 avg_skill_score = 0.5: mean of skill_score, 1 finite values of era5 component rows by forecast_component_scores 1; aside forecast_component_scores 2;
        R12 forecast_inference_duration_seconds = 30: whole seconds from inference_started_at to inference_completed_at by miner_responses 101;
        R11 hosting_status = accessible: from the latest finished probe of the store, else from verification_passed by forecast_steps 3;
        R11 hosting_latency_ms = 7: from the latest finished probe of the store, else from verification_passed by forecast_steps 3;
        ",
    );
}

#[test]
fn r_and_l_of_a_miner_without_a_day1_score() {
    assert_told(
        of(1, 2),
        "
        L4 era5_score_24h = 0.25: clamp(0.25)
        L2 skill = 0.25: mean of clamp(skill), 1 values by miner_scores 9;
        L era5_score_48h = 0.5: the score that was kept of a lead without scores by legacy_lead_scores 48/0.5;
        I8 miner_uid = 2: the key of the row
        R1 miner_hotkey = key2: that of the response, else of the step with the greatest id
        R6 miner_rank = 2: rank by era5_combined_score among the 2 scores of the run <- era5_combined_score; by forecast_stats 1/0.42500000000000004, forecast_stats 2/0.375;
        R1 forecast_run_id = forecast_19700101_00_to_19700111_00: from the run
        I8 run_id = 1: the key of the row
        R1 forecast_init_time = 1970-01-01T00:00:00.000000Z: from the run
        R7 forecast_status = completed: the first that holds: completed, failed, era5_scoring, day1_scored, input_received, pending <- era5_score_24h, era5_score_48h, forecast_score_initial; by miner_responses 102, forecast_steps 5;
        R8 current_forecast_stage = complete: completed, else from the latest step <- forecast_status; by forecast_steps 5;
        R8 current_forecast_status = completed: completed, else from the latest step <- forecast_status; by forecast_steps 5;
        R10 last_error_message = -: none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response <- forecast_status; by miner_responses 102;
        R9 retries_remaining = 3: max_retries of the latest step less its retry_count, at least 0 by forecast_steps 5;
        R9 next_scheduled_retry = -: the earliest next_retry_time of the steps in retry_scheduled
        R10 forecast_error_msg = -: none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response <- forecast_status; by miner_responses 102;
        R2 forecast_score_initial = -: the latest valid Day-1 score
        R3 era5_combined_score = 0.375: sum(0.25, 0.5) / 2 expected leads <- era5_score_24h, era5_score_48h;
        R3 era5_completeness = 1.0: 2 / 2 <- era5_score_24h, era5_score_48h;
        R4 overall_forecast_score = 0.35624999999999996: clamp(0.95 * 0.375 + 0.05 * 0), no Day-1 score <- era5_combined_score, forecast_score_initial;
        R5 avg_rmse = 8.0: mean of rmse, 1 finite values of day1 component rows by forecast_component_scores 3;
        R5 avg_acc = 0.5: mean of acc, 1 finite values of day1 component rows by forecast_component_scores 3;
        R5 avg_skill_score = -: mean of skill_score, 0 finite values of day1 component rows aside forecast_component_scores 3;
        R12 forecast_inference_duration_seconds = 40: whole seconds from inference_started_at to inference_completed_at by miner_responses 102;
        R11 hosting_status = inaccessible: from the latest finished probe of the store, else from verification_passed by miner_responses 102;
        R11 hosting_latency_ms = -: from the latest finished probe of the store, else from verification_passed by miner_responses 102;
        ",
    );
}

#[test]
fn a_row_has_what_its_column_looks_at() {
    let all = of(1, 2).unwrap();
    let cells = |column: &str| -> Vec<&str> {
        let explained = all.iter().find(|explained| explained.name == column).unwrap();
        explained.rows[0].cells.iter().map(|(name, _)| *name).collect()
    };
    assert_eq!(cells("avg_rmse"), ["score_type", "lead_hours", "variable_name", "pressure_level", "calculated_at", "rmse"]);
    assert_eq!(cells("forecast_inference_duration_seconds"), ["inference_started_at", "inference_completed_at"]);
    assert_eq!(cells("forecast_status"), ["status"]);
    assert_eq!(cells("hosting_status"), ["verification_passed"]);
}

#[test]
fn r_and_l_of_a_run_that_is_not_over() {
    assert_told(
        of(2, 1),
        "
        L4 era5_score_24h = 0.875: clamp(0.875)
        L2 skill = 0.875: mean of clamp(skill), 1 values by miner_scores 10;
        L1 era5_score_48h = -: no score is left
        I8 miner_uid = 1: the key of the row
        R1 miner_hotkey = key1: that of the response, else of the step with the greatest id
        R6 miner_rank = 1: rank by era5_combined_score among the 1 scores of the run <- era5_combined_score; by forecast_stats 1/0.4375;
        R1 forecast_run_id = forecast_19700101_06_to_19700111_06: from the run
        I8 run_id = 2: the key of the row
        R1 forecast_init_time = 1970-01-01T06:00:00.000000Z: from the run
        R7 forecast_status = era5_scoring: the first that holds: completed, failed, era5_scoring, day1_scored, input_received, pending <- era5_score_24h, era5_score_48h, forecast_score_initial; by miner_responses 201;
        R8 current_forecast_stage = era5_scoring: completed, else from the latest step <- forecast_status;
        R8 current_forecast_status = -: completed, else from the latest step <- forecast_status;
        R10 last_error_message = -: none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response <- forecast_status; by miner_responses 201;
        R9 retries_remaining = 3: max_retries of the latest step less its retry_count, at least 0
        R9 next_scheduled_retry = -: the earliest next_retry_time of the steps in retry_scheduled
        R10 forecast_error_msg = -: none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response <- forecast_status; by miner_responses 201;
        R2 forecast_score_initial = -: the latest valid Day-1 score
        R3 era5_combined_score = 0.4375: sum(0.875) / 2 expected leads <- era5_score_24h, era5_score_48h;
        R3 era5_completeness = 0.5: 1 / 2 <- era5_score_24h, era5_score_48h;
        R4 overall_forecast_score = 0.41562499999999997: clamp(0.95 * 0.4375 + 0.05 * 0), no Day-1 score <- era5_combined_score, forecast_score_initial;
        R5 avg_rmse = 16.0: mean of rmse, 1 finite values of era5 component rows by forecast_component_scores 4;
        R5 avg_acc = 0.5: mean of acc, 1 finite values of era5 component rows by forecast_component_scores 4;
        R5 avg_skill_score = 0.5: mean of skill_score, 1 finite values of era5 component rows by forecast_component_scores 4;
        R12 forecast_inference_duration_seconds = 50: whole seconds from inference_started_at to inference_completed_at by miner_responses 201;
        R11 hosting_status = inaccessible: from the latest finished probe of the store, else from verification_passed by miner_responses 201;
        R11 hosting_latency_ms = -: from the latest finished probe of the store, else from verification_passed by miner_responses 201;
        ",
    );
    assert!(of(2, 2).is_none(), "the miner has no row in this run");
}

/// What is told of one column of miner 1, with two expected variables, and two miners that have answered.
fn one(tables: &str, column: &str) -> String {
    let rules = rules(|scoring| scoring.expected_variables = vec!["2t".into(), "msl".into()]);
    let evidence = evidence(&format!("responses\n miner_uid\n 1\n 2\n\n{tables}"));
    let fold = fold_unit(&evidence, &rules, &mut Scratch::default());
    let all = explain(&evidence[0], &fold, &rules, MinerUid(1), &mut Scratch::default()).expect("a row");
    told(all.iter().find(|explained| explained.name == column).expect("a column"))
}

#[test]
fn l1_a_partial_lead_and_l3_the_upper_median() {
    let partial = "scores
        id | score_type            | score
        1  | era5_skill_gfs_2t_24h | 0.5
        2  | era5_rmse_2t_48h      | 2
        3  | era5_rmse_msl_48h     | 6";
    assert_eq!(
        one(partial, "era5_score_24h"),
        "L1 era5_score_24h = -: partial: an expected variable has no score, so the lead counts as missing\n  \
         L2 skill = 0.5: mean of clamp(skill), 1 values by miner_scores 1;"
    );
    // The upper median is 6: (1 / (1 + 2/6) + 1 / (1 + 1)) / 2 = (0.75 + 0.5) / 2.
    assert_eq!(
        one(partial, "era5_score_48h"),
        "L4 era5_score_48h = 0.625: clamp(0.625)\n  \
         L3 rmse = 0.625: mean of 1 / (1 + rmse / the upper median of rmse), 2 values by miner_scores 2, miner_scores 3;"
    );
    assert_eq!(one(partial, "era5_completeness"), "R3 era5_completeness = 0.5: 1 / 2 <- era5_score_24h, era5_score_48h;");
}

#[test]
fn l4_the_expression_of_three_parts() {
    let three = "scores
        id | score_type             | score
        1  | era5_skill_gfs_2t_24h  | 0.5
        2  | era5_skill_gfs_msl_24h | 0.5
        3  | era5_acc_2t_24h        | 0.5
        4  | era5_rmse_2t_24h       | 2";
    let told = one(three, "era5_score_24h");
    assert!(told.starts_with("L4 era5_score_24h = 0.575: clamp(0.6 * 0.5 + 0.3 * 0.75 + 0.1 * 0.5)\n"), "{told}");
}

#[test]
fn r4_below_the_threshold_and_neither_score() {
    let below = "scores
        id | score_type    | score
        1  | day1_qc_score | 0.05";
    assert_eq!(
        one(below, "overall_forecast_score"),
        "R4 overall_forecast_score = 0.0: clamp(0.95 * 0 + 0.05 * 0), Day-1 score 0.05 < 0.1 \
         <- era5_combined_score, forecast_score_initial;"
    );
    let at_the_threshold = below.replace("0.05", "0.1");
    assert_eq!(
        one(&at_the_threshold, "overall_forecast_score"),
        "R4 overall_forecast_score = 0.05: clamp(0.95 * 0 + 0.05 * 1), Day-1 score 0.1 ≥ 0.1 \
         <- era5_combined_score, forecast_score_initial;"
    );
    let none = "";
    assert_eq!(
        one(none, "overall_forecast_score"),
        "R4 overall_forecast_score = -: neither a Day-1 score nor a scored lead <- era5_combined_score, forecast_score_initial;"
    );
    assert_eq!(
        one(none, "era5_combined_score"),
        "R3 era5_combined_score = -: no lead is scored <- era5_score_24h, era5_score_48h;"
    );
    assert_eq!(
        one(none, "miner_rank"),
        "R6 miner_rank = -: rank by era5_combined_score among the 0 scores of the run <- era5_combined_score;"
    );
}

#[test]
fn r6_scores_of_the_run_the_best_first() {
    let scores = "scores
        id | miner_uid | score_type            | score
        1  | 1         | era5_skill_gfs_2t_24h | 0.5
        2  | 1         | era5_skill_gfs_msl_24h | 0.5
        3  | 2         | era5_skill_gfs_2t_24h | 0.75
        4  | 2         | era5_skill_gfs_msl_24h | 0.75";
    assert_eq!(
        one(scores, "miner_rank"),
        "R6 miner_rank = 2: rank by era5_combined_score among the 2 scores of the run <- era5_combined_score; \
         by forecast_stats 2/0.375, forecast_stats 1/0.25;"
    );
}
