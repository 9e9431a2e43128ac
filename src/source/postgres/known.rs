//! The columns that every validator has and that no rule reads. A column beyond these is reported as extra.

use crate::model::evidence::{COMPONENTS, NODES, RESPONSES, RUNS, SCORES, STEPS};
use crate::model::rollups::{ForecastStat, LegacyScore, MinerStat, Rollup, SubnetStat};

/// Columns of a table that are known and left in the database.
#[rustfmt::skip]
pub fn unread_columns(table: &str) -> &'static [&'static str] {
    match table {
        t if t == NODES.name => &[
            "coldkey", "ip", "ip_type", "port", "incentive", "stake", "trust", "vtrust", "protocol", "last_updated",
        ],
        t if t == RUNS.name => &[
            "run_initiation_time", "gfs_input_metadata", "status", "completion_time", "final_scoring_attempted_time",
            "error_message",
        ],
        t if t == RESPONSES.name => &[
            "job_id", "kerchunk_json_url", "target_netcdf_url_template", "kerchunk_json_retrieved", "frozen_manifest_files",
            "verification_hash_computed", "verification_hash_claimed", "manifest_frozen_at", "input_hash_miner",
            "input_hash_validator", "input_hash_match", "retry_count", "next_retry_time", "last_polled_time",
            "job_accepted_at", "day1_scoring_completed_at", "era5_scoring_completed_at", "total_pipeline_duration_seconds",
        ],
        t if t == SCORES.name => &["metrics", "error_message", "valid_time_utc"],
        t if t == COMPONENTS.name => &[
            "miner_hotkey", "valid_time_utc", "mse", "skill_score_gfs", "skill_score_climatology", "bias", "mae",
            "climatology_check_passed", "pattern_correlation", "pattern_correlation_passed", "clone_penalty",
            "quality_penalty", "weighted_score", "variable_weight", "calculation_duration_ms",
        ],
        t if t == STEPS.name => &["context"],
        ForecastStat::TABLE => &["forecast_type", "forecast_input_sources", "validator_hotkey", "created_at", "updated_at"],
        MinerStat::TABLE => &["validator_hotkey", "updated_at"],
        SubnetStat::TABLE => &[],
        LegacyScore::TABLE => &["kept_at"],
        _ => &[],
    }
}
