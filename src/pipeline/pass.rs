//! One pass over a source: units are read, folded and compared in parallel, dropped, and their results put together in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::diff::{StatDiff, StatPlan};
use crate::error::Result;
use crate::model::changes::UnitRows;
use crate::model::correction::{EvidenceOf, Fingerprint};
use crate::model::difference::{Class, Difference};
use crate::model::digest::feed;
use crate::model::evidence::{RunEvidence, Snapshot, Stored, StoredRef, Unit, UnitEvidence, units};
use crate::model::finding::Finding;
use crate::model::fingerprint;
use crate::model::ids::RunId;
use crate::model::job::{Job, Watch};
use crate::model::outcome::{Outcome, TableTally};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};
use crate::parallel;
use crate::rollup::{Rules, ScratchPool, UnitFold, fold_unit};
use crate::source::Source;

use super::causes::{StoredLifetimes, StoredSide};
use super::incremental::Incremental;
use super::sums::{Sums, digest_of, first_of_each};

/// One unit, folded and compared.
pub struct UnitResult {
    /// Rows that have the place only where [`Pass::with_evidence`] asks for them, lead scores never: what nobody takes is dropped
    /// by the thread that made it.
    pub fold: UnitFold,
    pub diff: StatDiff,
    pub side: StoredSide,
    /// Of each run and miner, where [`Pass::with_evidence`] asks for it.
    pub evidence: BTreeMap<EvidenceOf, Fingerprint>,
    pub digest: blake3::Hash,
    /// What it was made from.
    pub rows: UnitRows,
}

/// What comes after the last unit.
pub struct Rest<'r> {
    pub miners: &'r [MinerStat],
    pub subnet: &'r [SubnetStat],
    pub findings: &'r [Finding],
    /// Of the tables that are compared as a whole.
    pub differences: Vec<&'r [Difference]>,
}

/// Who takes the results of a pass, beside its outcome. `()` takes nothing.
///
/// `P` is what [`Pass::run_with`] prepares of each unit on the thread that folds it, while its evidence is there.
pub trait Collect<P = ()>: Send {
    /// Units come in order.
    fn unit(&mut self, unit: &mut UnitResult, prepared: P) -> Result<()>;
    fn rest(&mut self, rest: Rest<'_>) -> Result<()>;

    /// Whether [`Rest::findings`] is to have all of them: who only reports needs the first of each code, and there can be millions.
    fn takes_findings(&self) -> bool {
        true
    }
}

impl Collect for () {
    fn unit(&mut self, _unit: &mut UnitResult, (): ()) -> Result<()> {
        Ok(())
    }

    fn rest(&mut self, _rest: Rest<'_>) -> Result<()> {
        Ok(())
    }

    fn takes_findings(&self) -> bool {
        false
    }
}

/// Time spent in a stage, summed over the threads.
#[derive(Default)]
pub(super) struct Stopwatch(AtomicU64);

impl Stopwatch {
    pub(super) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
        result
    }

    fn total(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// One pass over a source.
pub struct Pass<'j> {
    command: &'static str,
    pub(super) job: &'j Job,
    pub(super) source: &'j Source,
    watch: &'j dyn Watch,
    pub(super) snapshot: &'j Snapshot,
    pub(super) rules: Rules,
    /// Memory of the threads that fold.
    scratch: ScratchPool,
    with_evidence: bool,
    state: Option<&'j Incremental>,
    /// Rows of evidence that an archive stood in for.
    pub(super) stood_in: AtomicU64,
    read: Stopwatch,
    fold: Stopwatch,
    pub(super) diff: Stopwatch,
}

impl<'j> Pass<'j> {
    pub fn new(command: &'static str, job: &'j Job, source: &'j Source, watch: &'j dyn Watch) -> Self {
        let snapshot = source.snapshot();
        Pass {
            command,
            job,
            source,
            watch,
            snapshot,
            rules: Rules::new(job.scoring.clone(), snapshot.taken_at),
            scratch: ScratchPool::default(),
            with_evidence: false,
            state: None,
            stood_in: AtomicU64::new(0),
            read: Stopwatch::default(),
            fold: Stopwatch::default(),
            diff: Stopwatch::default(),
        }
    }

    /// Takes the fingerprints of the evidence along.
    pub fn with_evidence(self) -> Self {
        Pass { with_evidence: true, ..self }
    }

    /// Leaves out units that have not changed, and keeps the results of the others.
    pub fn with_state(self, state: Option<&'j Incremental>) -> Self {
        Pass { state, ..self }
    }

    pub fn run(&self, collect: &mut impl Collect) -> Result<Outcome> {
        // Fingerprints are taken of rows.
        let read = |unit: &Unit| match self.with_evidence {
            true => self.source.read(unit).map(|evidence| (evidence.runs, Stored::Rows(evidence.stored))),
            false => self.source.read_columns(unit),
        };
        let work = |unit: &Unit, plan: &StatPlan| match self.state.and_then(|state| state.unchanged(unit)) {
            Some(unchanged) => Ok((unchanged?, ())),
            None => {
                let (runs, stored) = self.read.time(|| read(unit))?;
                Ok((self.unit(unit, plan, runs, stored.as_ref(), |_| ())?.0, ()))
            }
        };
        self.units_in_order(work, collect)
    }

    /// As [`Pass::run`], with a part of the work done on the threads that fold.
    pub fn run_with<P: Send>(
        &self,
        prepare: impl Fn(&UnitEvidence, &UnitFold) -> Result<P> + Sync,
        collect: &mut impl Collect<P>,
    ) -> Result<Outcome> {
        let work = |unit: &Unit, plan: &StatPlan| {
            let evidence = self.read.time(|| self.source.read(unit))?;
            let (runs, stored) = (evidence.runs.clone(), StoredRef::Rows(&evidence.stored));
            let (result, prepared) = self.unit(unit, plan, runs, stored, |fold| prepare(&evidence, fold))?;
            Ok((result, prepared?))
        };
        self.units_in_order(work, collect)
    }

    /// As [`Pass::run_with`], for what needs no evidence.
    pub fn run_with_fold<P: Send>(
        &self,
        prepare: impl Fn(&UnitFold) -> P + Sync,
        collect: &mut impl Collect<P>,
    ) -> Result<Outcome> {
        let work = |unit: &Unit, plan: &StatPlan| {
            let (runs, stored) = self.read.time(|| self.source.read_columns(unit))?;
            self.unit(unit, plan, runs, stored.as_ref(), &prepare)
        };
        self.units_in_order(work, collect)
    }

    fn units_in_order<P: Send>(
        &self,
        work: impl Fn(&Unit, &StatPlan) -> Result<(UnitResult, P)> + Sync,
        collect: &mut impl Collect<P>,
    ) -> Result<Outcome> {
        let start = Instant::now();
        let plan = self.stat_plan();
        let units = self.units();
        let runs = units.iter().map(|unit| unit.runs.len()).sum();
        let mut sum = Sums::new(plan.table.diff(), runs, self.job.narrowing.lifetime, collect.takes_findings());
        let mut done = 0;
        parallel::in_order(
            self.job.threads,
            &units,
            |unit| work(unit, &plan),
            |(mut unit, prepared)| {
                if let Some(state) = self.state {
                    state.keep(&units[done], &unit)?;
                }
                collect.unit(&mut unit, prepared)?;
                sum.add(unit)?;
                done += 1;
                self.watch.progress("runs", done as u64, units.len() as u64);
                Ok(())
            },
        )?;
        let runs = start.elapsed();
        let last = Instant::now();
        if self.snapshot.has_stored_stats {
            let strays = self.strays()?;
            sum.strays(plan.strays(&strays), &strays);
        }
        let outcome = self.finish(sum, &plan, collect)?;
        let stages = [
            ("runs", runs),
            ("read", self.read.total()),
            ("fold", self.fold.total()),
            ("diff", self.diff.total()),
            ("lifetime", last.elapsed()),
            ("total", start.elapsed()),
        ];
        Ok(Outcome { elapsed: stages.to_vec(), ..outcome })
    }

    /// All units where lifetime rollups are wanted, else those with a run that is compared.
    fn units(&self) -> Vec<Unit> {
        let narrowing = &self.job.narrowing;
        let mut units = units(&self.snapshot.runs);
        units.retain(|unit| narrowing.lifetime || unit.runs.iter().any(|run| narrowing.includes_run(run)));
        units
    }

    /// Folds and compares a unit.
    fn unit<P>(
        &self,
        unit: &Unit,
        plan: &StatPlan,
        mut runs: Vec<RunEvidence>,
        stored: StoredRef<'_>,
        prepare: impl FnOnce(&UnitFold) -> P,
    ) -> Result<(UnitResult, P)> {
        self.watch.check()?;
        let live = runs.clone();
        let (mut fold, mut digest) = self.fold(&runs);
        if self.take_stand_ins(&mut runs, stored, &fold, plan)? {
            (fold, digest) = self.fold(&runs);
        }
        tracing::debug!(unit = unit.forecast_run_id, rows = fold.stats.len(), findings = fold.findings.len(), "folded");
        let prepared = prepare(&fold);
        fold.findings.retain(|finding| self.includes(finding.run, finding.miner));
        let (mut diff, mut side) = (StatDiff { table: plan.table.diff(), ..StatDiff::default() }, StoredSide::default());
        if self.snapshot.has_stored_stats {
            let (compared, of_stored, fresh_until) = self.diff.time(|| self.compare_unit(&runs, stored, &fold, plan))?;
            (diff, side) = (compared, of_stored);
            fold.fresh_until = fold.fresh_until.into_iter().chain(fresh_until).min();
        }
        fold.lead_scores = Vec::new();
        fold.stats.retain(|row| self.with_evidence && row.placed);
        let rows = UnitRows::of(&live, stored.count());
        let evidence = if self.with_evidence { fingerprint::of_runs(&self.still_there(live)) } else { BTreeMap::new() };
        Ok((UnitResult { fold, diff, side, evidence, digest, rows }, prepared))
    }

    fn fold(&self, runs: &[RunEvidence]) -> (UnitFold, blake3::Hash) {
        self.fold.time(|| {
            let fold = self.scratch.with(|scratch| fold_unit(runs, &self.rules, scratch));
            let digest = digest_of(&fold);
            (fold, digest)
        })
    }

    /// The evidence that the source itself still has: what a correction is held against when it is applied.
    fn still_there(&self, mut runs: Vec<RunEvidence>) -> Vec<RunEvidence> {
        runs.retain(|run| !self.source.is_archived(run.run.id));
        runs
    }

    pub(super) fn is_gone(&self, run: Option<i32>) -> bool {
        run.is_some_and(|run| self.source.is_gone(RunId(run)))
    }

    fn finish<P>(&self, mut sum: Sums, plan: &StatPlan, collect: &mut impl Collect<P>) -> Result<Outcome> {
        let (mut miners, mut subnet) = (Vec::new(), std::mem::take(&mut sum.subnet));
        let (mut lives, mut placed_rows) = (StoredLifetimes::new(), 0);
        if let Some(history) = sum.history.take() {
            let mut strangers = history.seen.unregistered(&self.snapshot.nodes);
            strangers.retain(|finding| self.includes(None, finding.miner));
            sum.findings.add(&mut strangers);
            placed_rows = history.rows();
            let whole = history.finish(&self.rules)?;
            (miners, lives) = (whole.miners, whole.stored);
            subnet.push(whole.subnet);
        }
        subnet.sort_unstable_by(|a, b| (&a.scope, a.run_id).cmp(&(&b.scope, b.run_id)));
        feed(&mut sum.hasher, &miners);
        feed(&mut sum.hasher, &subnet);
        sum.findings.sort();

        let mut compared = self.compare_whole(&miners, &subnet, &sum.losses)?;
        self.causes_of_whole(&mut compared, &lives, &sum.stored_subnet, placed_rows);
        self.set_habits_of_whole_apart(&mut compared, &plan.table, &sum.stats.differences);
        collect.rest(Rest {
            miners: &miners,
            subnet: &subnet,
            findings: sum.findings.kept(),
            differences: sum.stray_differences().into_iter().chain(compared.iter().map(|(_, diff)| &*diff.differences)).collect(),
        })?;
        let mut tables: BTreeMap<&'static str, TableTally> = BTreeMap::new();
        let mut differences = Vec::new();
        if self.snapshot.has_stored_stats {
            tables.insert(ForecastStat::TABLE, sum.stats.tally(&plan.table));
            differences.append(&mut sum.stats.differences);
        }
        for (table, diff) in compared {
            tables.insert(table.table, diff.tally(&table));
            differences.extend(diff.differences);
        }
        self.check_compared(&tables)?;
        differences.retain(|difference| difference.class != Class::Within);
        differences.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        // Scores that are not compared tell nothing of weights.
        let weighing =
            self.snapshot.weighing.as_ref().filter(|_| !self.job.filter.is_narrow() && !self.job.narrowing.is_narrow());
        let weighed = weighing.map(|weighing| weighing.held(&differences));
        let mut outcome = Outcome {
            command: self.command,
            source: self.source.display(),
            taken_at: self.snapshot.taken_at,
            replay_of: self.job.scoring.snapshot_time,
            narrowing: self.job.narrowing.clone(),
            filter: self.job.filter.clone(),
            rows: self.source.rows_read(),
            digest: sum.hasher.finalize().to_hex().to_string(),
            tables,
            finding_rows: first_of_each(sum.findings.kept()),
            findings: sum.findings.counts,
            differences,
            weighed,
            baseline: None,
            elapsed: Vec::new(),
            notes: self.notes(),
        };
        if let Some(baseline) = &self.job.baseline {
            baseline.take_from(&mut outcome);
        }
        Ok(outcome)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.snapshot.notes.clone();
        match self.stood_in.load(Ordering::Relaxed) {
            0 => {}
            rows => notes.push(format!("{rows} rows of evidence that are gone from runs that remain come from the archive")),
        }
        notes
    }
}
