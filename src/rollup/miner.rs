//! M: one miner over all runs, from the rows that have the place.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::model::evidence::{NODES, Node};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{MinerUid, RunId};
use crate::model::rollups::{MinerStat, SubnetStat};
use crate::model::time::Micros;

use super::Rules;
use super::exact::{ExactSum, deviation, output};
use super::rank::ranks;
use super::stage::Hosting;
use super::subnet::subnet_for_life;

/// What the lifetime rules take of one rollup row.
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
#[derive(Clone, Default)]
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

/// What the second pass takes of a row. Two things are known only once all rows were seen: the mean of the scores (A3), and which
/// runs were the last to complete and to fail (M6).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SecondPassRow {
    pub miner: MinerUid,
    pub init: Micros,
    pub run: RunId,
    pub combined: Option<f64>,
    pub success: Option<bool>,
}

/// The runs that ended in one way.
#[derive(Clone, Default)]
struct Ended {
    count: i32,
    /// The newest by init time.
    newest: Option<(Micros, RunId)>,
    /// The latest to end (M5).
    last: Option<Micros>,
}

/// The sums over one miner's rows so far, in memory that does not grow with them.
#[derive(Clone, Default)]
struct LifetimeSums {
    rows: u64,
    /// Rows with a score.
    scored: u64,
    best: Option<f64>,
    worst: Option<f64>,
    /// M1
    newest: Option<(Micros, RunId, String)>,
    completed: Ended,
    failed: Ended,
    /// Over all rows; a row without a score adds 0.0, so the sum is that of the scores as well.
    era5: Mean,
    completeness: Mean,
    day1: Mean,
    latency: Mean,
    inference: Mean,
    inference_total: i64,
    hosting_successes: u64,
    hosting_failures: u64,
    errors: BTreeMap<String, u64>,
    first_seen: Option<Micros>,
    last_active: Option<Micros>,
}

impl LifetimeSums {
    fn absorb(&mut self, row: MinerRun) {
        self.rows += 1;
        if self.newest.as_ref().is_none_or(|(init, run, _)| (*init, *run) < (row.init, row.run)) {
            self.newest = Some((row.init, row.run, row.hotkey));
        }
        self.scored += u64::from(row.combined.is_some());
        self.best = self.best.into_iter().chain(row.combined).max_by(f64::total_cmp);
        self.worst = self.worst.into_iter().chain(row.combined).min_by(f64::total_cmp);
        self.era5.add(Some(row.combined.unwrap_or(0.0)));
        self.completeness.add(Some(row.completeness));
        self.day1.add(row.day1);
        self.latency.add(row.latency_ms.map(f64::from));
        self.inference.add(row.inference_seconds.map(f64::from));
        self.inference_total += row.inference_seconds.map_or(0, i64::from);
        if let Some(success) = row.success {
            let ended = if success { &mut self.completed } else { &mut self.failed };
            ended.count += 1;
            ended.newest = ended.newest.max(Some((row.init, row.run)));
            ended.last = ended.last.max(row.end);
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

    /// A2, of the scores.
    fn mean(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.era5.sum.total() / self.scored as f64)
    }

    fn stat(&self, uid: i32, second: &Second, rules: &Rules) -> MinerStat {
        MinerStat {
            miner_uid: Some(uid),
            miner_hotkey: self.newest.as_ref().map(|(_, _, hotkey)| hotkey.clone()),
            miner_rank: None,
            avg_forecast_score: second.mean.and_then(output),
            successful_forecasts: Some(self.completed.count),
            failed_forecasts: Some(self.failed.count),
            forecast_success_ratio: output(f64::from(self.completed.count) / self.rows as f64),
            hosting_successes: Some(self.hosting_successes as i32),
            hosting_failures: Some(self.hosting_failures as i32),
            host_reliability_ratio: Some(reliability(self.hosting_successes, self.hosting_failures)),
            avg_hosting_latency_ms: self.latency.mean(),
            avg_day1_score: self.day1.mean(),
            avg_era5_score: self.era5.mean(),
            avg_era5_completeness: self.completeness.mean(),
            best_forecast_score: self.best,
            worst_forecast_score: self.worst,
            score_std_dev: deviation(second.squares.total(), self.scored).and_then(output),
            last_successful_forecast: self.completed.last,
            last_failed_forecast: self.failed.last,
            consecutive_successes: Some(second.successes),
            consecutive_failures: Some(second.failures),
            total_inference_time: Some(self.inference_total),
            avg_inference_time: self.inference.mean(),
            common_errors: self.common_errors(),
            error_rate_by_type: self.error_rate(&rules.scoring.forecast_type),
            first_seen: self.first_seen,
            last_active: self.last_active,
        }
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
}

/// What the second pass finds of one miner.
#[derive(Default)]
struct Second {
    mean: Option<f64>,
    /// A3: of the distances from the mean.
    squares: ExactSum,
    /// M6: completed runs that are newer than every failed one, and failed runs that are newer than every completed one.
    successes: i32,
    failures: i32,
}

impl Second {
    fn absorb(&mut self, row: SecondPassRow, life: &LifetimeSums) {
        if let (Some(score), Some(mean)) = (row.combined, self.mean) {
            self.squares.add((score - mean) * (score - mean));
        }
        let run = Some((row.init, row.run));
        match row.success {
            Some(true) => self.successes += i32::from(run > life.failed.newest),
            Some(false) => self.failures += i32::from(run > life.completed.newest),
            None => {}
        }
    }
}

/// M4: successes / (successes + failures), 0.0 where none.
pub fn reliability(successes: u64, failures: u64) -> f64 {
    if successes + failures == 0 { 0.0 } else { successes as f64 / (successes + failures) as f64 }
}

/// All miners over all runs, seen once. Takes rows in any order and always gives the same bits, as [`SecondPass`] does.
#[derive(Default)]
pub struct FirstPass(BTreeMap<i32, LifetimeSums>);

impl FirstPass {
    /// What it gives back is for the second pass.
    pub fn absorb(&mut self, row: MinerRun) -> SecondPassRow {
        let again =
            SecondPassRow { miner: row.miner, init: row.init, run: row.run, combined: row.combined, success: row.success };
        self.0.entry(row.miner.0).or_default().absorb(row);
        again
    }

    /// Continues a miner's sums in another history as well.
    pub fn branch(&self, miner: MinerUid, into: &mut FirstPass) {
        into.0.entry(miner.0).or_insert_with(|| self.0.get(&miner.0).cloned().unwrap_or_default());
    }

    pub fn has(&self, miner: MinerUid) -> bool {
        self.0.contains_key(&miner.0)
    }

    /// Section 8: `unregistered_miner`.
    pub fn unregistered(&self, nodes: &[Node]) -> Vec<Finding> {
        let known: BTreeMap<i32, Option<&str>> = nodes.iter().map(|node| (node.uid.0, node.hotkey.as_deref())).collect();
        let strangers = self.0.iter().filter(|(uid, life)| {
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

    /// All rows were seen.
    pub fn end(self) -> SecondPass {
        let seconds = self.0.iter().map(|(uid, life)| (*uid, Second { mean: life.mean(), ..Second::default() })).collect();
        SecondPass { lives: self.0, seconds }
    }
}

/// All miners over all runs, seen again.
pub struct SecondPass {
    lives: BTreeMap<i32, LifetimeSums>,
    /// Of the same miners.
    seconds: BTreeMap<i32, Second>,
}

impl SecondPass {
    /// A row that the first pass has seen.
    pub fn absorb(&mut self, row: SecondPassRow) {
        let uid = row.miner.0;
        self.seconds.get_mut(&uid).expect(SEEN).absorb(row, self.lives.get(&uid).expect(SEEN));
    }

    pub fn has(&self, miner: MinerUid) -> bool {
        self.lives.contains_key(&miner.0)
    }

    /// M10 and N1's `lifetime` row: all miners ascending, and the subnet.
    pub fn finish(self, rules: &Rules) -> (Vec<MinerStat>, SubnetStat) {
        let both = self.lives.iter().zip(self.seconds.values());
        let mut stats: Vec<MinerStat> = both.map(|((uid, life), second)| life.stat(*uid, second, rules)).collect();
        let averages: Vec<_> = stats.iter().map(|stat| stat.avg_forecast_score).collect();
        for (stat, rank) in stats.iter_mut().zip(ranks(&averages, rules.scoring.rank_method)) {
            stat.miner_rank = rank;
        }
        let subnet = subnet_for_life(&stats, self.lives.values().map(|life| life.rows).sum());
        (stats, subnet)
    }
}

const SEEN: &str = "invariant: the first pass has seen every miner";

/// Both passes, for histories that memory can hold.
#[derive(Default)]
pub struct Lifetime {
    first: FirstPass,
    again: Vec<SecondPassRow>,
}

impl Lifetime {
    pub fn absorb(&mut self, rows: impl IntoIterator<Item = MinerRun>) {
        self.again.extend(rows.into_iter().map(|row| self.first.absorb(row)));
    }

    /// See [`SecondPass::finish`].
    pub fn finish(self, rules: &Rules) -> (Vec<MinerStat>, SubnetStat) {
        let mut second = self.first.end();
        self.again.into_iter().for_each(|row| second.absorb(row));
        second.finish(rules)
    }
}
