//! R5, and I2 and I3 of component rows. Expected cells are worked out by hand.

use crate::model::rollups::ForecastStat;
use crate::rollup::UnitFold;
use crate::rollup::table::{assert_cells, assert_findings, fold};

const RESPONSES: &str = "responses
    miner_uid
    1
    2
    3
    4
";

fn stats(fold: &UnitFold) -> impl Iterator<Item = &ForecastStat> {
    fold.stats.iter().map(|placed| &placed.stat)
}

#[test]
fn r5_means_of_era5_rows_else_of_day1_rows() {
    let fold = fold(&format!(
        "{RESPONSES}
         components
         miner_uid | score_type | lead_hours | variable_name | pressure_level | rmse     | acc  | skill_score
         1         | era5       | 24         | 2t            | -              | 1        | 0.5  | -0.5
         1         | era5       | 999        | nonsense      | 500            | 3        | NaN  | -
         1         | day1       | 24         | 2t            | -              | 9        | 9    | 9
         2         | day1       | 24         | 2t            | -              | 4        | 0.25 | 0
         2         | other      | 24         | 2t            | -              | 9        | 9    | 9
         3         | era5       | 24         | 2t            | -              | infinity | -    | -
         3         | day1       | 24         | 2t            | -              | 9        | 9    | 9"
    ));
    assert_cells(
        stats(&fold),
        "miner_uid | avg_rmse | avg_acc | avg_skill_score
         1         | 2.0      | 0.5     | -0.5
         2         | 4.0      | 0.25    | 0.0
         3         | -        | -       | -
         4         | -        | -       | -",
    );
    assert_findings(&fold.findings, "");
}

#[test]
fn i3_of_repeated_components_the_latest_counts() {
    let fold = fold(&format!(
        "{RESPONSES}
         components
         id | lead_hours | variable_name | pressure_level | calculated_at | rmse
         1  | 24         | 2t            | -              | 5             | 1
         2  | 24         | 2t            | -              | 4             | 10
         3  | 24         | t             | 500            | 5             | 100
         5  | 24         | t             | 500            | 5             | 3
         4  | 24         | t             | 500            | 5             | 1000
         6  | 24         | t             | 850            | 5             | 2
         7  | 48         | 2t            | -              | 5             | 2"
    ));
    assert_cells(stats(&fold), "miner_uid | avg_rmse\n 1 | 2.0\n 2 | -\n 3 | -\n 4 | -");
    assert_findings(
        &fold.findings,
        "duplicate_score | 1 | 1 | 24 | weather_forecast_component_scores | 2
         duplicate_score | 1 | 1 | 24 | weather_forecast_component_scores | 3
         duplicate_score | 1 | 1 | 24 | weather_forecast_component_scores | 4",
    );
}

#[test]
fn i2_a_component_of_another_response_is_an_orphan() {
    let fold = fold(&format!(
        "{RESPONSES}
         components
         id | miner_uid | response_id | rmse
         1  | 1         | 102         | 7
         2  | 1         | 101         | 1
         3  | 9         | 109         | 7"
    ));
    assert_cells(stats(&fold), "miner_uid | avg_rmse\n 1 | 1.0\n 2 | -\n 3 | -\n 4 | -");
    assert_findings(
        &fold.findings,
        "orphan_score | 1 | 1 | 24 | weather_forecast_component_scores | 1
         orphan_score | 1 | 9 | 24 | weather_forecast_component_scores | 3",
    );
    assert_eq!(fold.findings[0].detail, "response 102");
}
