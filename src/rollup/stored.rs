//! The rules over *stored* rows: a wrong cell that they give is a consequence, wrong only by what it rests on.

use std::borrow::Cow;

use crate::model::evidence::StoredStat;
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::rollups::{ForecastStat, MinerStat, SubnetStat};
use crate::model::value::Value;

use super::exact::{output, sum};
use super::miner::MinerRun;
use super::rank::ranks;
use super::run::{COMPLETED, FAILED};
use super::stage::Hosting;
use super::subnet::subnet_for_life;
use super::{Rules, run};

/// A stored row of a run with the leads that its table has columns for.
#[derive(Clone, Copy)]
pub struct StoredRow<'r> {
    pub stat: &'r StoredStat,
    /// Of the wide columns, in their order.
    pub leads: &'r [LeadHours],
}

impl StoredRow<'_> {
    /// What the rules give for a column from other cells of the same stored row; `None` where the row does not hold what the column is
    /// made of. The rank has a function of its own: [`stored_ranks`].
    pub fn derived(&self, column: &str, rules: &Rules) -> Option<Value<'static>> {
        let row = &self.stat.row;
        let completed = row.forecast_status.as_deref() == Some(COMPLETED);
        match column {
            "era5_combined_score" => {
                let scored = self.scored(rules)?;
                Some(number(combined(&scored, rules.leads().len())))
            }
            "era5_completeness" => output(self.scored(rules)?.len() as f64 / rules.leads().len() as f64).map(Value::Float),
            "overall_forecast_score" => {
                let overall = run::overall(row.era5_combined_score, row.forecast_score_initial, rules);
                Some(number(overall.and_then(output)))
            }
            "current_forecast_stage" if completed => Some(Value::Text("complete".into())),
            "current_forecast_status" if completed => Some(Value::Text(COMPLETED.into())),
            "last_error_message" | "forecast_error_msg" if completed => Some(Value::Null),
            _ => None,
        }
    }

    /// The stored scores of the expected leads; `None` where one of them has no column.
    fn scored(&self, rules: &Rules) -> Option<Vec<f64>> {
        let mut scored = Vec::new();
        for lead in rules.leads() {
            let at = self.leads.binary_search(lead).ok()?;
            scored.extend(self.stat.row.wide[at]);
        }
        Some(scored)
    }
}

fn number(value: Option<f64>) -> Value<'static> {
    value.map_or(Value::Null, Value::Float)
}

/// R3
fn combined(scored: &[f64], leads: usize) -> Option<f64> {
    (!scored.is_empty()).then(|| sum(scored) / leads as f64).and_then(output)
}

/// R6 over the stored scores of a run, in the order given. What is no number has no rank.
pub fn stored_ranks(scores: impl Iterator<Item = Option<f64>>, rules: &Rules) -> Vec<Option<i32>> {
    let scores: Vec<Option<f64>> = scores.map(finite).collect();
    ranks(&scores, rules.scoring.rank_method)
}

/// The row with NULL for what is no number: no rule takes such a score (A6).
pub fn numbers_of(row: &ForecastStat) -> Cow<'_, ForecastStat> {
    let scores = |row: &ForecastStat| {
        [row.era5_combined_score, row.era5_completeness, row.overall_forecast_score, row.forecast_score_initial]
    };
    if scores(row).into_iter().flatten().all(f64::is_finite) {
        return Cow::Borrowed(row);
    }
    let [era5_combined_score, era5_completeness, overall_forecast_score, forecast_score_initial] = scores(row).map(finite);
    Cow::Owned(ForecastStat {
        era5_combined_score,
        era5_completeness,
        overall_forecast_score,
        forecast_score_initial,
        ..row.clone()
    })
}

fn finite(score: Option<f64>) -> Option<f64> {
    score.filter(|score| score.is_finite())
}

/// N1's row over everything, from stored rows of `miner_stats`; `rows` is the number of rollup rows.
pub fn stored_subnet_for_life(miners: &[MinerStat], rows: u64) -> SubnetStat {
    let number = |row: &MinerStat| MinerStat {
        avg_forecast_score: finite(row.avg_forecast_score),
        avg_day1_score: finite(row.avg_day1_score),
        avg_era5_completeness: finite(row.avg_era5_completeness),
        avg_hosting_latency_ms: finite(row.avg_hosting_latency_ms),
        host_reliability_ratio: finite(row.host_reliability_ratio),
        ..row.clone()
    };
    subnet_for_life(&miners.iter().map(number).collect::<Vec<_>>(), rows)
}

/// What the lifetime rules take of a stored row. What a row does not hold (M5, M9) is that of the recomputed one.
pub fn stored_run(row: &ForecastStat, recomputed: Option<&MinerRun>) -> Option<MinerRun> {
    let success = match row.forecast_status.as_deref() {
        Some(COMPLETED) => Some(true),
        Some(FAILED) => Some(false),
        _ => None,
    };
    let hosting = [Hosting::Accessible, Hosting::Inaccessible, Hosting::Timeout, Hosting::Error];
    let kind = |error: &serde_json::Value| error.get("type").and_then(|kind| kind.as_str()).map(str::to_owned);
    Some(MinerRun {
        // Of a run that is gone; only its order among others needs it.
        run: row.run_id.map_or(RunId(0), RunId),
        init: row.forecast_init_time?,
        miner: MinerUid(row.miner_uid?),
        hotkey: row.miner_hotkey.clone().unwrap_or_default(),
        combined: finite(row.era5_combined_score),
        completeness: finite(row.era5_completeness).unwrap_or(0.0),
        day1: finite(row.forecast_score_initial),
        success,
        end: recomputed.filter(|run| run.success == success).and_then(|run| run.end),
        hosting: hosting.into_iter().find(|known| Some(known.name()) == row.hosting_status.as_deref()),
        latency_ms: row.hosting_latency_ms,
        inference_seconds: row.forecast_inference_duration_seconds,
        error_type: row.forecast_error_msg.as_ref().and_then(kind),
        response_time: recomputed.and_then(|run| run.response_time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::Scoring;
    use crate::model::time::Micros;

    const LEADS: [LeadHours; 2] = [LeadHours(24), LeadHours(48)];

    fn rules() -> Rules {
        Rules::new(Scoring { expected_leads: LEADS.to_vec(), ..Scoring::default() }, Micros(0))
    }

    fn row(wide: [Option<f64>; 2], combined: Option<f64>, day1: Option<f64>) -> StoredStat {
        let row = ForecastStat {
            era5_combined_score: combined,
            forecast_score_initial: day1,
            forecast_status: Some("completed".to_owned()),
            wide: wide.to_vec(),
            ..ForecastStat::default()
        };
        StoredStat { id: 1, row, message_unsanitized: false, error_unsanitized: false }
    }

    #[test]
    fn r3_and_r4_hold_over_stored_cells() {
        let stored = row([Some(0.5), None], Some(0.25), Some(0.4));
        let of = |column: &str| StoredRow { stat: &stored, leads: &LEADS }.derived(column, &rules());
        assert_eq!(of("era5_combined_score"), Some(Value::Float(0.25)), "0.5 / 2");
        assert_eq!(of("era5_completeness"), Some(Value::Float(0.5)), "1 / 2");
        assert_eq!(of("overall_forecast_score"), Some(Value::Float(0.95 * 0.25 + 0.05 * 1.0)));
        assert_eq!(of("current_forecast_stage"), Some(Value::Text("complete".into())), "R8");
        assert_eq!(of("forecast_error_msg"), Some(Value::Null), "R10");
        assert_eq!(of("avg_rmse"), None, "made of rows");
        let none = row([None, None], None, None);
        let of = |column: &str| StoredRow { stat: &none, leads: &LEADS }.derived(column, &rules());
        assert_eq!(of("era5_combined_score"), Some(Value::Null));
        assert_eq!(of("overall_forecast_score"), Some(Value::Null), "R4: neither");
    }

    #[test]
    fn a_table_without_a_leads_column_gives_nothing_of_leads() {
        let stored = row([Some(0.5), None], Some(0.25), None);
        assert_eq!(StoredRow { stat: &stored, leads: &LEADS[..1] }.derived("era5_combined_score", &rules()), None);
    }

    #[test]
    fn r6_ranks_stored_scores_and_passes_over_what_is_no_number() {
        let scores = [Some(0.5), Some(f64::NAN), None, Some(0.75)];
        assert_eq!(stored_ranks(scores.into_iter(), &rules()), [Some(2), None, None, Some(1)]);
    }

    #[test]
    fn r8_and_r10_follow_from_a_completed_status_alone() {
        let mut stored = row([None, None], None, None);
        let columns = ["current_forecast_stage", "current_forecast_status", "last_error_message", "forecast_error_msg"];
        let all = |stored: &StoredStat| columns.map(|column| StoredRow { stat: stored, leads: &LEADS }.derived(column, &rules()));
        let text = |text: &str| Some(Value::Text(text.to_owned().into()));
        assert_eq!(all(&stored), [text("complete"), text("completed"), Some(Value::Null), Some(Value::Null)]);
        stored.row.forecast_status = Some("failed".to_owned());
        assert_eq!(all(&stored), [None, None, None, None]);
    }

    #[test]
    fn m3_m4_and_m5_of_a_stored_row() {
        let init = Some(Micros(5));
        let mut stored =
            ForecastStat { miner_uid: Some(3), run_id: Some(7), forecast_init_time: init, ..ForecastStat::default() };
        let statuses = [(Some("completed"), Some(true)), (Some("failed"), Some(false)), (Some("pending"), None), (None, None)];
        for (status, success) in statuses {
            stored.forecast_status = status.map(str::to_owned);
            assert_eq!(stored_run(&stored, None).unwrap().success, success, "{status:?}");
        }
        assert_eq!(stored_run(&stored, None).unwrap().hosting, None);
        stored.hosting_status = Some("timeout".to_owned());
        stored.forecast_status = Some("completed".to_owned());
        let alone = stored_run(&stored, None).unwrap();
        assert_eq!((alone.run, alone.miner, alone.hosting, alone.end), (RunId(7), MinerUid(3), Some(Hosting::Timeout), None));
        // The end of a run is not stored: that of the recomputed row is taken, where both say the same of its success.
        let recomputed = MinerRun { end: Some(Micros(9)), ..alone.clone() };
        assert_eq!(stored_run(&stored, Some(&recomputed)).unwrap().end, Some(Micros(9)));
        let otherwise = MinerRun { success: Some(false), ..recomputed };
        assert_eq!(stored_run(&stored, Some(&otherwise)).unwrap().end, None);
        stored.forecast_init_time = None;
        assert!(stored_run(&stored, None).is_none(), "a row that no order has");
    }

    #[test]
    fn n1_over_stored_miners_passes_over_what_is_no_number() {
        let miner = |uid, score| MinerStat { miner_uid: Some(uid), avg_forecast_score: Some(score), ..MinerStat::default() };
        let subnet = stored_subnet_for_life(&[miner(1, 0.25), miner(2, f64::NAN), miner(3, 0.75)], 12);
        assert_eq!((subnet.miners, subnet.in_progress), (Some(3), Some(12)));
        assert_eq!((subnet.mean_score, subnet.max_score), (Some(0.5), Some(0.75)));
    }
}
