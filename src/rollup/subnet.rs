//! N: the subnet, in one run and over its lifetime.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::ids::RunId;
use crate::model::miner_list::{LISTED, Listed, MinerList, Named};
use crate::model::rollups::{ForecastStat, MinerStat, SubnetStat};

use super::exact::{mean, output, quantile, stddev};
use super::miner::reliability;

/// The row of one run, over all its rollup rows.
pub fn subnet_of_run(run: RunId, rows: &[&ForecastStat]) -> SubnetStat {
    let count = |holds: &dyn Fn(&ForecastStat) -> bool| rows.iter().filter(|row| holds(row)).count();
    let status = |name: &str| count(&|row| row.forecast_status.as_deref() == Some(name)) as i32;
    let hosting = |names: &[&str]| count(&|row| row.hosting_status.as_deref().is_some_and(|s| names.contains(&s))) as u64;
    let values = |field: fn(&ForecastStat) -> Option<f64>| rows.iter().filter_map(|row| field(row)).collect::<Vec<_>>();
    let active = count(&|row| row.forecast_score_initial.is_some() || row.era5_combined_score.is_some());
    let (completed, failed) = (status("completed"), status("failed"));
    let scored = rows.iter().filter_map(|row| {
        Some(Scored {
            uid: row.miner_uid?,
            hotkey: row.miner_hotkey.as_deref(),
            score: row.era5_combined_score?,
            rank: row.miner_rank,
        })
    });
    SubnetStat {
        scope: Some("run".to_owned()),
        run_id: Some(run.0),
        miners: Some(rows.len() as i32),
        active_miners: Some(active as i32),
        completed: Some(completed),
        failed: Some(failed),
        in_progress: Some(rows.len() as i32 - completed - failed),
        mean_day1_score: mean(&values(|row| row.forecast_score_initial)).and_then(output),
        mean_overall_score: mean(&values(|row| row.overall_forecast_score)).and_then(output),
        mean_completeness: mean(&values(|row| row.era5_completeness)).and_then(output),
        mean_hosting_latency_ms: mean(&values(|row| row.hosting_latency_ms.map(f64::from))).and_then(output),
        host_reliability_ratio: Some(reliability(hosting(&["accessible"]), hosting(&["inaccessible", "timeout", "error"]))),
        ..distribution(scored.collect())
    }
}

/// The row over everything. `rows` is the number of rollup rows that have the place.
pub fn subnet_for_life(miners: &[MinerStat], rows: u64) -> SubnetStat {
    let values = |field: fn(&MinerStat) -> Option<f64>| miners.iter().filter_map(field).collect::<Vec<_>>();
    let total = |field: fn(&MinerStat) -> Option<i32>| miners.iter().filter_map(field).sum::<i32>();
    let active = miners.iter().filter(|m| m.avg_forecast_score.is_some() || m.avg_day1_score.is_some()).count();
    let (completed, failed) = (total(|m| m.successful_forecasts), total(|m| m.failed_forecasts));
    let scored = miners.iter().filter_map(|m| {
        Some(Scored { uid: m.miner_uid?, hotkey: m.miner_hotkey.as_deref(), score: m.avg_forecast_score?, rank: m.miner_rank })
    });
    SubnetStat {
        scope: Some("lifetime".to_owned()),
        run_id: None,
        miners: Some(miners.len() as i32),
        active_miners: Some(active as i32),
        completed: Some(completed),
        failed: Some(failed),
        in_progress: Some(rows as i32 - completed - failed),
        mean_day1_score: mean(&values(|m| m.avg_day1_score)).and_then(output),
        mean_overall_score: None,
        mean_completeness: mean(&values(|m| m.avg_era5_completeness)).and_then(output),
        mean_hosting_latency_ms: mean(&values(|m| m.avg_hosting_latency_ms)).and_then(output),
        host_reliability_ratio: mean(&values(|m| m.host_reliability_ratio)).and_then(output),
        ..distribution(scored.collect())
    }
}

/// A miner with a score, as N2 lists it.
struct Scored<'a> {
    uid: i32,
    hotkey: Option<&'a str>,
    score: f64,
    rank: Option<i32>,
}

/// N1's distribution of the score, and N2's lists.
fn distribution(mut scored: Vec<Scored<'_>>) -> SubnetStat {
    scored.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.uid.cmp(&b.uid)));
    let scores: Vec<f64> = scored.iter().map(|miner| miner.score).collect();
    let at = |p: f64| quantile(&scores, p).and_then(output);
    let bottom = list(&scored);
    scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.uid.cmp(&b.uid)));
    SubnetStat {
        mean_score: mean(&scores).and_then(output),
        score_std_dev: stddev(&scores).and_then(output),
        min_score: scores.first().copied(),
        p10_score: at(0.1),
        median_score: at(0.5),
        p90_score: at(0.9),
        max_score: scores.last().copied(),
        top_miners: Some(list(&scored)),
        bottom_miners: Some(bottom),
        ..SubnetStat::default()
    }
}

fn list(miners: &[Scored<'_>]) -> MinerList {
    let listed = |m: &Scored<'_>| Listed {
        miner: Arc::new(Named { uid: m.uid, hotkey: m.hotkey.map(str::to_owned) }),
        score: m.score,
        rank: m.rank,
    };
    MinerList::Recomputed(miners.iter().take(LISTED).map(listed).collect())
}
