//! One pass over a source: units are read, folded and compared in parallel, dropped, and their results put together in order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use blake3::Hasher;

use crate::diff::{Retention, StatDiff, StatPlan, TableDiff, TablePlan, UnitLoss, covers_miner, covers_subnet};
use crate::error::{Error, ErrorKind, Result};
use crate::model::changes::UnitRows;
use crate::model::columns::Column;
use crate::model::correction::{Fingerprint, Whose};
use crate::model::difference::{Class, Difference, RowKey};
use crate::model::digest::feed;
use crate::model::evidence::{Snapshot, StoredStat, Unit, UnitEvidence, units};
use crate::model::finding::{Code, Finding};
use crate::model::fingerprint;
use crate::model::ids::{MinerUid, RunId};
use crate::model::job::{Job, RunRange, Watch};
use crate::model::miner_list::Named;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};
use crate::model::rows::stats_from_batch;
use crate::model::time::Micros;
use crate::model::unproven::{Gone, Losses};
use crate::parallel;
use crate::rollup::{Rules, UnitFold, fold_unit, remains, stand_ins};
use crate::source::Source;
use crate::source::united::joined;

use super::history::History;
use super::incremental::Incremental;

/// One unit, folded and compared.
pub struct UnitResult {
    /// Rows that have the place only where [`Sweep::with_evidence`] asks for them, lead scores never: what nobody takes is dropped
    /// by the thread that made it.
    pub fold: UnitFold,
    pub diff: StatDiff,
    /// Of each run and miner, where [`Sweep::with_evidence`] asks for it.
    pub evidence: BTreeMap<Whose, Fingerprint>,
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
/// `P` is what [`Sweep::run_with`] prepares of each unit on the thread that folds it, while its evidence is there.
pub trait Collect<P = ()>: Send {
    /// Units come in order.
    fn unit(&mut self, unit: &mut UnitResult, prepared: P) -> Result<()>;
    fn rest(&mut self, rest: Rest<'_>) -> Result<()>;
}

impl Collect for () {
    fn unit(&mut self, _unit: &mut UnitResult, (): ()) -> Result<()> {
        Ok(())
    }

    fn rest(&mut self, _rest: Rest<'_>) -> Result<()> {
        Ok(())
    }
}

/// Time spent in a stage, summed over the threads.
#[derive(Default)]
struct Stopwatch(AtomicU64);

impl Stopwatch {
    fn time<T>(&self, work: impl FnOnce() -> T) -> T {
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
pub struct Sweep<'j> {
    command: &'static str,
    job: &'j Job,
    source: &'j Source,
    watch: &'j dyn Watch,
    snapshot: &'j Snapshot,
    rules: Rules,
    with_evidence: bool,
    state: Option<&'j Incremental>,
    /// Rows of evidence that an archive stood in for.
    stood_in: AtomicU64,
    read: Stopwatch,
    fold: Stopwatch,
    diff: Stopwatch,
}

impl<'j> Sweep<'j> {
    pub fn new(command: &'static str, job: &'j Job, source: &'j Source, watch: &'j dyn Watch) -> Self {
        let snapshot = source.snapshot();
        Sweep {
            command,
            job,
            source,
            watch,
            snapshot,
            rules: Rules::new(job.scoring.clone(), snapshot.taken_at),
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
        Sweep { with_evidence: true, ..self }
    }

    /// Leaves out units that have not changed, and keeps what the others come to.
    pub fn with_state(self, state: Option<&'j Incremental>) -> Self {
        Sweep { state, ..self }
    }

    pub fn run(&self, collect: &mut impl Collect) -> Result<Outcome> {
        // Who asks for the evidence goes through rows.
        let from = |source: &Source, unit: &Unit| match self.with_evidence {
            true => Ok((source.read(unit)?, None)),
            false => source.read_columns(unit),
        };
        let read = |unit: &Unit, plan: &StatPlan| self.unit(unit, plan, from, |_, _| Ok(()));
        self.pass(
            |unit, plan| match self.state.and_then(|state| state.unchanged(unit)) {
                Some(unchanged) => Ok((unchanged?, ())),
                None => read(unit, plan),
            },
            collect,
        )
    }

    /// As [`Sweep::run`], with a part of the work done on the threads that fold.
    pub fn run_with<P: Send>(
        &self,
        prepare: impl Fn(&UnitEvidence, &UnitFold) -> Result<P> + Sync,
        collect: &mut impl Collect<P>,
    ) -> Result<Outcome> {
        let read = |source: &Source, unit: &Unit| Ok((source.read(unit)?, None));
        self.pass(|unit, plan| self.unit(unit, plan, read, &prepare), collect)
    }

    /// As [`Sweep::run_with`], for what needs no evidence.
    pub fn run_with_fold<P: Send>(
        &self,
        prepare: impl Fn(&UnitFold) -> P + Sync,
        collect: &mut impl Collect<P>,
    ) -> Result<Outcome> {
        self.pass(|unit, plan| self.unit(unit, plan, Source::read_columns, |_, fold| Ok(prepare(fold))), collect)
    }

    fn pass<P: Send>(
        &self,
        work: impl Fn(&Unit, &StatPlan) -> Result<(UnitResult, P)> + Sync,
        collect: &mut impl Collect<P>,
    ) -> Result<Outcome> {
        let start = Instant::now();
        let plan = self.stat_plan();
        let units = self.units();
        let runs = units.iter().map(|unit| unit.runs.len()).sum();
        let mut sum = Sum::new(plan.table.diff(), runs, self.job.narrowing.lifetime);
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
            sum.strays(plan.strays(&self.strays()?));
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

    fn unit<P>(
        &self,
        unit: &Unit,
        plan: &StatPlan,
        read: impl Fn(&Source, &Unit) -> Result<(UnitEvidence, Option<RecordBatch>)>,
        prepare: impl Fn(&UnitEvidence, &UnitFold) -> Result<P>,
    ) -> Result<(UnitResult, P)> {
        self.watch.check()?;
        let (mut evidence, columns) = self.read.time(|| read(self.source, unit))?;
        let live = evidence.clone();
        let (mut fold, mut digest) = self.fold(&evidence);
        if self.take_stand_ins(&mut evidence, &fold, plan)? {
            (fold, digest) = self.fold(&evidence);
        }
        tracing::debug!(unit = unit.forecast_run_id, rows = fold.stats.len(), findings = fold.findings.len(), "folded");
        let prepared = prepare(&evidence, &fold)?;
        fold.findings.retain(|finding| self.includes(finding.run, finding.miner));
        let mut diff = StatDiff { table: plan.table.diff(), ..StatDiff::default() };
        if self.snapshot.has_stored_stats {
            let (compared, fresh_until) = self.diff.time(|| self.compare_unit(&evidence, columns.as_ref(), &fold, plan))?;
            diff = compared;
            fold.fresh_until = fold.fresh_until.into_iter().chain(fresh_until).min();
        }
        let mut rows = UnitRows::of(&live);
        rows.stored += columns.map_or(0, |columns| columns.num_rows() as u64);
        fold.lead_scores = Vec::new();
        fold.stats.retain(|row| self.with_evidence && row.placed);
        let evidence = if self.with_evidence { fingerprint::of_unit(&self.live(live)) } else { BTreeMap::new() };
        Ok((UnitResult { fold, diff, evidence, digest, rows }, prepared))
    }

    fn fold(&self, evidence: &UnitEvidence) -> (UnitFold, blake3::Hash) {
        self.fold.time(|| {
            let fold = fold_unit(&evidence.runs, &self.rules);
            let digest = digest_of(&fold);
            (fold, digest)
        })
    }

    /// D6: what an archive given as history holds stands in for what is gone, and for nothing else. Gives whether anything does.
    fn take_stand_ins(&self, evidence: &mut UnitEvidence, fold: &UnitFold, plan: &StatPlan) -> Result<bool> {
        if !self.source.has_history() || !self.snapshot.has_stored_stats {
            return Ok(false);
        }
        let recomputed: Vec<&ForecastStat> = fold.stats.iter().filter(|row| row.placed).map(|row| &row.stat).collect();
        let lost = self.lost(evidence, &evidence.stored, &recomputed, plan);
        let mut taken = 0;
        for run in &mut evidence.runs {
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

    /// The diff, and until when time alone does not change it.
    fn compare_unit(
        &self,
        evidence: &UnitEvidence,
        columns: Option<&RecordBatch>,
        fold: &UnitFold,
        plan: &StatPlan,
    ) -> Result<(StatDiff, Option<Micros>)> {
        let mut recomputed: Vec<&ForecastStat> = fold.stats.iter().filter(|row| row.placed).map(|row| &row.stat).collect();
        let Some(columns) = columns else { return self.compare_rows(evidence, &evidence.stored, recomputed, plan) };
        let (mut alike, others) = plan.take_alike(columns, &mut recomputed)?;
        alike.retain(|row| self.includes_row(row));
        let stored = stats_from_batch(&others, &self.snapshot.wide_leads)?;
        let (mut diff, fresh_until) = self.compare_rows(evidence, &stored, recomputed, plan)?;
        diff.table.add(plan.alike(alike.len()));
        Ok((diff, fresh_until))
    }

    /// Rows of a unit, narrowed only after it is known what is lost (D6).
    fn compare_rows(
        &self,
        evidence: &UnitEvidence,
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
        recomputed.retain(|row| self.includes_row(row) && (!self.is_archived(row.run_id) || stores(row)));
        Ok((plan.unit(&stored, &recomputed, &lost)?, lost.fresh_until))
    }

    /// D6, for all rows of a unit. The evidence is gone through again only where a cell may rest on what is gone.
    fn lost(&self, evidence: &UnitEvidence, stored: &[StoredStat], recomputed: &[&ForecastStat], plan: &StatPlan) -> UnitLoss {
        let retention = self.retention();
        let suspects = plan.suspects(stored, recomputed, retention);
        plan.losses(stored, recomputed, &remains(&evidence.runs, &suspects, &self.rules), retention)
    }

    /// The evidence that the source itself still has: what a correction is held against when it is applied.
    fn live(&self, mut evidence: UnitEvidence) -> UnitEvidence {
        evidence.runs.retain(|run| !self.source.is_archived(run.run.id));
        evidence
    }

    fn is_archived(&self, run: Option<i32>) -> bool {
        run.is_some_and(|run| self.source.is_archived(RunId(run)))
    }

    fn strays(&self) -> Result<Vec<StoredStat>> {
        let mut strays = self.source.strays()?;
        strays.retain(|stray| self.includes_row(&stray.row));
        Ok(strays)
    }

    fn includes_row(&self, row: &ForecastStat) -> bool {
        let narrowing = &self.job.narrowing;
        self.includes(row.run_id.map(RunId), row.miner_uid.map(MinerUid))
            && (row.run_id.is_some() || narrowing.runs == RunRange::default())
            && narrowing.since.is_none_or(|since| row.forecast_init_time >= Some(since))
    }

    fn includes(&self, run: Option<RunId>, miner: Option<MinerUid>) -> bool {
        let narrowing = &self.job.narrowing;
        if !narrowing.is_narrow() {
            return true;
        }
        let known = |id: RunId| self.snapshot.runs.iter().find(|run| run.id == id);
        let run_included = run.is_none_or(|id| match known(id) {
            Some(run) => narrowing.includes_run(run),
            None => narrowing.runs.contains(id),
        });
        run_included && miner.is_none_or(|miner| narrowing.includes_miner(miner))
    }

    fn included<'f>(&'f self, table: &'static str) -> impl Fn(&Column) -> bool + 'f {
        move |column| self.job.filter.includes(table, column)
    }

    fn stat_plan(&self) -> StatPlan {
        let included = self.included(ForecastStat::TABLE);
        StatPlan::new(&self.snapshot.wide_leads, &self.job.scoring.expected_leads, self.job.tolerance, included)
    }

    fn finish<P>(&self, mut sum: Sum, plan: &StatPlan, collect: &mut impl Collect<P>) -> Result<Outcome> {
        let (mut miners, mut subnet) = (Vec::new(), std::mem::take(&mut sum.subnet));
        if let Some(history) = sum.history.take() {
            let mut strangers = history.seen.unregistered(&self.snapshot.nodes);
            strangers.retain(|finding| self.includes(None, finding.miner));
            sum.findings.extend(strangers);
            let (all, life) = history.finish(&self.rules)?;
            miners = all;
            subnet.push(life);
        }
        subnet.sort_unstable_by(|a, b| (&a.scope, a.run_id).cmp(&(&b.scope, b.run_id)));
        feed(&mut sum.hasher, &miners);
        feed(&mut sum.hasher, &subnet);
        sum.findings.sort_by(Finding::order);

        let compared = self.compare_whole(&miners, &subnet, &sum.losses)?;
        collect.rest(Rest {
            miners: &miners,
            subnet: &subnet,
            findings: &sum.findings,
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
        Ok(Outcome {
            command: self.command,
            source: self.source.display(),
            taken_at: self.snapshot.taken_at,
            replay_of: self.job.scoring.snapshot_time,
            narrowing: self.job.narrowing.clone(),
            filter: self.job.filter.clone(),
            rows: self.source.rows_read(),
            digest: sum.hasher.finalize().to_hex().to_string(),
            tables,
            findings: counted(&sum.findings),
            differences,
            elapsed: Vec::new(),
            notes: self.notes(),
        })
    }

    /// Refuses a narrowing that left nothing to compare: nobody may take that for "in sync".
    fn check_compared(&self, tables: &BTreeMap<&'static str, TableTally>) -> Result<()> {
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

    fn notes(&self) -> Vec<String> {
        let mut notes = self.snapshot.notes.clone();
        match self.stood_in.load(Ordering::Relaxed) {
            0 => {}
            rows => notes.push(format!("{rows} rows of evidence that are gone from runs that remain come from the archive")),
        }
        notes
    }

    /// `miner_stats` and `weather_subnet_stats`, where they are stored and wanted.
    fn compare_whole(&self, miners: &[MinerStat], subnet: &[SubnetStat], losses: &Losses) -> Result<Vec<(TablePlan, TableDiff)>> {
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
                let kept = |row: &&SubnetStat| keep(row) && (!self.is_archived(row.run_id) || stores(row));
                let key = |row: &SubnetStat| RowKey { scope: row.scope.clone(), run_id: row.run_id, ..RowKey::default() };
                let unproven = |key: &RowKey, column: &str| covers_subnet(losses, key.run_id, column);
                let diff = plan.table(stored.iter().filter(keep), subnet.iter().filter(kept), key, unproven)?;
                compared.push((plan, diff));
            }
            Ok(compared)
        })
    }
}

fn digest_of(fold: &UnitFold) -> blake3::Hash {
    let mut hasher = Hasher::new();
    feed(&mut hasher, &fold.lead_scores);
    feed(&mut hasher, fold.stats.iter().map(|placed| &placed.stat));
    hasher.finalize()
}

fn counted(findings: &[Finding]) -> BTreeMap<Code, u64> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.code).or_default() += 1;
    }
    counts
}

/// The results of units, put together in order.
struct Sum {
    hasher: Hasher,
    /// Where lifetime rollups are wanted.
    history: Option<History>,
    subnet: Vec<SubnetStat>,
    /// Of the miners on the lists of `subnet`.
    names: HashSet<Arc<Named>>,
    findings: Vec<Finding>,
    stats: TableDiff,
    /// D6
    losses: Losses,
    /// Where the strays' differences begin in those of `stats`.
    strays_from: usize,
}

impl Sum {
    fn new(stats: TableDiff, runs: usize, lifetime: bool) -> Self {
        Sum {
            hasher: Hasher::new(),
            history: lifetime.then(History::new),
            subnet: Vec::with_capacity(runs + 1),
            names: HashSet::new(),
            findings: Vec::new(),
            stats,
            losses: Losses::default(),
            strays_from: 0,
        }
    }

    fn add(&mut self, mut unit: UnitResult) -> Result<()> {
        self.hasher.update(unit.digest.as_bytes());
        if let Some(history) = &mut self.history {
            history.absorb(unit.fold.history)?;
        }
        for list in unit.fold.subnet.iter_mut().flat_map(|row| [&mut row.top_miners, &mut row.bottom_miners]).flatten() {
            list.share(&mut self.names);
        }
        self.subnet.append(&mut unit.fold.subnet);
        self.findings.append(&mut unit.fold.findings);
        self.findings.append(&mut unit.diff.findings);
        unit.diff.losses.iter().for_each(|(whose, loss)| self.losses.add(*whose, *loss));
        // Cells within tolerance are counted; only drift is kept.
        unit.diff.table.differences.retain(|difference| difference.class != Class::Within);
        self.stats.add(unit.diff.table);
        self.strays_from = self.stats.differences.len();
        Ok(())
    }

    fn strays(&mut self, strays: StatDiff) {
        self.findings.extend(strays.findings);
        self.stats.add(strays.table);
    }

    fn stray_differences(&self) -> Option<&[Difference]> {
        self.stats.differences.get(self.strays_from..).filter(|list| !list.is_empty())
    }
}
