//! The rollups as they are stored: texts raw, wide columns as the table has them.

use serde_json::{Value as Json, json};

use crate::model::evidence::StoredStat;
use crate::model::ids::LeadHours;
use crate::model::rollups::ForecastStat;
use crate::model::sanitize::sanitize;

use super::plan::Plan;

/// Leads of the table's ten fixed wide columns, whatever leads a plan has.
pub fn wide_leads() -> Vec<LeadHours> {
    (1..=10).map(|day| LeadHours(24 * day)).collect()
}

/// A row of the stored `weather_forecast_stats`. Its `wide` has a value for each of [`wide_leads`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    pub id: i64,
    pub row: ForecastStat,
}

impl StoredRow {
    /// The row as a source reads it: sanitized, and whether that changed anything (D5).
    pub fn read(&self) -> StoredStat {
        let mut row = self.row.clone();
        let message = row.last_error_message.as_deref().map(sanitize);
        let error = row.forecast_error_msg.as_ref().map(sanitized_error);
        let message_unsanitized = message != row.last_error_message;
        let error_unsanitized = error != row.forecast_error_msg;
        row.last_error_message = message;
        row.forecast_error_msg = error;
        StoredStat { id: self.id, row, message_unsanitized, error_unsanitized }
    }
}

/// A stored error with nothing but its type and message (D4), sanitized.
pub fn sanitized_error(error: &Json) -> Json {
    let part = |key: &str| error[key].as_str().map(sanitize);
    json!({ "type": part("type"), "message": part("message") })
}

/// The rows that have a place (D1): of a miner's rows in one unit the one of the latest run.
pub fn placed(mut rows: Vec<ForecastStat>) -> Vec<ForecastStat> {
    rows.sort_by_key(|row| (row.miner_uid, row.run_id));
    let mut placed: Vec<ForecastStat> = Vec::with_capacity(rows.len());
    for row in rows {
        match placed.last_mut() {
            Some(last) if last.miner_uid == row.miner_uid => *last = row,
            _ => placed.push(row),
        }
    }
    placed
}

/// Turns `wide`, which has a value for each lead of the plan, into what the table's columns hold.
pub fn spread_wide(plan: &Plan, row: &mut ForecastStat) {
    let of = |lead: LeadHours| plan.leads.iter().position(|&l| l == lead).and_then(|at| *row.wide.get(at)?);
    row.wide = wide_leads().into_iter().map(of).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(miner: i32, run: i32) -> ForecastStat {
        ForecastStat { miner_uid: Some(miner), run_id: Some(run), ..ForecastStat::default() }
    }

    #[test]
    fn the_latest_run_has_the_place() {
        let rows = placed(vec![row(2, 8), row(1, 9), row(2, 7), row(1, 8)]);
        assert_eq!(rows, [row(1, 9), row(2, 8)]);
    }

    #[test]
    fn wide_values_go_to_the_columns_of_their_leads() {
        let plan = Plan { leads: [12, 24, 72].map(LeadHours).to_vec(), ..Plan::default() };
        let mut row = ForecastStat { wide: vec![Some(0.1), Some(0.2), Some(0.3)], ..ForecastStat::default() };
        spread_wide(&plan, &mut row);
        let mut expected = vec![None; 10];
        (expected[0], expected[2]) = (Some(0.2), Some(0.3));
        assert_eq!(row.wide, expected);
    }

    #[test]
    fn a_raw_text_is_sanitized_and_noted() {
        let raw = ForecastStat {
            last_error_message: Some("connection to 198.51.100.7:4567 lost".to_owned()),
            forecast_error_msg: Some(json!({"type": "ConnectionError", "message": "lost"})),
            ..ForecastStat::default()
        };
        let read = StoredRow { id: 1, row: raw }.read();
        assert_eq!(read.row.last_error_message.as_deref(), Some("connection to [REDACTED] lost"));
        assert!(read.message_unsanitized && !read.error_unsanitized);
    }
}
