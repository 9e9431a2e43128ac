//! I1–I6 and I8 by their rules. Expected cells are worked out by hand.

use crate::model::rollups::ForecastStat;
use crate::rollup::UnitFold;
use crate::rollup::table::{assert_cells, assert_findings, fold, fold_with};

fn stats(fold: &UnitFold) -> impl Iterator<Item = &ForecastStat> {
    fold.stats.iter().map(|placed| &placed.stat)
}

#[test]
fn i1_unknown_types_are_set_aside_and_ignored_ones_are_not_touched() {
    let fold = fold(
        "responses
         miner_uid
         1

         scores
         id | response_id | score_type                 | score
         1  | 101         | era5_skill_clim_2t_24h     | 0.25
         2  | 101         | era5_skill_gfs_2t_24h      | 0.75
         3  | 999         | nonsense                   | 9
         4  | 101         | Day1_qc_score              | 9
         5  | 999         | era5_final_composite_score | 9
         6  | 999         | era5_error_2t_24h          | -
         7  | 101         | era5_zero_x                | 9",
    );
    assert_cells(stats(&fold), "era5_combined_score | forecast_score_initial\n 0.25 | -");
    assert_findings(
        &fold.findings,
        "unknown_score_type | 1 | 1 | - | weather_miner_scores | 3
         unknown_score_type | 1 | 1 | - | weather_miner_scores | 4",
    );
    assert_eq!(fold.findings[0].detail, "nonsense");
}

#[test]
fn i2_a_score_of_another_response_is_an_orphan() {
    let fold = fold(
        "responses
         id  | miner_uid
         101 | 1
         102 | 2
         103 | 1

         scores
         id | miner_uid | response_id | score_type
         1  | 1         | 102         | era5_acc_2t_24h
         2  | 2         | 102         | era5_acc_2t_24h
         3  | 3         | 104         | day1_qc_score
         4  | 1         | 101         | era5_acc_2t_24h",
    );
    // Of two responses of one miner the greater id stands.
    assert_cells(stats(&fold), "miner_uid | era5_completeness\n 1 | 0.0\n 2 | 0.5");
    assert_findings(
        &fold.findings,
        "orphan_score | 1 | 1 | 24 | weather_miner_scores | 1
         orphan_score | 1 | 1 | 24 | weather_miner_scores | 4
         orphan_score | 1 | 3 | -  | weather_miner_scores | 3",
    );
    assert_eq!(fold.findings[0].detail, "response 102");
}

#[test]
fn i3_the_latest_of_equal_identities_counts() {
    let fold = fold(
        "responses
         miner_uid
         1

         scores
         id | score_type            | variable_level | calculation_time | score
         1  | era5_skill_gfs_2t_24h | -              | 5                | 0.5
         2  | era5_skill_gfs_2t_24h | -              | 4                | 1
         3  | era5_skill_gfs_2t_48h | a              | 5                | 1
         5  | era5_skill_gfs_2t_48h | a              | 5                | 0.25
         4  | era5_skill_gfs_2t_48h | a              | 5                | 1
         6  | era5_skill_gfs_2t_48h | b              | 1                | 0.75",
    );
    // 24 h: id 1. 48 h: ids 5 and 6, which differ in level.
    assert_cells(&fold.lead_scores, "lead_hours | skill\n 24 | 0.5\n 48 | 0.5");
    assert_findings(
        &fold.findings,
        "duplicate_score | 1 | 1 | 24 | weather_miner_scores | 2
         duplicate_score | 1 | 1 | 48 | weather_miner_scores | 3
         duplicate_score | 1 | 1 | 48 | weather_miner_scores | 4",
    );
}

#[test]
fn i4_an_invalid_winner_is_set_aside_and_an_older_row_does_not_come_back() {
    let fold = fold(
        "responses
         miner_uid
         1

         scores
         id | score_type            | calculation_time | score
         1  | era5_skill_gfs_2t_24h | 5                | 0.5
         2  | era5_skill_gfs_2t_24h | 6                | -
         3  | era5_acc_2t_24h       | 5                | NaN
         4  | era5_rmse_2t_24h      | 5                | -0.5
         5  | day1_qc_score         | 5                | infinity
         6  | era5_rmse_2t_48h      | 5                | 0
         7  | era5_acc_2t_48h       | 5                | -1
         8  | era5_rmse_2t_72h      | 5                | -1
         9  | era5_acc_2t_72h       | 5                | -1",
    );
    assert_cells(&fold.lead_scores, "lead_hours | acc | rmse\n 48 | 0.0 | 0.5");
    assert_cells(stats(&fold), "forecast_score_initial\n -");
    assert_findings(
        &fold.findings,
        "duplicate_score | 1 | 1 | 24 | weather_miner_scores | 1
         invalid_score   | 1 | 1 | 24 | weather_miner_scores | 2
         invalid_score   | 1 | 1 | 24 | weather_miner_scores | 3
         invalid_score   | 1 | 1 | 24 | weather_miner_scores | 4
         invalid_score   | 1 | 1 | 72 | weather_miner_scores | 8
         invalid_score   | 1 | 1 | -  | weather_miner_scores | 5
         unexpected_lead | 1 | 1 | 72 | weather_miner_scores | 9",
    );
}

#[test]
fn i5_the_column_holds_and_what_is_not_expected_is_set_aside() {
    let fold = fold(
        "responses
         miner_uid
         1

         scores
         id | score_type              | lead_hours | score
         1  | era5_skill_gfs_2t_24h   | 48         | 0.5
         2  | era5_skill_gfs_2t_024h  | 24         | 0.25
         3  | era5_skill_gfs_2t_48h   | -          | 1
         4  | era5_skill_gfs_q_31h    | 31         | 1
         5  | era5_skill_gfs_q_24h    | 24         | 1
         6  | era5_skill_gfs_q_24h    | 48         | 1",
    );
    assert_cells(&fold.lead_scores, "lead_hours | skill\n 24 | 0.25\n 48 | 0.5");
    assert_findings(
        &fold.findings,
        "lead_mismatch       | 1 | 1 | 48 | weather_miner_scores | 1
         lead_mismatch       | 1 | 1 | 48 | weather_miner_scores | 6
         lead_mismatch       | 1 | 1 | -  | weather_miner_scores | 3
         unexpected_lead     | 1 | 1 | 31 | weather_miner_scores | 4
         unexpected_lead     | 1 | 1 | -  | weather_miner_scores | 3
         unexpected_variable | 1 | 1 | 24 | weather_miner_scores | 5
         unexpected_variable | 1 | 1 | 48 | weather_miner_scores | 6",
    );
}

#[test]
fn i6_what_is_out_of_range_counts_as_it_is() {
    let fold = fold(
        "responses
         miner_uid
         1
         2

         scores
         id | miner_uid | score_type            | score
         1  | 1         | era5_skill_gfs_2t_24h | 1.5
         2  | 1         | era5_acc_2t_24h       | -2
         3  | 1         | era5_skill_gfs_2t_48h | -7
         4  | 1         | era5_acc_2t_48h       | 1
         5  | 1         | era5_rmse_2t_48h      | 900
         6  | 2         | era5_acc_2t_24h       | 3
         7  | 2         | era5_skill_gfs_2t_24h | 1
         8  | 2         | era5_acc_2t_48h       | -1",
    );
    assert_cells(
        &fold.lead_scores,
        "miner_uid | lead_hours | skill | acc  | rmse
         1         | 24         | 1.0   | -0.5 | -
         1         | 48         | 0.0   | 1.0  | 0.5
         2         | 24         | 1.0   | 2.0  | -
         2         | 48         | -     | 0.0  | -",
    );
    assert_findings(
        &fold.findings,
        "out_of_range_score | 1 | 1 | 24 | weather_miner_scores | 1
         out_of_range_score | 1 | 1 | 24 | weather_miner_scores | 2
         out_of_range_score | 1 | 2 | 24 | weather_miner_scores | 6",
    );
}

/// Miners with the same rows in the same order are read column by column; the result is the same as for one alone.
#[test]
fn i4_to_i6_hold_for_miners_with_rows_alike() {
    let scores: String = (1..=6)
        .flat_map(|miner| {
            let values = [["0.5", "0.5", "0.5", "1"], ["0.25", "1", "2", "-"], ["1.5", "0", "1", "0.5"]];
            let [skill, acc, rmse, day1] = match miner {
                2 => values[1],
                4 => values[2],
                _ => values[0],
            };
            let rmse = if miner == 5 { "-1" } else { rmse };
            let acc = if miner == 6 { "-1.5" } else { acc };
            [
                format!("{miner} | era5_skill_gfs_2t_24h | {skill} | {miner}\n"),
                format!("{miner} | day1_qc_score | {day1} | 9{miner}\n"),
                format!("{miner} | era5_acc_2t_24h | {acc} | 1{miner}\n"),
                format!("{miner} | era5_rmse_2t_48h | {rmse} | 2{miner}\n"),
            ]
        })
        .collect();
    let responses: String = (1..=6).map(|miner| format!("{miner}\n")).collect();
    let fold = fold(&format!(
        "responses\nminer_uid\n{responses}\n\nscores\nminer_uid | score_type | score | calculation_time\n{scores}"
    ));
    // 0.6 * 0.5 + 0.4 * 0.75 = 0.6; 0.6 * 0.25 + 0.4 * 1 = 0.55; 0.6 * 1 + 0.4 * 0.5 = 0.8; 0.6 * 0.5 + 0.4 * -0.25 = 0.2
    assert_cells(
        &fold.lead_scores,
        "miner_uid | lead_hours | skill | acc   | rmse
         1         | 24         | 0.5   | 0.75  | -
         1         | 48         | -     | -     | 0.5
         2         | 24         | 0.25  | 1.0   | -
         2         | 48         | -     | -     | 0.5
         3         | 24         | 0.5   | 0.75  | -
         3         | 48         | -     | -     | 0.5
         4         | 24         | 1.0   | 0.5   | -
         4         | 48         | -     | -     | 0.5
         5         | 24         | 0.5   | 0.75  | -
         6         | 24         | 0.5   | -0.25 | -
         6         | 48         | -     | -     | 0.5",
    );
    assert_cells(
        stats(&fold),
        "miner_uid | forecast_score_initial
         1 | 1.0
         2 | -
         3 | 1.0
         4 | 0.5
         5 | 1.0
         6 | 1.0",
    );
    assert_findings(
        &fold.findings,
        "invalid_score      | 1 | 2 | -  | weather_miner_scores | 6
         invalid_score      | 1 | 5 | 48 | weather_miner_scores | 20
         out_of_range_score | 1 | 4 | 24 | weather_miner_scores | 13
         out_of_range_score | 1 | 6 | 24 | weather_miner_scores | 23",
    );
    // M5 leaves the Day-1 score out.
    let ends: Vec<_> = fold.history.iter().map(|row| row.end.map(|end| end.0 / 1_000_000)).collect();
    assert_eq!(ends, [Some(21), Some(22), Some(23), Some(24), None, Some(26)]);
}

#[test]
fn i8_a_row_for_every_miner_with_a_response_or_a_step() {
    let fold = fold_with(
        "responses
         miner_uid
         3
         5000

         scores
         miner_uid | score_type
         8         | day1_qc_score

         steps
         miner_uid | miner_hotkey | step_name
         7         | key7         | query
         9         | coordinator  | query
         10        | key10        | plan
         -4        | key-4        | poll
         3         | key3         | poll",
        |scoring| scoring.run_level_steps = vec!["plan".into()],
    );
    assert_cells(stats(&fold), "miner_uid\n -4\n 3\n 7\n 5000");
    assert_findings(&fold.findings, "orphan_score | 1 | 8 | - | weather_miner_scores | 1");
}

#[test]
fn f_a_hotkey_that_differs_from_the_responses() {
    let fold = fold(
        "responses
         miner_uid | miner_hotkey
         1         | new

         scores
         id | miner_hotkey | score_type            | score
         1  | new          | era5_acc_2t_24h       | 0
         2  | old          | era5_acc_2t_48h       | 0
         3  | old          | era5_rmse_2t_48h      | -
         4  | old          | era5_rmse_2t_72h      | 1
         5  | new          | era5_skill_gfs_2t_24h | 1

         steps
         id | miner_uid | miner_hotkey | step_name
         1  | 1         | old          | query
         2  | 1         | new          | poll
         3  | 2         | old          | query",
    );
    assert_findings(
        &fold.findings,
        "hotkey_changed  | 1 | 1 | 48 | weather_miner_scores   | 2
         hotkey_changed  | 1 | 1 | 72 | weather_miner_scores   | 4
         hotkey_changed  | 1 | 1 | -  | weather_forecast_steps | 1
         invalid_score   | 1 | 1 | 48 | weather_miner_scores   | 3
         unexpected_lead | 1 | 1 | 72 | weather_miner_scores   | 4",
    );
}
