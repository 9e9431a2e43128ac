//! M: one miner over all runs, from the rows that have the place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::model::evidence::{NODES, Node};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{MinerUid, RunId};
use crate::model::rollups::{MinerStat, SubnetStat};
use crate::model::time::Micros;
use crate::parallel;

use super::Rules;
use super::exact::{ExactSum, output, stddev};
use super::rank::ranks;
use super::stage::Hosting;
use super::subnet::subnet_for_life;

/// What the lifetime fold takes of one rollup row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MinerRun {
    pub run: RunId,
    pub init: Micros,
    pub miner: MinerUid,
    pub hotkey: String,
    pub combined: Option<f64>,
    pub completeness: f64,
    pub day1: Option<f64>,
    /// R7: completed (true), failed (false), or neither.
    pub success: Option<bool>,
    /// M5
    pub end: Option<Micros>,
    pub hosting: Option<Hosting>,
    pub latency_ms: Option<i32>,
    pub inference_seconds: Option<i32>,
    /// R10
    pub error_type: Option<String>,
    pub response_time: Option<Micros>,
}

/// Sum and count of the non-null values of a column.
#[derive(Default)]
struct Mean {
    sum: ExactSum,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum.add(value);
            self.count += 1;
        }
    }

    /// A2
    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.total() / self.count as f64).and_then(output)
    }
}

/// What grows by pieces: it is not copied as it grows, and leaves no gaps behind.
struct Pieces<T>(Vec<Vec<T>>);

const PIECE: usize = 1 << 6;

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Pieces(Vec::new())
    }
}

impl<T> Pieces<T> {
    fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(value),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(value);
                self.0.push(piece);
            }
        }
    }

    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PIECE + last.len())
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

/// One miner's life so far. Per row it keeps a score and an outcome (9 bytes); all else is flat.
#[derive(Default)]
struct Life {
    rows: u64,
    /// M1
    newest: Option<(Micros, RunId, String)>,
    combined: Pieces<f64>,
    /// M6: how each of [`Lifetime::runs`] ended, completed (true) or failed (false), as far as it has.
    outcomes: Pieces<Option<bool>>,
    era5: Mean,
    completeness: Mean,
    day1: Mean,
    latency: Mean,
    inference: Mean,
    inference_total: i64,
    last_success: Option<Micros>,
    last_failure: Option<Micros>,
    hosting_successes: u64,
    hosting_failures: u64,
    errors: BTreeMap<String, u64>,
    first_seen: Option<Micros>,
    last_active: Option<Micros>,
}

impl Life {
    fn absorb(&mut self, row: MinerRun, run: usize) {
        self.rows += 1;
        if self.newest.as_ref().is_none_or(|(init, run, _)| (*init, *run) < (row.init, row.run)) {
            self.newest = Some((row.init, row.run, row.hotkey));
        }
        row.combined.into_iter().for_each(|score| self.combined.push(score));
        self.era5.add(Some(row.combined.unwrap_or(0.0)));
        self.completeness.add(Some(row.completeness));
        self.day1.add(row.day1);
        self.latency.add(row.latency_ms.map(f64::from));
        self.inference.add(row.inference_seconds.map(f64::from));
        self.inference_total += row.inference_seconds.map_or(0, i64::from);
        if let Some(success) = row.success {
            debug_assert!(self.outcomes.len() <= run, "invariant: a miner has one row of a run that has the place");
            (self.outcomes.len()..run).for_each(|_| self.outcomes.push(None));
            self.outcomes.push(Some(success));
            let last = if success { &mut self.last_success } else { &mut self.last_failure };
            *last = (*last).max(row.end);
        }
        match row.hosting {
            Some(Hosting::Accessible) => self.hosting_successes += 1,
            Some(Hosting::Inaccessible | Hosting::Timeout | Hosting::Error) => self.hosting_failures += 1,
            None => {}
        }
        if let Some(kind) = row.error_type {
            *self.errors.entry(kind).or_default() += 1;
        }
        self.first_seen = [self.first_seen, row.response_time].into_iter().flatten().min();
        self.last_active = self.last_active.max(row.response_time);
    }

    /// The runs that ended so.
    fn ended<'r>(&self, success: bool, runs: &'r [(Micros, RunId)]) -> impl Iterator<Item = &'r (Micros, RunId)> {
        runs.iter().zip(self.outcomes.iter()).filter(move |(_, outcome)| **outcome == Some(success)).map(|(run, _)| run)
    }

    /// M6: completed runs that are newer than every failed one, and failed runs that are newer than every completed one.
    fn streaks(&self, runs: &[(Micros, RunId)]) -> (i32, i32) {
        let streak = |success: bool| {
            let other = self.ended(!success, runs).max();
            self.ended(success, runs).filter(|run| Some(*run) > other).count() as i32
        };
        (streak(true), streak(false))
    }

    /// M8
    fn common_errors(&self) -> Option<Json> {
        let mut errors: Vec<(&String, &u64)> = self.errors.iter().collect();
        errors.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        errors.truncate(5);
        let map: Map<String, Json> = errors.into_iter().map(|(kind, count)| (kind.clone(), Json::from(*count))).collect();
        (!map.is_empty()).then_some(Json::Object(map))
    }

    /// M8
    fn error_rate(&self, forecast_type: &str) -> Option<Json> {
        let errors: u64 = self.errors.values().sum();
        let rate = errors as f64 / self.rows as f64;
        (errors > 0).then(|| Json::Object(Map::from_iter([(forecast_type.to_owned(), Json::from(rate))])))
    }

    fn stat(&self, uid: i32, runs: &[(Micros, RunId)], rules: &Rules) -> MinerStat {
        let combined: Vec<f64> = self.combined.iter().copied().collect();
        let [completed, failed] = [true, false].map(|success| self.ended(success, runs).count() as i32);
        let (consecutive_successes, consecutive_failures) = self.streaks(runs);
        MinerStat {
            miner_uid: Some(uid),
            miner_hotkey: self.newest.as_ref().map(|(_, _, hotkey)| hotkey.clone()),
            miner_rank: None,
            avg_forecast_score: super::exact::mean(&combined).and_then(output),
            successful_forecasts: Some(completed),
            failed_forecasts: Some(failed),
            forecast_success_ratio: output(f64::from(completed) / self.rows as f64),
            hosting_successes: Some(self.hosting_successes as i32),
            hosting_failures: Some(self.hosting_failures as i32),
            host_reliability_ratio: Some(reliability(self.hosting_successes, self.hosting_failures)),
            avg_hosting_latency_ms: self.latency.mean(),
            avg_day1_score: self.day1.mean(),
            avg_era5_score: self.era5.mean(),
            avg_era5_completeness: self.completeness.mean(),
            best_forecast_score: combined.iter().copied().max_by(f64::total_cmp),
            worst_forecast_score: combined.iter().copied().min_by(f64::total_cmp),
            score_std_dev: stddev(&combined).and_then(output),
            last_successful_forecast: self.last_success,
            last_failed_forecast: self.last_failure,
            consecutive_successes: Some(consecutive_successes),
            consecutive_failures: Some(consecutive_failures),
            total_inference_time: Some(self.inference_total),
            avg_inference_time: self.inference.mean(),
            common_errors: self.common_errors(),
            error_rate_by_type: self.error_rate(&rules.scoring.forecast_type),
            first_seen: self.first_seen,
            last_active: self.last_active,
        }
    }
}

/// M4: successes / (successes + failures), 0.0 where none.
pub fn reliability(successes: u64, failures: u64) -> f64 {
    if successes + failures == 0 { 0.0 } else { successes as f64 / (successes + failures) as f64 }
}

/// All miners over all runs. Takes rows in any order and always gives the same bits.
#[derive(Default)]
pub struct Lifetime {
    miners: BTreeMap<i32, Life>,
    /// The runs of the rows in the order in which they came; one may be there twice.
    runs: Vec<(Micros, RunId)>,
}

impl Lifetime {
    pub fn absorb(&mut self, rows: impl IntoIterator<Item = MinerRun>) {
        for row in rows {
            let run = (row.init, row.run);
            if self.runs.last() != Some(&run) {
                self.runs.push(run);
            }
            self.miners.entry(row.miner.0).or_default().absorb(row, self.runs.len() - 1);
        }
    }

    /// M10 and N1's `lifetime` row: all miners ascending, and the subnet.
    pub fn finish(&self, rules: &Rules) -> (Vec<MinerStat>, SubnetStat) {
        let miners: Vec<_> = self.miners.iter().collect();
        let mut stats: Vec<MinerStat> = parallel::all(miners, |(uid, life)| life.stat(*uid, &self.runs, rules));
        let averages: Vec<_> = stats.iter().map(|stat| stat.avg_forecast_score).collect();
        for (stat, rank) in stats.iter_mut().zip(ranks(&averages, rules.scoring.rank_method)) {
            stat.miner_rank = rank;
        }
        let rows = self.miners.values().map(|life| life.rows).sum();
        let subnet = subnet_for_life(&stats, rows);
        (stats, subnet)
    }

    /// Section 8: `unregistered_miner`.
    pub fn unregistered(&self, nodes: &[Node]) -> Vec<Finding> {
        let known: BTreeMap<i32, Option<&str>> = nodes.iter().map(|node| (node.uid.0, node.hotkey.as_deref())).collect();
        let strangers = self.miners.iter().filter(|(uid, life)| {
            let hotkey = life.newest.as_ref().map(|(_, _, hotkey)| hotkey.as_str());
            known.get(uid).is_none_or(|registered| *registered != hotkey)
        });
        strangers
            .map(|(uid, _)| Finding {
                code: Code::UnregisteredMiner,
                run: None,
                miner: Some(MinerUid(*uid)),
                lead: None,
                table: NODES.name,
                row_id: Some((*uid).into()),
                detail: String::new(),
            })
            .collect()
    }
}
