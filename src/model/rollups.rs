//! The rollup rows. One struct serves both the recomputed and the stored row, so every field but the key may be NULL.

use serde_json::Value as Json;

use super::columns::{Column, Group, Type};
use super::difference::Difference;
use super::finding::Finding;
use super::miner_list::MinerList;
use super::time::Micros;
use super::value::{Field, Value};

/// A rollup table: its name and the columns its rows have. Wide columns are beside these: see [`ForecastStat::wide`].
pub trait Rollup: Default + Clone + PartialEq {
    const TABLE: &'static str;
    const COLUMNS: &'static [Column];

    /// The cell of column `index` of [`Rollup::COLUMNS`].
    fn value(&self, index: usize) -> Value<'_>;

    /// Sets the cell; false where the value is of another type than the column.
    fn set(&mut self, index: usize, value: Value<'_>) -> bool;
}

macro_rules! rollup {
    (@type Int32) => { i32 };
    (@type Int64) => { i64 };
    (@type Float64) => { f64 };
    (@type Bool) => { bool };
    (@type Time) => { Micros };
    (@type Text) => { String };
    (@type Json) => { Json };
    (@type MinerList) => { MinerList };
    (@kind MinerList) => { Type::Json };
    (@kind $kind:ident) => { Type::$kind };
    ($(#[$doc:meta])* $name:ident, $table:literal, { $($field:ident: $kind:ident $group:ident,)* } $({ $(#[$extra_doc:meta])* $extra:ident: $extra_type:ty })?) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, PartialEq)]
        pub struct $name {
            $(pub $field: Option<rollup!(@type $kind)>,)*
            $($(#[$extra_doc])* pub $extra: $extra_type,)?
        }

        impl Rollup for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [Column] = &[$(Column::new(stringify!($field), rollup!(@kind $kind), Group::$group)),*];

            fn value(&self, index: usize) -> Value<'_> {
                const GET: &[fn(&$name) -> Value<'_>] = &[$(|row| row.$field.value()),*];
                GET[index](self)
            }

            fn set(&mut self, index: usize, value: Value<'_>) -> bool {
                const SET: &[fn(&mut $name, Value<'_>) -> bool] =
                    &[$(|row, value| Field::from_value(value).map(|x| row.$field = x).is_some()),*];
                SET[index](self, value)
            }
        }
    };
}

rollup! {
    /// One lead of one miner in one run (L). Not a table of the database.
    LeadScore, "lead_scores", {
        run_id: Int32 Key,
        miner_uid: Int32 Key,
        lead_hours: Int32 Key,
        scored: Bool Status,
        era5_score: Float64 Scores,
        skill: Float64 Scores,
        acc: Float64 Scores,
        rmse: Float64 Scores,
    }
}

rollup! {
    /// The score of a lead from a wide column whose scores are gone: evidence of last resort (L). Key: `miner_uid`, `forecast_run_id`,
    /// `lead_hours`; `run_id` is NULL where its row belongs to no run.
    LegacyScore, "weather_legacy_lead_scores", {
        run_id: Int32 Activity,
        miner_uid: Int32 Key,
        forecast_run_id: Text Key,
        lead_hours: Int32 Key,
        era5_score: Float64 Scores,
    }
}

rollup! {
    /// One miner in one run (R). Key (D1): `miner_uid`, `forecast_run_id`.
    ForecastStat, "weather_forecast_stats", {
        miner_uid: Int32 Key,
        miner_hotkey: Text Activity,
        miner_rank: Int32 Ranks,
        forecast_run_id: Text Key,
        run_id: Int32 Activity,
        forecast_init_time: Time Activity,
        forecast_status: Text Status,
        current_forecast_stage: Text Status,
        current_forecast_status: Text Status,
        last_error_message: Text Errors,
        retries_remaining: Int32 Status,
        next_scheduled_retry: Time Status,
        forecast_error_msg: Json Errors,
        forecast_score_initial: Float64 Scores,
        era5_combined_score: Float64 Scores,
        era5_completeness: Float64 Scores,
        overall_forecast_score: Float64 Scores,
        avg_rmse: Float64 Scores,
        avg_acc: Float64 Scores,
        avg_skill_score: Float64 Scores,
        forecast_inference_duration_seconds: Int32 Activity,
        hosting_status: Text Hosting,
        hosting_latency_ms: Int32 Hosting,
    } {
        /// `era5_score(lead)` of each expected lead, in the settings' order (L, last paragraph).
        wide: Vec<Option<f64>>
    }
}

rollup! {
    /// One miner over all runs (M). Key: `miner_uid`.
    MinerStat, "miner_stats", {
        miner_uid: Int32 Key,
        miner_hotkey: Text Activity,
        miner_rank: Int32 Ranks,
        avg_forecast_score: Float64 Scores,
        successful_forecasts: Int32 Status,
        failed_forecasts: Int32 Status,
        forecast_success_ratio: Float64 Status,
        hosting_successes: Int32 Hosting,
        hosting_failures: Int32 Hosting,
        host_reliability_ratio: Float64 Hosting,
        avg_hosting_latency_ms: Float64 Hosting,
        avg_day1_score: Float64 Scores,
        avg_era5_score: Float64 Scores,
        avg_era5_completeness: Float64 Scores,
        best_forecast_score: Float64 Scores,
        worst_forecast_score: Float64 Scores,
        score_std_dev: Float64 Scores,
        last_successful_forecast: Time Activity,
        last_failed_forecast: Time Activity,
        consecutive_successes: Int32 Status,
        consecutive_failures: Int32 Status,
        total_inference_time: Int64 Activity,
        avg_inference_time: Float64 Activity,
        common_errors: Json Errors,
        error_rate_by_type: Json Errors,
        first_seen: Time Activity,
        last_active: Time Activity,
    }
}

rollup! {
    /// The subnet, in one run or over its lifetime (N). Key: `scope`, `run_id`.
    SubnetStat, "weather_subnet_stats", {
        scope: Text Key,
        run_id: Int32 Key,
        miners: Int32 Status,
        active_miners: Int32 Status,
        completed: Int32 Status,
        failed: Int32 Status,
        in_progress: Int32 Status,
        mean_score: Float64 Scores,
        score_std_dev: Float64 Scores,
        min_score: Float64 Scores,
        p10_score: Float64 Scores,
        median_score: Float64 Scores,
        p90_score: Float64 Scores,
        max_score: Float64 Scores,
        mean_day1_score: Float64 Scores,
        mean_overall_score: Float64 Scores,
        mean_completeness: Float64 Scores,
        mean_hosting_latency_ms: Float64 Hosting,
        host_reliability_ratio: Float64 Hosting,
        top_miners: MinerList Ranks,
        bottom_miners: MinerList Ranks,
    }
}

rollup! {
    /// A finding as a row of `findings.parquet`.
    FindingRow, "findings", {
        code: Text Key,
        severity: Text Status,
        run_id: Int32 Key,
        miner_uid: Int32 Key,
        lead_hours: Int32 Key,
        table: Text Key,
        row_id: Int64 Key,
        detail: Text Status,
    }
}

rollup! {
    /// A difference as a row of `differences.parquet`; `stored` and `recomputed` as text.
    DifferenceRow, "differences", {
        table: Text Key,
        run_id: Int32 Key,
        forecast_run_id: Text Key,
        miner_uid: Int32 Key,
        scope: Text Key,
        column: Text Key,
        class: Text Status,
        stored: Text Status,
        recomputed: Text Status,
        delta: Float64 Status,
        cause: Text Status,
        why: Text Status,
    }
}

rollup! {
    /// A cell to correct, as a row of `corrections.parquet`: typed, so that every bit comes back.
    CorrectionRow, "corrections", {
        table: Text Key,
        change: Text Key,
        miner_uid: Int32 Key,
        forecast_run_id: Text Key,
        scope: Text Key,
        run_id: Int32 Key,
        column: Text Key,
        class: Text Status,
        stored_int: Int64 Status,
        stored_float: Float64 Status,
        stored_text: Text Status,
        recomputed_int: Int64 Status,
        recomputed_float: Float64 Status,
        recomputed_text: Text Status,
    }
}

rollup! {
    /// A fingerprint of evidence, as a row of `evidence.parquet`; no run or no miner: all of them.
    EvidenceRow, "evidence", {
        run_id: Int32 Key,
        miner_uid: Int32 Key,
        responses: Int64 Activity,
        scores: Int64 Activity,
        newest_score: Time Activity,
        steps: Int64 Activity,
        newest_step: Time Activity,
    }
}

rollup! {
    /// A row of evidence that an archive has and its source no longer; `counts`: whether rollups use it.
    RetainedRow, "retained", {
        run_id: Int32 Key,
        source_table: Text Key,
        id: Int64 Key,
        miner_uid: Int32 Key,
        counts: Bool Status,
    }
}

rollup! {
    /// The result of one archiving. `rows` and `cells` by table and class, `findings` by code.
    NightRow, "nights", {
        digest: Text Status,
        recount_version: Text Status,
        settings_blake3: Text Status,
        runs: Int32 Status,
        rows: Json Status,
        cells: Json Status,
        findings: Json Status,
    }
}

impl From<&Finding> for FindingRow {
    fn from(finding: &Finding) -> Self {
        FindingRow {
            code: Some(finding.code.name().to_owned()),
            severity: Some(finding.code.severity().name().to_owned()),
            run_id: finding.run.map(|run| run.0),
            miner_uid: finding.miner.map(|miner| miner.0),
            lead_hours: finding.lead.map(|lead| lead.0),
            table: Some(finding.table.to_owned()),
            row_id: finding.row_id,
            detail: Some(finding.detail.clone()),
        }
    }
}

impl From<&Difference> for DifferenceRow {
    fn from(difference: &Difference) -> Self {
        DifferenceRow {
            table: Some(difference.table.to_owned()),
            run_id: difference.key.run_id,
            forecast_run_id: difference.key.forecast_run_id.clone(),
            miner_uid: difference.key.miner_uid,
            scope: difference.key.scope.clone(),
            column: difference.column.clone(),
            class: Some(difference.class.name().to_owned()),
            stored: difference.stored.to_text(),
            recomputed: difference.recomputed.to_text(),
            delta: difference.delta().filter(|delta| delta.is_finite()),
            cause: difference.cause.map(|cause| cause.name().to_owned()),
            why: difference.cause.map(|cause| cause.to_string()),
        }
    }
}
