//! Why cells are wrong: which follow from other stored cells, and what else explains the others. Only rows that differ are looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diff::{TableDiff, TablePlan, classify};
use crate::model::cause::Cause;
use crate::model::columns::Group;
use crate::model::difference::{CellClass, Class, Difference};
use crate::model::evidence::{RunEvidence, StoredStat};
use crate::model::filter::stored_column;
use crate::model::ids::{MinerUid, RunId};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};
use crate::model::serial;
use crate::model::value::Value;
use crate::rollup::cause::{MinerRows, Suspect, of_digits, rows_of, tells};
use crate::rollup::stored::{StoredRow, numbers_of, stored_ranks, stored_run, stored_subnet_for_life};
use crate::rollup::{MinerRun, UnitFold, subnet_of_run};

use super::pass::Pass;

/// What the stored rows of a unit give to the tables that are made of them, where that is another thing than the recomputed rows give.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StoredSide {
    /// In the place of the recomputed row of a run and a miner; `None` where none is stored.
    pub rows: Vec<(RunId, MinerUid, Option<MinerRun>)>,
    /// Of no recomputed row.
    pub extra: Vec<MinerRun>,
    /// Rows of `weather_subnet_stats`, one for each run.
    #[serde(with = "serial::rows")]
    pub subnet: Vec<SubnetStat>,
}

/// The lifetime rollups that stored rows of runs give, of the miners for whom that is another thing than the recomputed rows give.
pub type StoredLifetimes = BTreeMap<i32, MinerStat>;

/// One unit on its way: what was recomputed, and the stored rows that are not alike.
struct Unequal<'u> {
    stored: BTreeMap<i32, &'u StoredStat>,
    fold: &'u UnitFold,
}

impl<'u> Unequal<'u> {
    fn new(fold: &'u UnitFold, stored: &'u [StoredStat]) -> Self {
        Unequal { stored: stored.iter().filter_map(|row| Some((row.row.miner_uid?, row))).collect(), fold }
    }

    /// Of a run: each recomputed row, and the stored one in its place where that is another one.
    fn of_run(&self, run: i32) -> impl Iterator<Item = (&'u ForecastStat, Option<&'u StoredStat>)> + '_ {
        let rows = self.fold.stats.iter().filter(move |row| row.stat.run_id == Some(run));
        rows.map(|row| (&row.stat, row.stat.miner_uid.filter(|_| row.placed).and_then(|miner| self.stored.get(&miner).copied())))
    }
}

impl Pass<'_> {
    /// Finds the causes of a unit's drifted cells, and gives what its stored rows give to other tables. `stored` has all stored rows
    /// that are not alike.
    pub(super) fn causes(
        &self,
        runs: &[RunEvidence],
        stored: &[StoredStat],
        fold: &UnitFold,
        diff: &mut TableDiff,
    ) -> StoredSide {
        if diff.differences.iter().all(|difference| difference.class == Class::Within) {
            return StoredSide::default();
        }
        let unequal = Unequal::new(fold, stored);
        self.follow(&unequal, &mut diff.differences);
        self.explain_scores(runs, &unequal, &mut diff.differences);
        if self.job.narrowing.lifetime { self.side(&unequal, diff) } else { StoredSide::default() }
    }

    /// Cells that the rules give over the stored cells of the same row, or (R6) of the same run.
    fn follow(&self, unequal: &Unequal<'_>, differences: &mut [Difference]) {
        let mut ranks: BTreeMap<i32, BTreeMap<i32, Option<i32>>> = BTreeMap::new();
        for difference in differences.iter_mut().filter(|difference| difference.class == Class::Drift) {
            let (Some(column), Some(miner)) = (&difference.column, difference.key.miner_uid) else { continue };
            let Some(stored) = unequal.stored.get(&miner) else { continue };
            let derived = match (column.as_str(), difference.key.run_id) {
                ("miner_rank", Some(run)) => {
                    let ranks = ranks.entry(run).or_insert_with(|| self.stored_ranks(unequal, run));
                    ranks.get(&miner).map(|rank| rank.map_or(Value::Null, |rank| Value::Int(rank.into())))
                }
                (column, _) => StoredRow { stat: stored, leads: &self.snapshot.wide_leads }.derived(column, &self.rules),
            };
            if derived.is_some_and(|derived| self.is_same(&difference.stored, &derived)) {
                difference.cause = Some(Cause::Follows);
            }
        }
    }

    fn is_same(&self, stored: &Value<'_>, derived: &Value<'_>) -> bool {
        classify(stored, derived, self.job.tolerance) != CellClass::Drift
    }

    fn stored_ranks(&self, unequal: &Unequal<'_>, run: i32) -> BTreeMap<i32, Option<i32>> {
        let rows: Vec<_> = unequal.of_run(run).collect();
        let scores = rows.iter().map(|(right, stored)| stored.map_or(*right, |stored| &stored.row).era5_combined_score);
        let ranks = stored_ranks(scores, &self.rules);
        rows.iter().zip(ranks).filter_map(|((right, _), rank)| Some((right.miner_uid?, rank))).collect()
    }

    /// Cells of scores that follow from nothing.
    fn explain_scores(&self, runs: &[RunEvidence], unequal: &Unequal<'_>, differences: &mut [Difference]) {
        let of_scores =
            |difference: &&mut Difference| difference.class == Class::Drift && !difference.follows() && is_score(difference);
        let mut suspects: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
        for difference in differences.iter_mut().filter(of_scores) {
            difference.cause = Some(Cause::Unexplained);
            if let (Value::Float(_), Some(run), Some(miner)) =
                (&difference.stored, difference.key.run_id, difference.key.miner_uid)
            {
                suspects.entry(run).or_default().insert(miner);
            }
        }
        for (run, miners) in suspects {
            let Some(evidence) = runs.iter().find(|evidence| evidence.run.id.0 == run) else { continue };
            let right: Vec<&ForecastStat> = unequal.of_run(run).map(|(right, _)| right).collect();
            let rows: BTreeMap<i32, MinerRows> = rows_of(evidence, &self.rules, &miners);
            for difference in differences.iter_mut().filter(|difference| difference.key.run_id == Some(run)) {
                let (Some(Cause::Unexplained), Value::Float(stored)) = (difference.cause, &difference.stored) else { continue };
                let miner = difference.key.miner_uid;
                let found = right.iter().find(|row| row.miner_uid == miner).zip(miner.and_then(|miner| rows.get(&miner)));
                if let (Some((row, rows)), Some(column)) = (found, &difference.column) {
                    let suspect = Suspect { rules: &self.rules, rows, right: row, run: &right };
                    difference.cause = Some(suspect.cause(column, *stored));
                }
            }
        }
    }

    /// What M and N take of the stored rows.
    fn side(&self, unequal: &Unequal<'_>, diff: &TableDiff) -> StoredSide {
        // Where only some columns are compared, a row may differ in others.
        let some = self.job.filter.is_narrow();
        let differing = |difference: &&Difference| difference.class != Class::Within;
        let miners: BTreeSet<Option<i32>> =
            diff.differences.iter().filter(differing).map(|difference| difference.key.miner_uid).collect();
        let history: BTreeMap<i32, &MinerRun> = unequal.fold.history.iter().map(|run| (run.miner.0, run)).collect();
        let mut side = StoredSide::default();
        let mut runs = BTreeSet::new();
        for (miner, right) in &history {
            if self.source.is_archived(right.run) {
                continue;
            }
            let missing =
                || diff.differences.iter().any(|other| other.class == Class::Missing && other.key.miner_uid == Some(*miner));
            match unequal.stored.get(miner) {
                Some(stored) if some || miners.contains(&Some(*miner)) => {
                    side.rows.push((
                        right.run,
                        right.miner,
                        stored_run(&stored.row, Some(right)).map(|row| MinerRun { run: right.run, ..row }),
                    ));
                }
                None if miners.contains(&Some(*miner)) && missing() => side.rows.push((right.run, right.miner, None)),
                _ => continue,
            }
            runs.insert(right.run);
        }
        let extra = unequal.stored.iter().filter(|(miner, _)| !history.contains_key(miner));
        side.extra = extra.filter_map(|(_, stored)| stored_run(&stored.row, None)).collect();
        side.subnet = runs.into_iter().map(|run| stored_subnet(unequal, &side, run)).collect();
        side
    }

    /// Cells of the tables that are made of the run rows: those that M and N give over the stored ones.
    pub(super) fn causes_of_whole(
        &self,
        compared: &mut [(TablePlan, TableDiff)],
        lives: &StoredLifetimes,
        side: &BTreeMap<i32, SubnetStat>,
        rows: u64,
    ) {
        for (plan, diff) in compared {
            let drifted = |difference: &&mut Difference| difference.class == Class::Drift;
            match plan.table {
                MinerStat::TABLE => {
                    let ranks = self.stored_miner_ranks();
                    for difference in diff.differences.iter_mut().filter(drifted) {
                        self.cause_of_miner(difference, lives, &ranks);
                    }
                }
                _ => {
                    let life = self.snapshot.stored_miners.as_deref().map(|miners| stored_subnet_for_life(miners, rows));
                    for difference in diff.differences.iter_mut().filter(drifted) {
                        let derived = match difference.key.run_id {
                            Some(run) => side.get(&run),
                            None => life.as_ref(),
                        };
                        self.follow_row(difference, derived);
                    }
                }
            }
        }
    }

    fn cause_of_miner(&self, difference: &mut Difference, lives: &StoredLifetimes, ranks: &BTreeMap<i32, Option<i32>>) {
        let Some(miner) = difference.key.miner_uid else { return };
        if difference.column.as_deref() == Some("miner_rank") {
            let rank = ranks.get(&miner).map(|rank| rank.map_or(Value::Null, |rank| Value::Int(rank.into())));
            if rank.is_some_and(|rank| self.is_same(&difference.stored, &rank)) {
                difference.cause = Some(Cause::Follows);
            }
            return;
        }
        self.follow_row(difference, lives.get(&miner));
        if difference.cause.is_none() && is_score(difference) {
            let cause = match (&difference.stored, &difference.recomputed) {
                (Value::Float(stored), Value::Float(right)) if tells(*stored) => of_digits(*stored, *right),
                _ => None,
            };
            difference.cause = Some(cause.unwrap_or(Cause::Unexplained));
        }
    }

    fn follow_row<R: Rollup>(&self, difference: &mut Difference, derived: Option<&R>) {
        let at = R::COLUMNS.iter().position(|column| Some(column.name.as_ref()) == difference.column.as_deref());
        if let (Some(derived), Some(at)) = (derived, at)
            && self.is_same(&difference.stored, &derived.value(at))
        {
            difference.cause = Some(Cause::Follows);
        }
    }

    /// M10 over the stored averages.
    fn stored_miner_ranks(&self) -> BTreeMap<i32, Option<i32>> {
        let stored = self.snapshot.stored_miners.as_deref().unwrap_or_default();
        let ranks = stored_ranks(stored.iter().map(|row| row.avg_forecast_score), &self.rules);
        stored.iter().zip(ranks).filter_map(|(row, rank)| Some((row.miner_uid?, rank))).collect()
    }
}

/// N1 over the rows of a run as they are stored.
fn stored_subnet(unequal: &Unequal<'_>, side: &StoredSide, run: RunId) -> SubnetStat {
    let is_missing =
        |miner: Option<i32>| side.rows.iter().any(|(of, uid, row)| *of == run && Some(uid.0) == miner && row.is_none());
    let rows = unequal.of_run(run.0).filter(|(right, stored)| stored.is_some() || !is_missing(right.miner_uid));
    let rows: Vec<_> = rows.map(|(right, stored)| numbers_of(stored.map_or(right, |stored| &stored.row))).collect();
    subnet_of_run(run, &rows.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

fn is_score(difference: &Difference) -> bool {
    let column = difference.column.as_deref().and_then(|name| stored_column(difference.table, name));
    column.is_some_and(|column| column.group == Group::Scores)
}
