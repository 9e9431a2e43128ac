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

/// Whether a drifted cell of `weather_subnet_stats` is unproven. No run: the lifetime row.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::difference::Tolerance;
    use crate::model::ids::LeadHours;
    use crate::model::rollups::{MinerStat, Rollup, SubnetStat};

    const DAY: i64 = 86_400_000_000;
    const LEADS: [LeadHours; 2] = [LeadHours(24), LeadHours(48)];

    fn plan() -> StatPlan {
        StatPlan::new(&LEADS, &LEADS, Tolerance::default(), |_| true)
    }

    /// A row of run 7 and miner 3, initialised on day 0, with these cells: `era5_score_24h=0.5 forecast_status=failed`.
    fn row(cells: &str) -> ForecastStat {
        let mut row = ForecastStat {
            run_id: Some(7),
            miner_uid: Some(3),
            forecast_init_time: Some(Micros(0)),
            wide: vec![None; 2],
            ..ForecastStat::default()
        };
        for (name, value) in cells.split_whitespace().filter_map(|cell| cell.split_once('=')) {
            let number = value.parse::<f64>().ok();
            match name {
                "era5_score_24h" => row.wide[0] = number,
                "era5_score_48h" => row.wide[1] = number,
                "era5_combined_score" => row.era5_combined_score = number,
                "era5_completeness" => row.era5_completeness = number,
                "overall_forecast_score" => row.overall_forecast_score = number,
                "forecast_score_initial" => row.forecast_score_initial = number,
                "avg_acc" => row.avg_acc = number,
                "forecast_status" => row.forecast_status = Some(value.to_owned()),
                other => panic!("{other}"),
            }
        }
        row
    }

    /// What is left: `era5`, `lead=24` (a row of that lead), `day1`, `components`, `step=-3` (finished on that day).
    fn remains(words: &str) -> Remains {
        let mut remains = Remains::default();
        for word in words.split_whitespace() {
            match word.split_once('=') {
                None if word == "era5" => remains.era5 = true,
                None if word == "day1" => remains.day1 = true,
                None if word == "components" => remains.components = true,
                Some(("lead", lead)) => {
                    remains.era5 = true;
                    remains.era5_leads.insert(lead.parse().unwrap());
                }
                Some(("step", day)) => remains.oldest_finished_step = Some(Micros(day.parse::<i64>().unwrap() * DAY)),
                other => panic!("{other:?}"),
            }
        }
        remains
    }

    /// What is lost by a row on this day, with steps kept for 30 days: `era5`, `day1`, `steps`, and the columns of its own.
    fn lost(stored: &str, recomputed: &str, left: &str, day: i64) -> String {
        let stored = StoredStat { id: 1, row: row(stored), message_unsanitized: false, error_unsanitized: false };
        let recomputed = row(recomputed);
        let retention = Retention::new(30, Micros(day * DAY));
        let (plan, stored) = (plan(), [stored]);
        let suspects = plan.suspects(&stored, &[&recomputed], retention);
        let left = suspects.iter().map(|whose| (*whose, remains(left))).collect();
        let unit = plan.losses(&stored, &[&recomputed], &left, retention);
        let Some(row) = unit.rows.get(&(7, 3)) else { return "-".to_owned() };
        let Loss { era5, day1, steps } = row.loss;
        let kinds = [(era5, "era5"), (day1, "day1"), (steps, "steps")];
        let kinds = kinds.into_iter().filter(|(lost, _)| *lost).map(|(_, name)| name.to_owned());
        kinds.chain(row.columns.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn d6_what_is_gone() {
        // stored | recomputed | left | day | lost
        let table = "
            era5_score_24h=0.5          |                    |          | 1  | era5 era5_score_24h
            era5_score_24h=0            |                    | lead=48  | 1  | era5 era5_score_24h
            era5_score_24h=0.5          |                    | lead=24  | 1  | -
            era5_score_24h=0.5          | era5_score_24h=0.4 |          | 1  | -
            era5_score_24h=NaN          |                    |          | 1  | -
            era5_combined_score=0.5     |                    |          | 1  | era5
            era5_combined_score=0.5 era5_score_24h=0.5 |     |          | 1  | era5 era5_score_24h
            era5_combined_score=0.5     |                    | era5     | 1  | -
            era5_combined_score=0       |                    |          | 1  | -
            era5_completeness=0.5       | era5_completeness=0 |         | 1  | era5
            era5_completeness=5e-10     | era5_completeness=0 |         | 1  | era5
            forecast_score_initial=0.5  |                    |          | 1  | day1 forecast_score_initial
            forecast_score_initial=0.5  |                    | day1     | 1  | -
            forecast_score_initial=-inf |                    |          | 1  | -
            overall_forecast_score=0.5  |                    |          | 1  | overall_forecast_score
            overall_forecast_score=0.5  |                    | day1     | 1  | -
            overall_forecast_score=0.5  |                    | era5     | 1  | -
            avg_acc=0.5                 |                    |          | 1  | avg_acc
            avg_acc=0.5                 |                    | components | 1 | -
            forecast_status=failed      | forecast_status=pending |     | 30 | -
            forecast_status=failed      | forecast_status=pending |     | 31 | steps
            forecast_status=failed      | forecast_status=failed  |     | 31 | -
            forecast_status=failed      | forecast_status=pending | step=0 | 31 | -
            forecast_status=failed      | forecast_status=pending | step=1 | 31 | steps
        ";
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let [stored, recomputed, left, day, expected] = parts.try_into().unwrap();
            assert_eq!(lost(stored, recomputed, left, day.parse().unwrap()), expected, "{line}");
        }
    }

    #[test]
    fn d6_what_follows_in_the_row() {
        let follow = |era5, day1, steps| {
            let loss = Loss { era5, day1, steps };
            let names = ForecastStat::COLUMNS.iter().map(|column| column.name.as_ref());
            names.filter(|name| follows(loss, name)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            follow(true, false, false),
            "miner_rank forecast_status current_forecast_stage current_forecast_status last_error_message forecast_error_msg \
             era5_combined_score era5_completeness overall_forecast_score"
        );
        assert_eq!(follow(false, true, false), "forecast_status current_forecast_stage overall_forecast_score");
        assert_eq!(
            follow(false, false, true),
            "forecast_status current_forecast_stage current_forecast_status last_error_message retries_remaining \
             next_scheduled_retry forecast_error_msg hosting_status hosting_latency_ms"
        );
    }

    #[test]
    fn d6_ranks_of_a_run_follow_from_any_miner_of_it() {
        let unit = UnitLoss { era5_runs: BTreeSet::from([7]), ..UnitLoss::default() };
        assert!(unit.covers((7, 9), "miner_rank") && !unit.covers((8, 9), "miner_rank") && !unit.covers((7, 9), "avg_rmse"));
    }

    #[test]
    fn d6_what_follows_in_miners_and_the_subnet() {
        let losses = |loss| {
            let mut losses = Losses::default();
            losses.add((7, 3), loss);
            losses
        };
        let era5 = losses(Loss { era5: true, ..Loss::default() });
        let day1 = losses(Loss { day1: true, ..Loss::default() });
        let steps = losses(Loss { steps: true, ..Loss::default() });
        let of = |losses: &Losses, columns: &[Column], covers: &dyn Fn(&Losses, &str) -> bool| {
            columns
                .iter()
                .filter(|column| covers(losses, &column.name))
                .map(|column| column.name.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let miner = |losses: &Losses| of(losses, MinerStat::COLUMNS, &|losses, column| covers_miner(losses, Some(3), column));
        assert_eq!(
            miner(&era5),
            "miner_rank avg_forecast_score successful_forecasts failed_forecasts forecast_success_ratio avg_era5_score \
             avg_era5_completeness best_forecast_score worst_forecast_score score_std_dev last_successful_forecast \
             last_failed_forecast consecutive_successes consecutive_failures common_errors error_rate_by_type"
        );
        assert_eq!(miner(&day1), "avg_day1_score");
        assert_eq!(
            miner(&steps),
            "failed_forecasts hosting_successes hosting_failures host_reliability_ratio avg_hosting_latency_ms \
             last_failed_forecast consecutive_successes consecutive_failures common_errors error_rate_by_type"
        );
        assert!(covers_miner(&era5, Some(4), "miner_rank") && !covers_miner(&era5, Some(4), "avg_era5_score"));
        for run in [Some(7), None] {
            let subnet = |losses: &Losses| of(losses, SubnetStat::COLUMNS, &|losses, column| covers_subnet(losses, run, column));
            assert_eq!(
                subnet(&era5),
                "active_miners completed failed in_progress mean_score score_std_dev min_score p10_score median_score p90_score \
                 max_score mean_overall_score mean_completeness top_miners bottom_miners"
            );
            assert_eq!(subnet(&day1), "active_miners mean_day1_score mean_overall_score");
            assert_eq!(subnet(&steps), "failed in_progress mean_hosting_latency_ms host_reliability_ratio");
        }
        assert!(!covers_subnet(&era5, Some(8), "completed"));
    }

    #[test]
    fn d6_without_retention_no_step_is_gone() {
        let never = Retention::new(0, Micros(1000 * DAY));
        assert!(!never.is_over(Micros(0)) && never.holds_until(Micros(0)).is_none());
        let month = Retention::new(30, Micros(30 * DAY));
        assert!(!month.is_over(Micros(0)) && month.is_over(Micros(-1)));
        assert_eq!((month.holds_until(Micros(0)), month.holds_until(Micros(-1))), (Some(Micros(30 * DAY)), None));
    }
}
