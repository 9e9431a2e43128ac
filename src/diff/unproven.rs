//! D6: which drifted cells rest on evidence that is gone. Absence of evidence is no evidence.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::columns::Column;
use crate::model::difference::CellClass;
use crate::model::evidence::StoredStat;
use crate::model::rollups::ForecastStat;
use crate::model::time::Micros;
use crate::model::unproven::{Gone, Loss, Losses, Remains, RunMiner};

use super::stats::StatPlan;

/// The columns that rest on steps (D6, last line).
const OF_STEPS: [&str; 9] = [
    "forecast_status",
    "current_forecast_stage",
    "current_forecast_status",
    "retries_remaining",
    "next_scheduled_retry",
    "last_error_message",
    "forecast_error_msg",
    "hosting_status",
    "hosting_latency_ms",
];

/// How long finished steps are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    days: u32,
    now: Micros,
}

impl Retention {
    /// `now`: the time of the snapshot. 0 days: steps are never deleted.
    pub fn new(days: u32, now: Micros) -> Retention {
        Retention { days, now }
    }

    fn micros(self) -> i64 {
        i64::from(self.days) * 86_400_000_000
    }

    /// Whether this is more than the days of retention before the snapshot.
    pub fn is_over(self, time: Micros) -> bool {
        self.days > 0 && time.0 < self.now.0.saturating_sub(self.micros())
    }

    /// Until when [`Retention::is_over`] stays false; `None` where it is true already, or always false.
    fn holds_until(self, time: Micros) -> Option<Micros> {
        (self.days > 0 && !self.is_over(time)).then(|| Micros(time.0.saturating_add(self.micros())))
    }
}

/// What one stored row has lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowLoss {
    pub loss: Loss,
    pub gone: Gone,
    /// The columns whose own evidence is gone, by name.
    columns: BTreeSet<String>,
}

/// What the rows of a unit have lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitLoss {
    pub rows: BTreeMap<RunMiner, RowLoss>,
    /// Runs in which ERA5 evidence is gone.
    era5_runs: BTreeSet<i32>,
    /// Time alone changes what is lost after this.
    pub fresh_until: Option<Micros>,
}

impl UnitLoss {
    /// Whether a drifted cell of a row is unproven.
    pub fn covers(&self, row: RunMiner, column: &str) -> bool {
        let own = self.rows.get(&row).is_some_and(|lost| lost.columns.contains(column) || follows(lost.loss, column));
        own || (column == "miner_rank" && self.era5_runs.contains(&row.0))
    }
}

/// What follows in the row itself.
fn follows(loss: Loss, column: &str) -> bool {
    let era5 = loss.era5
        && matches!(
            column,
            "era5_combined_score"
                | "era5_completeness"
                | "overall_forecast_score"
                | "miner_rank"
                | "forecast_status"
                | "current_forecast_stage"
                | "current_forecast_status"
                | "last_error_message"
                | "forecast_error_msg"
        );
    let day1 = loss.day1 && matches!(column, "overall_forecast_score" | "forecast_status" | "current_forecast_stage");
    era5 || day1 || (loss.steps && OF_STEPS.contains(&column))
}

/// Whether a drifted cell of `miner_stats` is unproven.
pub fn covers_miner(losses: &Losses, miner: Option<i32>, column: &str) -> bool {
    if column == "miner_rank" {
        return losses.all().era5;
    }
    let loss = miner.map(|miner| losses.of_miner(miner)).unwrap_or_default();
    match column {
        "avg_forecast_score"
        | "best_forecast_score"
        | "worst_forecast_score"
        | "score_std_dev"
        | "avg_era5_score"
        | "avg_era5_completeness"
        | "successful_forecasts"
        | "forecast_success_ratio"
        | "last_successful_forecast" => loss.era5,
        "failed_forecasts"
        | "last_failed_forecast"
        | "consecutive_successes"
        | "consecutive_failures"
        | "common_errors"
        | "error_rate_by_type" => loss.era5 || loss.steps,
        "avg_day1_score" => loss.day1,
        "hosting_successes" | "hosting_failures" | "host_reliability_ratio" | "avg_hosting_latency_ms" => loss.steps,
        _ => false,
    }
}

/// Whether a drifted cell of `weather_subnet_stats` is unproven. No run: the row for life.
pub fn covers_subnet(losses: &Losses, run: Option<i32>, column: &str) -> bool {
    let loss = run.map_or_else(|| losses.all(), |run| losses.of_run(run));
    match column {
        "completed" | "mean_score" | "score_std_dev" | "min_score" | "p10_score" | "median_score" | "p90_score" | "max_score"
        | "mean_completeness" | "top_miners" | "bottom_miners" => loss.era5,
        "failed" | "in_progress" => loss.era5 || loss.steps,
        "active_miners" | "mean_overall_score" => loss.era5 || loss.day1,
        "mean_day1_score" => loss.day1,
        "mean_hosting_latency_ms" | "host_reliability_ratio" => loss.steps,
        _ => false,
    }
}

/// A stored row with the recomputed one of the same key.
pub(super) type Joined<'r> = (&'r StoredStat, &'r ForecastStat);

impl StatPlan {
    /// The (run, miner) whose evidence must be looked at, since a cell may rest on some that is gone. Of nearly every row there is
    /// nothing to look at: a cell that does not drift, or whose evidence made a number, is proven.
    pub fn suspects(&self, stored: &[StoredStat], recomputed: &[&ForecastStat], retention: Retention) -> BTreeSet<RunMiner> {
        let doubtful =
            |(stored, row): &Joined<'_>| self.gone_by(stored, row, &Remains::default(), retention) != RowLoss::default();
        joined(stored, recomputed).filter(doubtful).filter_map(|(_, row)| Some((row.run_id?, row.miner_uid?))).collect()
    }

    /// What the rows have lost. `remains` has all [`StatPlan::suspects`].
    pub fn losses(
        &self,
        stored: &[StoredStat],
        recomputed: &[&ForecastStat],
        remains: &BTreeMap<RunMiner, Remains>,
        retention: Retention,
    ) -> UnitLoss {
        let mut unit = UnitLoss::default();
        for (stored, row) in joined(stored, recomputed) {
            let (Some(run), Some(miner)) = (row.run_id, row.miner_uid) else { continue };
            if self.steps_drift(stored, row) {
                let oldest = remains.get(&(run, miner)).and_then(|remains| remains.oldest_finished_step);
                let until = [row.forecast_init_time, oldest].into_iter().flatten().filter_map(|time| retention.holds_until(time));
                unit.fresh_until = unit.fresh_until.into_iter().chain(until).min();
            }
            let Some(remains) = remains.get(&(run, miner)) else { continue };
            let lost = self.gone_by(stored, row, remains, retention);
            if lost.loss.era5 {
                unit.era5_runs.insert(run);
            }
            if lost != RowLoss::default() {
                unit.rows.insert((run, miner), lost);
            }
        }
        unit
    }

    /// D6's lines, for one row.
    fn gone_by(&self, stored: &StoredStat, recomputed: &ForecastStat, remains: &Remains, retention: Retention) -> RowLoss {
        let mut lost = RowLoss::default();
        let row = &stored.row;
        let mut gone = |column: &str| {
            lost.columns.insert(column.to_owned());
        };
        let mut loss = Loss::default();
        for &(lead, a, b) in &self.wide {
            if finite(row.wide[a]) && recomputed.wide[b].is_none() && !remains.era5_leads.contains(&lead.0) {
                gone(&Column::wide(lead).name);
                lost.gone.leads.insert(lead.0);
                loss.era5 = true;
            }
        }
        let counts = |value: Option<f64>| finite(value) && value != Some(0.0);
        // Without any ERA5 row there is no scored lead.
        if !remains.era5 && recomputed.era5_combined_score.is_none() {
            lost.gone.era5 = counts(row.era5_combined_score) || counts(row.era5_completeness);
            loss.era5 |= lost.gone.era5;
        }
        if finite(row.forecast_score_initial) && !remains.day1 && recomputed.forecast_score_initial.is_none() {
            gone("forecast_score_initial");
            lost.gone.day1 = true;
            loss.day1 = true;
        }
        let neither = !remains.era5 && !remains.day1;
        if finite(row.overall_forecast_score) && neither && recomputed.overall_forecast_score.is_none() {
            gone("overall_forecast_score");
            (lost.gone.era5, lost.gone.day1) = (true, true);
        }
        for (column, stored, recomputed) in [
            ("avg_rmse", row.avg_rmse, recomputed.avg_rmse),
            ("avg_acc", row.avg_acc, recomputed.avg_acc),
            ("avg_skill_score", row.avg_skill_score, recomputed.avg_skill_score),
        ] {
            if finite(stored) && !remains.components && recomputed.is_none() {
                gone(column);
                lost.gone.components = true;
            }
        }
        let old = recomputed.forecast_init_time.is_some_and(|init| retention.is_over(init));
        let kept = remains.oldest_finished_step.is_some_and(|time| retention.is_over(time));
        loss.steps = old && !kept && self.steps_drift(stored, recomputed);
        lost.gone.steps = loss.steps;
        lost.loss = loss;
        lost
    }

    /// Whether one of the columns that rest on steps drifts, whatever is compared.
    fn steps_drift(&self, stored: &StoredStat, recomputed: &ForecastStat) -> bool {
        self.all.iter().any(|(column, cell)| {
            OF_STEPS.contains(&column.name.as_ref())
                && cell.pair(stored, recomputed).class(self.table.tolerance) == CellClass::Drift
        })
    }
}

fn joined<'r>(stored: &'r [StoredStat], recomputed: &'r [&'r ForecastStat]) -> impl Iterator<Item = Joined<'r>> {
    let rows: BTreeMap<Option<i32>, &ForecastStat> = recomputed.iter().map(|row| (row.miner_uid, *row)).collect();
    stored.iter().filter_map(move |stored| Some((stored, *rows.get(&stored.row.miner_uid)?)))
}

fn finite(value: Option<f64>) -> bool {
    value.is_some_and(f64::is_finite)
}
