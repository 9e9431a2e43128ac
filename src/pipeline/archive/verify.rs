//! `recount verify`: is every file of an archive what was written, and does what it says follow from its own evidence?

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};

use crate::archive::beside::{newest_rows, newest_schema, path_of};
use crate::archive::encoding::ordered;
use crate::archive::read::Reader;
use crate::archive::tables::{
    DIFFERENCES, EVIDENCE, FINDINGS_TABLE, LEAD_SCORES, LOOSE_FINDINGS, MINERS, NIGHTS, RUNS_TABLE, SCORES_TABLE, STATS, SUBNET,
    Table, findings_batch,
};
use crate::archive::{Day, LATEST, Manifest, Storage, day};
use crate::error::{Context, ErrorKind, Result};
use crate::model::difference::Tolerance;
use crate::model::evidence::{Run, UnitEvidence};
use crate::model::filter::ColumnFilter;
use crate::model::finding::Finding;
use crate::model::ids::RunId;
use crate::model::job::{Encoding, Job, Narrowing, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{MinerStat, SubnetStat};
use crate::model::rows::batch_of;
use crate::model::time::Micros;
use crate::rollup::UnitFold;
use crate::source::Source;
use crate::source::archive::Archive;

use super::super::pass::{Collect, Pass, Rest, UnitResult};
use super::{inventory, rows};

/// Something that is wrong, and with which file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub path: String,
    pub detail: String,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Verified {
    pub dest: String,
    /// `None` where the manifest is broken, and nothing else is known.
    pub as_of: Option<Micros>,
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    pub runs: u64,
    pub digest: String,
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
    pub elapsed: Duration,
}

pub(super) fn problem(path: impl Into<String>, detail: impl Into<String>) -> Problem {
    Problem { path: path.into(), detail: detail.into() }
}

/// Verifies the archive at a place. Only what keeps it from being read at all is an error; all else is a problem.
pub fn verify(dest: &str, threads: usize, watch: &dyn Watch) -> Result<Verified> {
    let start = Instant::now();
    let storage = Storage::open(dest)?;
    let mut verified = Verified {
        dest: dest.to_owned(),
        as_of: None,
        files: 0,
        bytes: 0,
        rows: 0,
        runs: 0,
        digest: String::new(),
        problems: Vec::new(),
        notes: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let latest = match Manifest::latest(&storage) {
        Err(error) if error.kind() == ErrorKind::Snapshot => {
            verified.problems.push(problem(LATEST, error.to_string()));
            return Ok(verified);
        }
        latest => latest?.1,
    };
    // An archive that is none is an error like for every command.
    let Some((link, manifest)) = latest else { return Archive::open(dest).map(|_| verified) };
    verified.as_of = Some(Micros(manifest.as_of));
    verified.runs = manifest.days.values().map(|runs| runs.len() as u64).sum();
    verified.digest = manifest.digest.clone();
    verified.files = (manifest.files.len() + manifest.beside.len()) as u64;
    verified.bytes = manifest.bytes();
    verified.rows = manifest.files.values().map(|file| file.rows).sum();
    inventory::check(&storage, &link, &manifest, &mut verified)?;
    verified.problems.extend(inventory::check_files(&storage, &manifest, threads, watch)?);
    if verified.problems.iter().any(|problem| manifest.files.contains_key(&problem.path)) {
        verified.notes.push("nothing was recomputed, since files are not what was written".to_owned());
    } else if EVIDENCE.iter().all(|table| manifest.has_table(table.name)) {
        match check_rollups(storage, manifest, threads, watch) {
            // Every file is what was written, and yet cannot be read: its hash was made for it.
            Err(error) if [ErrorKind::Snapshot, ErrorKind::Data].contains(&error.kind()) => {
                verified.problems.push(problem(LATEST, error.to_string()));
            }
            problems => verified.problems.extend(problems?),
        }
    } else {
        verified.notes.push("nothing was recomputed, since the archive has no evidence (--tables)".to_owned());
    }
    verified.problems.sort();
    verified.elapsed = start.elapsed();
    Ok(verified)
}

/// Every rollup again from the evidence, bit for bit.
fn check_rollups(storage: Storage, manifest: Manifest, threads: usize, watch: &dyn Watch) -> Result<Vec<Problem>> {
    let digest = manifest.digest.clone();
    let job = Job {
        scoring: manifest.scoring.clone(),
        tolerance: Tolerance::default(),
        threads,
        filter: ColumnFilter::default(),
        narrowing: Narrowing::default(),
        profile: None,
        baseline: None,
        encoding: Encoding::default(),
    };
    let source = Source::Archive(Box::new(Archive::of(storage, manifest)?));
    let Source::Archive(archive) = &source else { unreachable!("invariant: it was just made") };
    let check = Check { reader: archive.reader(), problems: Mutex::default() };
    let prepare = |evidence: &UnitEvidence, fold: &UnitFold| check.unit(evidence, fold);
    let mut rest = CheckRest { check: &check, runs: &source.snapshot().runs };
    let outcome = Pass::new("verify", &job, &source, watch).run_with(prepare, &mut rest)?;
    check.runs(&source.snapshot().runs)?;
    check.night(&outcome)?;
    let mut problems = check.problems.into_inner().unwrap_or_default();
    if outcome.digest != digest {
        problems.push(problem(LATEST, format!("the digest of all rollups is {}, the manifest says {digest}", outcome.digest)));
    }
    Ok(problems)
}

struct Check<'r> {
    reader: &'r Reader,
    problems: Mutex<Vec<Problem>>,
}

impl Check<'_> {
    fn unit(&self, evidence: &UnitEvidence, fold: &UnitFold) -> Result<()> {
        for run in &evidence.runs {
            let (id, day) = (run.run.id, Day::of(run.run.gfs_init).to_string());
            self.same(&LEAD_SCORES, &day, Some(id.0), &rows::lead_scores(fold, id))?;
            self.same(&STATS, &day, Some(id.0), &rows::stats(fold, id))?;
            self.names(&day, id)?;
        }
        Ok(())
    }

    /// What stands beside the names of scores is what they say.
    fn names(&self, day: &str, run: RunId) -> Result<()> {
        if !self.reader.lacking(&SCORES_TABLE, day)?.is_empty() {
            return Ok(());
        }
        let read = self.reader.rows(&SCORES_TABLE, day, &rows::named_schema(), Some(run.0))?;
        if !rows::is_named(&read) {
            let detail = format!("run {run}, metric or variable is not what score_type says");
            self.add(problem(SCORES_TABLE.folder(day), detail));
        }
        Ok(())
    }

    /// Holds the rows of a partition against what they should be.
    fn same(&self, table: &Table, partition: &str, run: Option<i32>, expected: &RecordBatch) -> Result<()> {
        if !self.reader.manifest().has_table(table.name) {
            return Ok(());
        }
        let found = self.reader.rows(table, partition, &table.schema(&[]), run)?;
        let expected = ordered(expected, table.order).doing(ErrorKind::Data, || format!("verifying {}", table.name))?;
        let lacking = self.reader.lacking(table, partition)?;
        let (found, expected) = (without(&found, &lacking), without(&expected, &lacking));
        if let Some(detail) = difference(&found, &expected) {
            let run = run.map(|run| format!("run {run}, ")).unwrap_or_default();
            self.add(problem(table.folder(partition), format!("{run}{detail}")));
        }
        Ok(())
    }

    /// The table of runs says what the manifest says.
    fn runs(&self, runs: &[Run]) -> Result<()> {
        let mut days: BTreeMap<Day, Vec<Run>> = BTreeMap::new();
        for run in runs {
            days.entry(Day::of(run.gfs_init)).or_default().push(run.clone());
        }
        let gone = self.reader.manifest().gone();
        let expected = |runs: &[Run]| rows::runs(runs, |run| gone.contains(&run));
        days.iter().try_for_each(|(day, runs)| self.same(&RUNS_TABLE, &day.to_string(), None, &expected(runs)))
    }

    fn findings(&self, findings: &[Finding], runs: &[Run]) -> Result<()> {
        let (mut expected, loose) = rows::findings(findings, runs);
        let none = findings_batch(&[]);
        for day in runs.iter().map(|run| Day::of(run.gfs_init)) {
            expected.entry(day).or_insert_with(|| none.clone());
        }
        expected.iter().try_for_each(|(day, rows)| self.same(&FINDINGS_TABLE, &day.to_string(), None, rows))?;
        // The first versions had those of no run in a day of their own, which is none.
        let manifest = self.reader.manifest();
        match manifest.has_table(LOOSE_FINDINGS.name) {
            true => self.same(&LOOSE_FINDINGS, &day::stamp(Micros(manifest.as_of)), None, &loose),
            false => self.same(&FINDINGS_TABLE, &Day(None).to_string(), None, &loose),
        }
    }

    fn lifetime(&self, miners: &[MinerStat], subnet: &[SubnetStat], runs: &[Run]) -> Result<()> {
        let as_of = day::stamp(Micros(self.reader.manifest().as_of));
        for (table, rows) in [(&MINERS, batch_of(miners)), (&SUBNET, rows::subnet(subnet, runs))] {
            self.same(table, &as_of, None, &rows)?;
            self.newest(table, &rows)?;
        }
        Ok(())
    }

    /// What has the newest state under a name that stays, where it is what was written.
    fn newest(&self, table: &Table, rows: &RecordBatch) -> Result<()> {
        let manifest = self.reader.manifest();
        let Some((path, entry)) = path_of(table).and_then(|path| manifest.beside.get_key_value(path)) else { return Ok(()) };
        let Some(found) = self.reader.beside(path, entry, &newest_schema(table))? else { return Ok(()) };
        let rows = ordered(rows, table.order).doing(ErrorKind::Data, || format!("verifying {path}"))?;
        if let Some(detail) = difference(&found, &newest_rows(table, &rows, Micros(manifest.as_of))) {
            self.add(problem(path, detail));
        }
        Ok(())
    }

    /// What differed, and the counts.
    fn night(&self, outcome: &Outcome) -> Result<()> {
        let manifest = self.reader.manifest();
        let as_of = day::stamp(Micros(manifest.as_of));
        self.same(&DIFFERENCES, &as_of, None, &rows::differences(outcome))?;
        self.same(&NIGHTS, &as_of, None, &rows::night(manifest, outcome))
    }

    fn add(&self, problem: Problem) {
        self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(problem);
    }
}

struct CheckRest<'c> {
    check: &'c Check<'c>,
    runs: &'c [Run],
}

impl Collect for CheckRest<'_> {
    fn unit(&mut self, _unit: &mut UnitResult, (): ()) -> Result<()> {
        Ok(())
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        self.check.lifetime(rest.miners, rest.subnet, self.runs)?;
        self.check.findings(rest.findings, self.runs)
    }
}

fn without(batch: &RecordBatch, lacking: &[&str]) -> RecordBatch {
    let schema = batch.schema();
    let kept: Vec<usize> = (0..batch.num_columns()).filter(|&at| !lacking.contains(&schema.field(at).name().as_str())).collect();
    batch.project(&kept).expect("invariant: its own columns")
}

/// The first thing in which two batches differ, bit by bit; `None` where they don't.
fn difference(found: &RecordBatch, expected: &RecordBatch) -> Option<String> {
    if found.num_rows() != expected.num_rows() {
        return Some(format!("has {} rows, recomputed there are {}", found.num_rows(), expected.num_rows()));
    }
    let schema = expected.schema();
    let name = |index: usize| Schema::field(&schema, index).name().clone();
    let columns = found.columns().iter().zip(expected.columns()).enumerate();
    columns
        .filter(|(_, (a, b))| !same_cells(a, b))
        .map(|(index, (a, b))| {
            let row = (0..a.len()).find(|&row| !same_cells(&a.slice(row, 1), &b.slice(row, 1))).unwrap_or_default();
            format!("row {} is not what its evidence gives: column {}", row + 1, name(index))
        })
        .next()
}

fn same_cells(a: &ArrayRef, b: &ArrayRef) -> bool {
    if a.data_type() == &DataType::Float64 && b.data_type() == &DataType::Float64 {
        let bits = |array: &ArrayRef| -> Vec<Option<u64>> {
            array.as_primitive::<arrow_array::types::Float64Type>().iter().map(|x| x.map(f64::to_bits)).collect()
        };
        return bits(a) == bits(b);
    }
    a == b
}
