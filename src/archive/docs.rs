//! What every column means: the one text behind the metadata of the files and the dictionary in `docs/analysts.md`.

use std::fmt::Write;

use arrow_schema::DataType;
use serde::Serialize;

use super::tables::{TABLES, Table};

/// One column. `table` is empty for a column that means the same wherever it stands.
#[derive(Debug, Clone, Copy)]
pub struct Doc {
    pub table: &'static str,
    pub column: &'static str,
    pub unit: &'static str,
    /// The rule of the rollups that makes it, or that reads it.
    pub rule: &'static str,
    pub meaning: &'static str,
}

const fn doc(table: &'static str, column: &'static str, unit: &'static str, rule: &'static str, meaning: &'static str) -> Doc {
    Doc { table, column, unit, rule, meaning }
}

#[rustfmt::skip]
static DOCS: &[Doc] = &[
    doc("", "run_id", "", "I8", "Run, `runs.id`"),
    doc("", "miner_uid", "", "I8", "Miner's number in the subnet"),
    doc("", "miner_hotkey", "", "R1", "Miner's public key (SS58)"),
    doc("", "lead_hours", "h", "I5", "Hours from initialisation to the forecast time"),
    doc("", "forecast_run_id", "", "R1", "`forecast_{initialisation}_to_{target}`; runs seeded again share it"),
    doc("", "id", "", "I3", "Row id in the database; of rows of one time the greater is the later"),
    doc("", "response_id", "", "I2", "The response that was scored, `responses.id`"),
    doc("", "score_type", "", "I1", "What was measured, of which variable, at which lead"),

    doc("weather_forecast_stats", "miner_rank", "", "R6", "Rank within the run by `era5_combined_score`, best is 1"),
    doc("", "forecast_init_time", "UTC", "R1", "Initialisation of the run"),
    doc("", "forecast_status", "", "R7", "completed, failed, era5_scoring, day1_scored, input_received or pending"),
    doc("", "current_forecast_stage", "", "R8", "Where the miner's latest step stands"),
    doc("", "current_forecast_status", "", "R8", "How that step goes"),
    doc("", "last_error_message", "", "R10", "Message of the latest error, sanitized"),
    doc("", "retries_remaining", "", "R9", "Retries that the latest step has left"),
    doc("", "next_scheduled_retry", "UTC", "R9", "Earliest retry that is scheduled"),
    doc("", "forecast_error_msg", "JSON", "R10", "`{\"type\", \"message\"}` of the latest error, sanitized"),
    doc("", "forecast_score_initial", "score", "R2", "Day-1 score"),
    doc("", "era5_combined_score", "0..1", "R3", "Sum of the scored leads' scores over the number of expected leads; NULL where no lead is scored"),
    doc("", "era5_completeness", "share", "R3", "Scored leads over expected leads"),
    doc("", "overall_forecast_score", "0..1", "R4", "ERA5 and Day-1 by their weights"),
    doc("", "avg_rmse", "variable's own", "R5", "Mean RMSE of the components"),
    doc("", "avg_acc", "-1..1", "R5", "Mean anomaly correlation of the components"),
    doc("", "avg_skill_score", "score", "R5", "Mean skill of the components"),
    doc("", "forecast_inference_duration_seconds", "s", "R12", "Whole seconds of inference"),
    doc("", "hosting_status", "", "R11", "accessible, timeout, inaccessible or error"),
    doc("", "hosting_latency_ms", "ms", "R11", "Latency of opening the forecast, where it was accessible"),
    doc("", "placed", "", "D1", "False where another run of the same `forecast_run_id` has the miner's place; leave such rows out of averages"),
    doc("", "last_error_message_unsanitized", "", "D5", "The stored text carried what it must not, and was cleaned as it was read"),
    doc("", "forecast_error_msg_unsanitized", "", "D5", "The stored JSON carried what it must not, and was cleaned as it was read"),

    doc("lead_scores", "placed", "", "D1", "False where another run of the same `forecast_run_id` has the miner's place; leave such rows out of averages. NULL in files of before"),
    doc("lead_scores", "scored", "", "L1", "True where every expected variable has a value; else the lead is partial and has no score"),
    doc("lead_scores", "era5_score", "0..1", "L4", "Score of the lead; NULL where it is partial"),
    doc("lead_scores", "skill", "0..1", "L2", "Mean of the skill values, each cut to 0..1"),
    doc("lead_scores", "acc", "0..1", "L2", "Mean of the ACC values, each as (ACC + 1) / 2"),
    doc("lead_scores", "rmse", "0..1", "L3", "Mean of 1 / (1 + RMSE / reference): high is good, unlike an RMSE"),

    doc("", "code", "", "F", "What is suspicious"),
    doc("", "severity", "", "F", "info, warning or error"),
    doc("", "source_table", "", "F", "Table of the database that the row is in"),
    doc("", "row_id", "", "F", "Its id there"),
    doc("", "detail", "", "F", "More, as text, sanitized"),

    doc("miner_stats", "miner_rank", "", "M10", "Rank by `avg_forecast_score` over all miners, best is 1"),
    doc("", "miner_rank", "", "R6", "Rank as it was stored, best is 1"),
    doc("", "avg_forecast_score", "0..1", "M2", "Mean combined score of the runs that have one"),
    doc("", "successful_forecasts", "runs", "M3", "Runs completed"),
    doc("", "failed_forecasts", "runs", "M3", "Runs failed"),
    doc("", "forecast_success_ratio", "share", "M3", "Completed runs over all runs"),
    doc("", "hosting_successes", "runs", "M4", "Runs whose forecast was accessible"),
    doc("", "hosting_failures", "runs", "M4", "Runs whose forecast was not"),
    doc("", "host_reliability_ratio", "share", "M4", "Successes over successes and failures; 0 where none"),
    doc("", "avg_hosting_latency_ms", "ms", "M4", "Mean latency"),
    doc("", "avg_day1_score", "score", "M2", "Mean Day-1 score"),
    doc("", "avg_era5_score", "0..1", "M2", "Mean combined score over all runs, a run without one as 0"),
    doc("", "avg_era5_completeness", "share", "M2", "Mean completeness over all runs"),
    doc("", "best_forecast_score", "0..1", "M2", "Greatest combined score"),
    doc("", "worst_forecast_score", "0..1", "M2", "Least combined score"),
    doc("miner_stats", "score_std_dev", "score", "M2", "Sample standard deviation of the combined scores"),
    doc("", "last_successful_forecast", "UTC", "M5", "End of the latest completed run"),
    doc("", "last_failed_forecast", "UTC", "M5", "End of the latest failed run"),
    doc("", "consecutive_successes", "runs", "M6", "Completed runs since the last failure"),
    doc("", "consecutive_failures", "runs", "M6", "Failed runs since the last success"),
    doc("", "total_inference_time", "s", "M7", "Seconds of inference, all runs"),
    doc("", "avg_inference_time", "s", "M7", "Mean seconds of inference"),
    doc("", "common_errors", "JSON", "M8", "The five most frequent error types with their counts"),
    doc("", "error_rate_by_type", "JSON", "M8", "Share of runs with an error, by type of forecast"),
    doc("", "first_seen", "UTC", "M9", "Earliest response"),
    doc("", "last_active", "UTC", "M9", "Latest response"),

    doc("", "scope", "", "N1", "`run`, or `lifetime` for the row over everything"),
    doc("weather_subnet_stats", "forecast_run_id", "", "N1", "Of the run; NULL for life"),
    doc("weather_subnet_stats", "forecast_init_time", "UTC", "N1", "Of the run; NULL for life"),
    doc("", "miners", "rows", "N1", "Miners"),
    doc("", "active_miners", "rows", "N1", "Miners with a Day-1 score or a scored lead"),
    doc("", "completed", "rows", "N1", "Completed"),
    doc("", "failed", "rows", "N1", "Failed"),
    doc("", "in_progress", "rows", "N1", "Neither"),
    doc("", "mean_score", "0..1", "N1", "Mean combined score"),
    doc("", "score_std_dev", "score", "N1", "Sample standard deviation of the scores"),
    doc("", "min_score", "0..1", "N1", "Least score"),
    doc("", "p10_score", "0..1", "N1", "Tenth percentile, interpolated"),
    doc("", "median_score", "0..1", "N1", "Median"),
    doc("", "p90_score", "0..1", "N1", "Ninetieth percentile, interpolated"),
    doc("", "max_score", "0..1", "N1", "Greatest score"),
    doc("", "mean_day1_score", "score", "N1", "Mean Day-1 score"),
    doc("", "mean_overall_score", "0..1", "N1", "Mean overall score; NULL for life"),
    doc("", "mean_completeness", "share", "N1", "Mean completeness"),
    doc("", "mean_hosting_latency_ms", "ms", "N1", "Mean latency"),
    doc("", "top_miners", "JSON", "N2", "Up to ten best miners with score and rank"),
    doc("", "bottom_miners", "JSON", "N2", "Up to ten worst miners with score and rank"),

    doc("differences", "source_table", "", "D1", "Stored table"),
    doc("differences", "run_id", "", "D1", "Run, where the table has one"),
    doc("differences", "miner_uid", "", "D1", "Miner, where the table has one"),
    doc("differences", "scope", "", "D1", "Of `weather_subnet_stats`"),
    doc("differences", "column_name", "", "D2", "Column; NULL for a whole row"),
    doc("differences", "class", "", "D2", "drift, unproven, missing or extra"),
    doc("differences", "stored", "", "D5", "Stored value as text; error texts sanitized"),
    doc("differences", "recomputed", "", "D2", "Right value as text"),
    doc("differences", "delta", "of the column", "D2", "recomputed − stored, of two finite numbers"),
    doc("differences", "cause", "", "D2", "Why a drifted score is wrong, or that it follows from other stored cells; NULL where none was sought"),
    doc("differences", "why", "", "D2", "The cause in words, with its numbers"),
    doc("nights", "digest", "", "A1", "BLAKE3 of all recomputed rollups, as `reconcile` shows it"),
    doc("nights", "recount_version", "", "C", "Version of the program"),
    doc("nights", "settings_blake3", "", "C", "BLAKE3 of the settings of scoring; where it changes, numbers may change without any new evidence"),
    doc("nights", "runs", "runs", "I8", "Runs that the archive has"),
    doc("nights", "rows", "JSON", "D2", "Rows of each stored table by class: match, drift, unproven, habit (always 0 here), missing, extra"),
    doc("nights", "cells", "JSON", "D2", "Cells of each stored table by class: equal, within, drift, unproven, habit (always 0 here)"),
    doc("nights", "findings", "JSON", "F", "Findings by code"),

    doc("scores", "calculation_time", "UTC", "I3", "When it was calculated; of repeated scores the latest counts"),
    doc("scores", "score", "by score_type", "I4", "The value; NULL, NaN and infinities are kept as they are and count for nothing"),
    doc("scores", "metric", "", "I1", "What was measured: skill_gfs, skill_clim, acc, rmse, or day1 for the Day-1 score; NULL where I1 knows no such name"),
    doc("scores", "variable", "", "I1", "Variable that the name has; NULL for the Day-1 score"),
    doc("scores", "variable_level", "", "I3", "Variable, with its pressure level where it has one"),
    doc("component_scores", "variable_name", "", "I3", "Variable"),
    doc("component_scores", "pressure_level", "hPa", "I3", "Pressure level; NULL at the surface"),
    doc("component_scores", "rmse", "variable's own", "R5", "Root mean square error"),
    doc("component_scores", "acc", "-1..1", "R5", "Anomaly correlation"),
    doc("component_scores", "skill_score", "score", "R5", "Skill against the reference forecast; 1 is perfect, 0 no better"),
    doc("component_scores", "calculated_at", "UTC", "I3", "When it was calculated"),
    doc("steps", "step_name", "", "I7", "seed, query, poll, inference, fetch, verify, day1, era5, …"),
    doc("steps", "substep", "", "I7", "Part of the step"),
    doc("steps", "status", "", "I7", "pending, in_progress, succeeded, failed, retry_scheduled, …"),
    doc("steps", "started_at", "UTC", "I7", "Start"),
    doc("steps", "completed_at", "UTC", "I7", "End"),
    doc("steps", "retry_count", "", "R9", "Retries so far"),
    doc("steps", "next_retry_time", "UTC", "R9", "When it is tried again"),
    doc("steps", "latency_ms", "ms", "R11", "Latency of the step"),
    doc("steps", "error_json_type", "", "E2", "Type of its error, sanitized; NULL: no error"),
    doc("steps", "error_json_message", "", "E2", "Message of its error, sanitized"),
    doc("responses", "response_time", "UTC", "M9", "When the miner answered"),
    doc("responses", "verification_passed", "", "R11", "Whether the forecast was verified"),
    doc("responses", "status", "", "R7", "Status of the response"),
    doc("responses", "error_message_type", "", "E2", "Type of its error, sanitized; NULL: no error"),
    doc("responses", "error_message_message", "", "E2", "Message of its error, sanitized"),
    doc("responses", "inference_started_at", "UTC", "R12", "Start of inference"),
    doc("responses", "inference_completed_at", "UTC", "R12", "End of inference"),
    doc("runs", "gfs_init_time_utc", "UTC", "R1", "Initialisation"),
    doc("runs", "target_forecast_time_utc", "UTC", "R1", "Target of the forecast"),
    doc("runs", "retained", "", "D6", "True where the database no longer has the run: what is here of it is all there is"),
    doc("legacy_lead_scores", "era5_score", "0..1", "L1", "Score of the lead, as a wide column had it"),
    doc("retained", "source_table", "", "D6", "Table of this archive that the row is in: responses, scores, component_scores or steps"),
    doc("retained", "id", "", "D6", "Its `id` there"),
    doc("retained", "counts", "", "D6", "True where rollups use it; false where the database has newer evidence of the same lead or miner: leave such rows out"),
    doc("nodes", "uid", "", "F", "Miner's number in the subnet"),
    doc("nodes", "hotkey", "", "F", "Public key registered for it"),
];

static WIDE: Doc = doc("", "era5_score_{h}h", "0..1", "L4", "Stored score of this lead, a wide column of old schemas");

/// The documentation of a column: the table's own, else the common one.
pub fn of(table: &str, column: &str) -> Option<&'static Doc> {
    if column.starts_with("era5_score_") {
        return Some(&WIDE);
    }
    let own = DOCS.iter().find(|doc| doc.table == table && doc.column == column);
    own.or_else(|| DOCS.iter().find(|doc| doc.table.is_empty() && doc.column == column))
}

/// A column of a table of an archive, as the dictionaries for programs have it (`docs/dictionary.csv` and `.json`).
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub table: &'static str,
    pub column: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub nullable: bool,
    pub unit: &'static str,
    pub meaning: &'static str,
    pub rule: &'static str,
}

/// Every column of every table, in the order of the files.
pub fn entries() -> Vec<Entry> {
    TABLES.iter().flat_map(|table| of_table(table)).collect()
}

fn of_table(table: &Table) -> Vec<Entry> {
    let entry = |doc: &Doc, column: &str, kind, nullable| {
        let (unit, meaning, rule) = (doc.unit, doc.meaning, doc.rule);
        Entry { table: table.name, column: column.to_owned(), kind, nullable, unit, meaning, rule }
    };
    let schema = table.schema(&[]);
    let mut entries: Vec<Entry> = Vec::new();
    for field in schema.fields() {
        let doc = of(table.name, field.name()).expect("invariant: every column is documented; a test holds this");
        entries.push(entry(doc, field.name(), type_name(field.data_type()), field.is_nullable()));
    }
    if matches!(table.content, super::tables::Content::StoredStats) {
        entries.push(entry(&WIDE, WIDE.column, "double", true));
    }
    entries
}

/// The data dictionary, as `docs/analysts.md` has it.
pub fn dictionary() -> String {
    let mut text = String::new();
    for table in TABLES {
        let order: Vec<_> = table.order.iter().map(|column| format!("`{column}`")).collect();
        let _ = write!(
            text,
            "### `{}`\n\n{}. Partitioned by `{}`, rows in order of {}.\n\n| column | type | unit or range | meaning | rule |\n|---|---|---|---|---|\n",
            table.name,
            table.about,
            table.partition_column(),
            order.join(", ")
        );
        for Entry { column, kind, nullable, unit, meaning, rule, .. } in of_table(table) {
            let null = if nullable { "" } else { ", never NULL" };
            let _ = writeln!(text, "| `{column}` | {kind}{null} | {unit} | {meaning} | {rule} |");
        }
        text.push('\n');
    }
    text
}

/// A type in the words that every engine shares.
fn type_name(kind: &DataType) -> &'static str {
    match kind {
        DataType::Boolean => "boolean",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Float64 => "double",
        DataType::Timestamp(..) => "timestamp (µs, UTC)",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_documented_and_every_text_is_of_a_column() {
        let mut used = Vec::new();
        for table in TABLES {
            for field in table.schema(&[]).fields() {
                let doc = of(table.name, field.name());
                used.push(doc.unwrap_or_else(|| panic!("{}.{} is not documented", table.name, field.name())) as *const Doc);
            }
        }
        let idle: Vec<_> = DOCS.iter().filter(|doc| !used.contains(&std::ptr::from_ref(*doc))).map(|doc| doc.column).collect();
        assert!(idle.is_empty(), "no column has {idle:?}");
    }
}
