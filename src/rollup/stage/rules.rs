//! R8–R12 by their rules. Expected cells are worked out by hand.

use crate::model::rollups::ForecastStat;
use crate::rollup::UnitFold;
use crate::rollup::table::{assert_cells, fold, fold_with};

fn stats(fold: &UnitFold) -> impl Iterator<Item = &ForecastStat> {
    fold.stats.iter().map(|placed| &placed.stat)
}

#[test]
fn r8_the_stage_of_the_latest_step() {
    let fold = fold(
        "responses
         miner_uid
         1
         2

         scores
         miner_uid | score_type
         1         | era5_acc_2t_24h
         1         | era5_acc_2t_48h

         steps
         miner_uid | step_name | lead_hours
         1         | query     | -
         3         | era5      | 48
         4         | era5      | 0
         5         | era5      | -
         6         | day1      | -
         7         | verify    | 24
         8         | query     | -
         9         | poll      | -
         10        | inference | -
         11        | archive   | -",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | current_forecast_stage
         1         | complete
         2         | input_received
         3         | era5_scoring_48h
         4         | era5_scoring
         5         | era5_scoring
         6         | day1_scoring
         7         | verification
         8         | inference_requested
         9         | inference_running
         10        | inference_running
         11        | archive",
    );
}

#[test]
fn r8_the_status_of_the_latest_step() {
    let fold = fold(
        "responses
         miner_uid
         1
         2

         scores
         miner_uid | score_type
         1         | era5_acc_2t_24h
         1         | era5_acc_2t_48h

         steps
         miner_uid | step_name | status
         1         | query     | failed
         3         | query     | pending
         4         | query     | in_progress
         5         | query     | succeeded
         6         | query     | failed
         7         | query     | retry_scheduled
         8         | query     | skipped",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | current_forecast_status
         1         | completed
         2         | -
         3         | initialized
         4         | in_progress
         5         | completed
         6         | error
         7         | waiting_retry
         8         | skipped",
    );
}

#[test]
fn r8_latest_is_by_completion_else_start_then_id() {
    let fold = fold(
        "steps
         id | miner_uid | step_name | started_at | completed_at
         1  | 1         | a         | 10         | 30
         2  | 1         | b         | 29         | -
         3  | 1         | c         | -          | -
         5  | 2         | a         | 10         | -
         4  | 2         | b         | -          | 10
         6  | 3         | a         | -          | -
         7  | 3         | b         | -          | -",
    );
    assert_cells(stats(&fold), "miner_uid | current_forecast_stage\n 1 | a\n 2 | a\n 3 | b");
}

#[test]
fn r9_retries_left_and_the_next_one() {
    let fold = fold_with(
        "responses
         miner_uid
         1

         steps
         id | miner_uid | step_name | substep | status          | started_at | retry_count | next_retry_time
         1  | 2         | query     | a       | retry_scheduled | 10         | 1           | 500
         2  | 2         | verify    | -       | retry_scheduled | 20         | 2           | 400
         3  | 2         | query     | b       | failed          | 5          | 0           | 100
         4  | 3         | verify    | -       | succeeded       | 20         | 9           | 100
         5  | 4         | query     | -       | succeeded       | 20         | -           | -",
        |scoring| {
            scoring.max_retries.default = 4;
            scoring.max_retries.by_step.insert("verify".into(), 7);
        },
    );
    assert_cells(
        stats(&fold),
        "miner_uid | retries_remaining | next_scheduled_retry
         1         | 4                 | -
         2         | 5                 | 400
         3         | 0                 | -
         4         | 4                 | -",
    );
}

#[test]
fn r10_the_latest_error_of_the_steps_else_the_responses() {
    let fold = fold(
        "responses
         miner_uid | error_message
         1         | timeout: of the response
         2         | timeout: of the response
         3         | timeout: of the response
         4         | unknown: -
         5         | -
         6         | timeout: of the response

         scores
         miner_uid | score_type
         1         | era5_acc_2t_24h
         1         | era5_acc_2t_48h

         steps
         miner_uid | step_name | substep | status          | started_at | error_json
         1         | poll      | -       | failed          | 10         | hash: wrong
         2         | query     | -       | failed          | 10         | connection: refused
         2         | poll      | -       | retry_scheduled | 20         | hash: wrong
         2         | verify    | -       | failed          | 30         | -
         2         | day1      | -       | succeeded       | 40         | hash: no matter
         3         | query     | a       | failed          | 10         | hash: superseded
         3         | query     | b       | succeeded       | 20         | -
         5         | query     | -       | failed          | 20         | -
         6         | query     | -       | pending         | 20         | hash: no matter",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | last_error_message | forecast_error_msg
         1         | -                  | -
         2         | wrong              | {\"message\":\"wrong\",\"type\":\"hash\"}
         3         | of the response    | {\"message\":\"of the response\",\"type\":\"timeout\"}
         4         | -                  | {\"message\":null,\"type\":\"unknown\"}
         5         | -                  | -
         6         | of the response    | {\"message\":\"of the response\",\"type\":\"timeout\"}",
    );
}

#[test]
fn r11_hosting_from_the_latest_probe() {
    let fold = fold(
        "responses
         miner_uid | verification_passed
         1         | false
         2         | true

         steps
         miner_uid | step_name | substep    | status    | started_at | latency_ms | error_json
         1         | fetch     | kerchunk   | failed    | 10         | 50         | timeout: slow
         1         | verify    | open_store | succeeded | 20         | 70         | -
         1         | verify    | hash       | failed    | 30         | 90         | -
         2         | verify    | open_store | succeeded | 10         | 50         | -
         2         | fetch     | kerchunk   | failed    | 20         | 60         | timeout: slow
         2         | fetch     | kerchunk_  | succeeded | 30         | 60         | -
         3         | fetch     | kerchunk   | failed    | 10         | 50         | connection: refused
         3         | fetch     | kerchunk   | succeeded | 9          | 50         | -
         4         | fetch     | kerchunk   | failed    | 10         | 50         | E7: 404 here
         5         | fetch     | kerchunk   | failed    | 10         | 50         | hash: mismatch
         6         | fetch     | kerchunk   | failed    | 10         | 50         | -
         7         | verify    | open_store | failed    | 10         | 50         | timed: -
         7         | verify    | store      | succeeded | 11         | 50         | -
         8         | fetch     | kerchunk   | failed    | 10         | 50         | timed: out",
    );
    // Miner 7's failure is superseded and counts all the same; miner 8's type and message make one text.
    assert_cells(
        stats(&fold),
        "miner_uid | hosting_status | hosting_latency_ms
         1         | accessible     | 70
         2         | timeout        | -
         3         | inaccessible   | -
         4         | inaccessible   | -
         5         | error          | -
         6         | error          | -
         7         | error          | -
         8         | timeout        | -",
    );
}

#[test]
fn r11_without_a_probe_the_verification_tells() {
    let fold = fold(
        "responses
         miner_uid | verification_passed
         1         | true
         2         | false
         3         | -

         steps
         miner_uid | step_name | substep    | status  | latency_ms
         1         | verify    | open_store | pending | 40
         4         | verify    | hash       | failed  | 40",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | hosting_status | hosting_latency_ms
         1         | accessible     | -
         2         | inaccessible   | -
         3         | -              | -
         4         | -              | -",
    );
}
