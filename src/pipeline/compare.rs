//! How a pass compares: which rows, what of the evidence is gone, and whether anything was compared at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::diff::{Retention, StatDiff, StatPlan, TableDiff, TablePlan, UnitLoss, covers_miner, covers_subnet};
use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::{Column, Group};
use crate::model::difference::{Difference, RowKey};
use crate::model::evidence::{RunEvidence, StoredRef, StoredStat};
use crate::model::ids::{MinerUid, RunId};
use crate::model::outcome::TableTally;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};
use crate::model::rows::stats_from_batch;
use crate::model::time::Micros;
use crate::model::unproven::{Gone, Losses};
use crate::rollup::{UnitFold, remains, stand_ins};
use crate::source::united::joined;

use super::causes::StoredSide;
use super::pass::Pass;

impl Pass<'_> {
    pub(super) fn strays(&self) -> Result<Vec<StoredStat>> {
        let mut strays = self.source.strays()?;
        strays.retain(|stray| self.includes_row(&stray.row));
        Ok(strays)
    }

    /// Whether the rollups of this row are compared.
    fn includes_row(&self, row: &ForecastStat) -> bool {
        self.job.narrowing.includes_row(row, &self.snapshot.runs)
    }

    /// Whether what is about this run and this miner is compared; none of either: all of them.
    pub(super) fn includes(&self, run: Option<RunId>, miner: Option<MinerUid>) -> bool {
        self.job.narrowing.includes(run, miner, &self.snapshot.runs)
    }

    fn included<'f>(&'f self, table: &'static str) -> impl Fn(&Column) -> bool + 'f {
        move |column| self.job.filter.includes(table, column)
    }

    pub(super) fn stat_plan(&self) -> StatPlan {
        let included = self.included(ForecastStat::TABLE);
        StatPlan::new(&self.snapshot.wide_leads, &self.job.scoring.expected_leads, self.job.tolerance, included)
    }

    /// The diff with its causes, what the stored rows give to other tables, and until when time alone does not change it.
    pub(super) fn compare_unit(
        &self,
        runs: &[RunEvidence],
        stored: StoredRef<'_>,
        fold: &UnitFold,
        plan: &StatPlan,
    ) -> Result<(StatDiff, StoredSide, Option<Micros>)> {
        let mut recomputed: Vec<&ForecastStat> = fold.stats.iter().filter(|row| row.placed).map(|row| &row.stat).collect();
        let columns = match stored {
            StoredRef::Rows(stored) => {
                let (mut diff, fresh_until) = self.compare_rows(runs, stored, recomputed, plan)?;
                let side = self.causes(runs, stored, fold, &mut diff.table);
                self.set_habits_apart(&mut diff.table, &plan.table);
                return Ok((diff, side, fresh_until));
            }
            StoredRef::Columns(columns) => columns,
        };
        let (mut alike, others) = plan.take_alike(columns, &mut recomputed)?;
        alike.retain(|row| self.includes_row(row));
        let stored = stats_from_batch(&others, &self.snapshot.wide_leads)?;
        let (mut diff, fresh_until) = self.compare_rows(runs, &stored, recomputed, plan)?;
        let side = self.causes(runs, &stored, fold, &mut diff.table);
        self.set_habits_apart(&mut diff.table, &plan.table);
        diff.table.add(plan.alike(alike.len()));
        Ok((diff, side, fresh_until))
    }

    /// With the profile of the validator, what it stores by habit is no drift.
    fn set_habits_apart(&self, diff: &mut TableDiff, plan: &TablePlan) {
        if let Some(profile) = &self.job.profile {
            diff.set_habits_apart(plan, |difference| profile.habit(difference).is_some());
        }
    }

    /// The same for the tables that are made of the run rows. What follows from a cell of its group that somebody got wrong is no habit: it
    /// is corrected with it, in the same night.
    pub(super) fn set_habits_of_whole_apart(
        &self,
        compared: &mut [(TablePlan, TableDiff)],
        runs: &TablePlan,
        of_runs: &[Difference],
    ) {
        let Some(profile) = &self.job.profile else { return };
        let mut wrong = Wrong::default();
        of_runs.iter().for_each(|cell| wrong.note(runs, cell));
        for (plan, diff) in compared {
            diff.set_habits_apart(plan, |cell| {
                profile.habit(cell).is_some_and(|habit| !habit.follows || !wrong.is_below(plan, cell))
            });
            if plan.table == MinerStat::TABLE {
                diff.differences.iter().for_each(|cell| wrong.note(plan, cell));
            }
        }
    }

    /// Rows of a unit, narrowed only after it is known what is lost (D6).
    fn compare_rows(
        &self,
        evidence: &[RunEvidence],
        stored: &[StoredStat],
        mut recomputed: Vec<&ForecastStat>,
        plan: &StatPlan,
    ) -> Result<(StatDiff, Option<Micros>)> {
        let lost = self.lost(evidence, stored, &recomputed, plan);
        let runs: BTreeMap<Option<i32>, &ForecastStat> = recomputed.iter().map(|row| (row.miner_uid, *row)).collect();
        let mut stored: Vec<&StoredStat> = stored.iter().collect();
        stored.retain(|row| self.includes_row(runs.get(&row.row.miner_uid).unwrap_or(&&row.row)));
        // Of a run that it has deleted, a database stores nothing, and misses nothing.
        let stores = |row: &ForecastStat| stored.iter().any(|stored| stored.row.miner_uid == row.miner_uid);
        recomputed.retain(|row| self.includes_row(row) && (!self.is_gone(row.run_id) || stores(row)));
        Ok((plan.unit(&stored, &recomputed, &lost)?, lost.fresh_until))
    }

    /// D6, for all rows of a unit. The evidence is gone through again only where a cell may rest on what is gone.
    fn lost(&self, evidence: &[RunEvidence], stored: &[StoredStat], recomputed: &[&ForecastStat], plan: &StatPlan) -> UnitLoss {
        let retention = self.retention();
        let suspects = plan.suspects(stored, recomputed, retention);
        plan.losses(stored, recomputed, &remains(evidence, &suspects, &self.rules), retention)
    }

    /// `miner_stats` and `weather_subnet_stats`, where they are stored and wanted.
    pub(super) fn compare_whole(
        &self,
        miners: &[MinerStat],
        subnet: &[SubnetStat],
        losses: &Losses,
    ) -> Result<Vec<(TablePlan, TableDiff)>> {
        let mut compared = Vec::new();
        if !self.job.narrowing.lifetime {
            return Ok(compared);
        }
        self.diff.time(|| {
            if let Some(stored) = &self.snapshot.stored_miners {
                let plan = TablePlan::of::<MinerStat>(self.job.tolerance, self.included(MinerStat::TABLE));
                let keep = |row: &&MinerStat| self.includes(None, row.miner_uid.map(MinerUid));
                let key = |row: &MinerStat| RowKey { miner_uid: row.miner_uid, ..RowKey::default() };
                let unproven = |key: &RowKey, column: &str| covers_miner(losses, key.miner_uid, column);
                let diff = plan.table(stored.iter().filter(keep), miners.iter().filter(keep), key, unproven)?;
                compared.push((plan, diff));
            }
            if let Some(stored) = &self.snapshot.stored_subnet {
                let plan = TablePlan::of::<SubnetStat>(self.job.tolerance, self.included(SubnetStat::TABLE));
                let keep = |row: &&SubnetStat| self.includes(row.run_id.map(RunId), None);
                let stores = |row: &SubnetStat| stored.iter().any(|stored| stored.run_id == row.run_id);
                let kept = |row: &&SubnetStat| keep(row) && (!self.is_gone(row.run_id) || stores(row));
                let key = |row: &SubnetStat| RowKey { scope: row.scope.clone(), run_id: row.run_id, ..RowKey::default() };
                let unproven = |key: &RowKey, column: &str| covers_subnet(losses, key.run_id, column);
                let diff = plan.table(stored.iter().filter(keep), subnet.iter().filter(kept), key, unproven)?;
                compared.push((plan, diff));
            }
            Ok(compared)
        })
    }

    /// Refuses a narrowing that left nothing to compare: nobody may take that for "in sync".
    pub(super) fn check_compared(&self, tables: &BTreeMap<&'static str, TableTally>) -> Result<()> {
        let narrowing = &self.job.narrowing;
        if tables.is_empty() || !narrowing.is_narrow() {
            return Ok(());
        }
        let rows =
            |names: &[&str]| -> u64 { names.iter().filter_map(|name| tables.get(name)).map(|table| table.rows.all()).sum() };
        let no_run = !self.snapshot.runs.iter().any(|run| narrowing.includes_run(run)) && rows(&[ForecastStat::TABLE]) == 0;
        let no_miner = narrowing.miner.is_some() && rows(&[ForecastStat::TABLE, MinerStat::TABLE]) == 0;
        let nothing = tables.values().all(|table| table.rows.all() == 0);
        if !((narrowing.names_runs() && no_run) || no_miner || nothing) {
            return Ok(());
        }
        let detail = format!("nothing was compared: the source has no stored or recomputed row of {narrowing}");
        Err(Error::new(ErrorKind::Usage, "comparing", detail).hint(self.what_there_is()))
    }

    /// The runs and miners of the source, in one line.
    fn what_there_is(&self) -> String {
        let runs = &self.snapshot.runs;
        let ids = (runs.iter().map(|run| run.id).min(), runs.iter().map(|run| run.id).max());
        let times = (runs.iter().map(|run| run.gfs_init).min(), runs.iter().map(|run| run.gfs_init).max());
        let mut parts = vec![match (ids, times) {
            ((Some(first), Some(last)), (Some(from), Some(to))) => {
                format!("the source has {} runs ({first} to {last}, initialised {} to {})", runs.len(), from.iso(), to.iso())
            }
            _ => "the source has no runs".to_owned(),
        }];
        let stored = self.snapshot.stored_miners.iter().flatten().filter_map(|row| row.miner_uid);
        let miners: BTreeSet<i32> = self.snapshot.nodes.iter().map(|node| node.uid.0).chain(stored).collect();
        if let (Some(first), Some(last)) = (miners.first(), miners.last()) {
            parts.push(format!("and {} miners ({first} to {last})", miners.len()));
        }
        parts.join(" ")
    }

    /// D6: what an archive given as history holds stands in for what is gone, and for nothing else. Gives whether anything does.
    pub(super) fn take_stand_ins(
        &self,
        runs: &mut [RunEvidence],
        stored: StoredRef<'_>,
        fold: &UnitFold,
        plan: &StatPlan,
    ) -> Result<bool> {
        // A source with history gives rows.
        let StoredRef::Rows(stored) = stored else { return Ok(false) };
        if !self.source.has_history() || !self.snapshot.has_stored_stats {
            return Ok(false);
        }
        let recomputed: Vec<&ForecastStat> = fold.stats.iter().filter(|row| row.placed).map(|row| &row.stat).collect();
        let lost = self.lost(runs, stored, &recomputed, plan);
        let mut taken = 0;
        for run in runs {
            let of_run = lost.rows.iter().filter(|((of, _), _)| *of == run.run.id.0);
            let gone: BTreeMap<i32, Gone> = of_run.map(|((_, miner), row)| (*miner, row.gone.clone())).collect();
            if gone.is_empty() || self.source.is_archived(run.run.id) {
                continue;
            }
            let Some(former) = self.source.former(&run.run)? else { continue };
            let chosen = stand_ins(run, &former, &gone, |time| self.retention().is_over(time));
            if chosen.rows() == 0 {
                continue;
            }
            run.scores = joined(&run.scores, &former.scores, &chosen.scores)?;
            run.components = joined(&run.components, &former.components, &chosen.components)?;
            run.steps = joined(&run.steps, &former.steps, &chosen.steps)?;
            taken += chosen.rows() as u64;
        }
        self.stood_in.fetch_add(taken, Ordering::Relaxed);
        Ok(taken > 0)
    }

    fn retention(&self) -> Retention {
        Retention::new(self.job.scoring.step_retention_days, self.rules.snapshot_time)
    }
}

/// Of which miners and runs a group of columns has a cell that is wrong.
#[derive(Default)]
struct Wrong {
    miners: BTreeSet<(Group, Option<i32>)>,
    runs: BTreeSet<(Group, Option<i32>)>,
}

impl Wrong {
    fn note(&mut self, plan: &TablePlan, cell: &Difference) {
        if !cell.is_wrong() {
            return;
        }
        // A row that is missing has no column that is right.
        let of_cell = cell.column.as_deref().and_then(|column| plan.group(column));
        for group in Group::NAMED.into_iter().map(|(_, group)| group).filter(|group| of_cell.is_none_or(|own| own == *group)) {
            self.miners.insert((group, cell.key.miner_uid));
            self.runs.insert((group, cell.key.run_id));
        }
    }

    /// Whether a cell of a miner or of the subnet rests on one of them. Ranks rest on scores.
    fn is_below(&self, plan: &TablePlan, cell: &Difference) -> bool {
        let Some(group) = cell.column.as_deref().and_then(|column| plan.group(column)) else { return false };
        let groups = if group == Group::Ranks { vec![group, Group::Scores] } else { vec![group] };
        groups.into_iter().any(|group| match (cell.table, cell.key.run_id) {
            (MinerStat::TABLE, _) => self.miners.contains(&(group, cell.key.miner_uid)),
            (_, Some(run)) => self.runs.contains(&(group, Some(run))),
            (_, None) => self.miners.iter().any(|(wrong, _)| *wrong == group),
        })
    }
}
