//! `recount archive`: one pass over a source and over what an archive still has, into the files of its days.

mod inventory;
mod listing;
#[cfg(feature = "query")]
pub mod query;
mod rows;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;

use crate::archive::day::NO_DAY;
use crate::archive::encoding::row_groups;
use crate::archive::manifest::RunEntry;
use crate::archive::tables::{
    self, DIFFERENCES, Division, EVIDENCE, FINDINGS_TABLE, LATER, LEAD_SCORES, LEGACY_TABLE, LOOSE_FINDINGS, MINERS, NIGHTS,
    NODES_TABLE, RETAINED_TABLE, RUNS_TABLE, SCORES_TABLE, STATS, STORED_MINERS, STORED_STATS, STORED_SUBNET, STRAY_STATS,
    SUBNET, TABLES, Table,
};
use crate::archive::{Day, Manifest, Storage, day};
use crate::error::{Error, ErrorKind, Result};
use crate::files::parquet::RowGroup;
use crate::model::difference::Tolerance;
use crate::model::evidence::{Run, Snapshot, UnitEvidence, units};
use crate::model::filter::ColumnFilter;
use crate::model::ids::{LeadHours, RunId};
use crate::model::job::{Encoding, Job, Narrowing, RunRange, Watch};
use crate::model::rollups::LegacyScore;
use crate::model::rows::{batch_of, stats_batch};
use crate::model::time::Micros;
use crate::rollup::UnitFold;
use crate::sink::archive::{ArchiveWriter, Published};
use crate::source::archive::{Archive, is_archive};
use crate::source::retained::{self, Retained};
use crate::source::united::{Purpose, United};
use crate::source::{Source, small};

use super::pass::{Collect, Pass, Rest, UnitResult};

pub use listing::{Listing, TableLine, list};

/// The result of archiving.
#[derive(Debug, Clone)]
pub struct Archived {
    pub as_of: Micros,
    /// As it was given, for the report alone.
    pub dest: String,
    pub live_runs: u64,
    /// Runs that the archive had already, and that the source no longer has or was not asked for.
    pub archived_runs: u64,
    /// Rows of evidence that the source no longer has of runs that were written.
    pub retained_rows: u64,
    pub digest: String,
    pub published: Published,
    pub elapsed: Duration,
}

/// Archives a source: the runs that the job's narrowing includes, together with all that the archive has already.
pub fn archive(job: &Job, source: Source, dest: &str, wanted: Option<&[String]>, watch: &dyn Watch) -> Result<Archived> {
    archive_but(job, source, dest, wanted, None, false, watch)
}

/// As [`archive`], without what only the archive still has of the runs of `forget`. `rewrite`: days of which the source has no run any
/// more are written anew as well, in the format and the encoding of today.
pub fn archive_but(
    job: &Job,
    source: Source,
    dest: &str,
    wanted: Option<&[String]>,
    forget: Option<RunRange>,
    rewrite: bool,
    watch: &dyn Watch,
) -> Result<Archived> {
    // What an archive says to differ is what anybody finds who verifies it.
    let job = &Job { profile: None, baseline: None, ..job.clone() };
    let start = Instant::now();
    let mut writer = ArchiveWriter::open(Storage::open(dest)?)?;
    let tables = selected(writer.former(), wanted, dest)?;
    check_moment(writer.former(), source.snapshot(), dest)?;
    let united = United::new(source, former(&writer, dest)?, Purpose::Preserve, &job.narrowing);
    let source = Source::United(Box::new(united.keeping(job.scoring.step_retention_days, forget)));
    let snapshot = source.snapshot();
    writer.set_wide_leads(&snapshot.wide_leads);
    if forget.is_some() {
        writer.forget();
    }

    let mut manifest = manifest(job, &source, &tables);
    let kept = if rewrite { BTreeSet::new() } else { kept_days(writer.former(), &manifest, &source) };
    let whole =
        Job { narrowing: Narrowing::default(), filter: ColumnFilter::default(), tolerance: Tolerance::default(), ..job.clone() };
    let mut days = Days::new(&mut writer, &source, &tables, kept.clone(), job.encoding);
    let retained_rows = AtomicU64::new(0);
    let prepare = |evidence: &UnitEvidence, fold: &UnitFold| {
        let retained: BTreeMap<RunId, Retained> =
            evidence.runs.iter().filter_map(|run| Some((run.run.id, source.take_retained(run.run.id)?))).collect();
        let rows: usize = retained.values().map(|retained| retained.marks.len()).sum();
        retained_rows.fetch_add(rows as u64, Ordering::Relaxed);
        prepare(evidence, fold, &retained, &tables, &kept, &snapshot.wide_leads, job.encoding)
    };
    let outcome = Pass::new("archive", &whole, &source, watch).run_with(prepare, &mut days)?;
    write_moment(&mut writer, &source, &tables, job.encoding)?;
    manifest.digest = outcome.digest.clone();
    for (table, batch) in [(&DIFFERENCES, rows::differences(&outcome)), (&NIGHTS, rows::night(&manifest, &outcome))] {
        if manifest.has_table(table.name) {
            let groups = row_groups(table, &table.schema(&[]), &batch, job.encoding)?;
            writer.write(table, &day::stamp(snapshot.taken_at), groups)?;
        }
    }
    write_empty(&mut writer, &manifest, &tables)?;
    let archived = snapshot.runs.iter().filter(|run| source.is_archived(run.id)).count() as u64;
    Ok(Archived {
        as_of: snapshot.taken_at,
        dest: dest.to_owned(),
        live_runs: snapshot.runs.len() as u64 - archived,
        archived_runs: archived,
        retained_rows: retained_rows.into_inner(),
        digest: outcome.digest,
        published: writer.publish(manifest)?,
        elapsed: start.elapsed(),
    })
}

/// Unites a source with the runs that only an archive still has, for a comparison with what the source stores.
pub fn with_history(source: Source, dest: &str, narrowing: &Narrowing) -> Result<Source> {
    // Runs outside of a narrowed comparison still count for lifetime rollups.
    let all = Narrowing { lifetime: narrowing.lifetime, ..Narrowing::default() };
    Ok(Source::United(Box::new(United::new(source, Some(Archive::open(dest)?), Purpose::Compare, &all))))
}

/// The legacy scores that the archive at a place holds; none where there is no archive yet.
pub fn legacy(dest: &str) -> Result<Vec<LegacyScore>> {
    if !is_archive(dest) {
        return Ok(Vec::new());
    }
    Ok(Archive::open(dest)?.snapshot().legacy.clone())
}

/// The tables to write: those asked for, else those that the archive has, else all.
fn selected(former: Option<&Manifest>, wanted: Option<&[String]>, dest: &str) -> Result<Vec<&'static Table>> {
    let usage = |detail: String| Error::new(ErrorKind::Usage, format!("archiving to {dest}"), detail);
    // Evidence without the legacy scores and the marks would not be all of it; archives of before there were any take them in.
    let complete = |mut names: BTreeSet<String>| {
        if EVIDENCE.iter().all(|table| names.contains(table.name)) {
            names.extend(LATER.iter().map(|table| table.name.to_owned()));
        }
        // Archives of before had them among the others, or not at all.
        if names.contains(FINDINGS_TABLE.name) {
            names.insert(LOOSE_FINDINGS.name.to_owned());
            names.insert(NIGHTS.name.to_owned());
        }
        if names.contains(STORED_STATS.name) {
            names.insert(DIFFERENCES.name.to_owned());
        }
        names
    };
    let names: BTreeSet<String> = match (wanted, former) {
        (Some(names), _) => names.iter().cloned().collect(),
        (None, Some(former)) => former.tables.iter().cloned().collect(),
        (None, None) => TABLES.iter().map(|table| table.name.to_owned()).collect(),
    };
    let names = complete(names);
    if let Some(unknown) = names.iter().find(|name| tables::table(name).is_none()) {
        let known: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        return Err(usage(format!("there is no table {unknown}")).hint(format!("the tables are {}", known.join(", "))));
    }
    if former.is_some_and(|former| names != complete(former.tables.iter().cloned().collect())) {
        let error = usage("it was made with another choice of tables".to_owned());
        return Err(error.hint("leave --tables out to go on with that choice, or begin another archive"));
    }
    Ok(TABLES.into_iter().filter(|table| names.contains(table.name)).collect())
}

/// An older snapshot must not take the place of a newer one.
fn check_moment(former: Option<&Manifest>, snapshot: &Snapshot, dest: &str) -> Result<()> {
    match former.filter(|former| former.as_of > snapshot.taken_at.0) {
        None => Ok(()),
        Some(_) => Err(Error::new(ErrorKind::Refused, format!("archiving to {dest}"), "it has a newer state than this source")
            .hint("archive older snapshots first, or to a place of their own")),
    }
}

/// The archive so far as a source, where it has the evidence.
fn former(writer: &ArchiveWriter, dest: &str) -> Result<Option<Archive>> {
    match writer.former() {
        Some(former) if EVIDENCE.iter().all(|table| former.has_table(table.name)) => {
            Archive::of(Storage::open(dest)?, former.clone()).map(Some)
        }
        _ => Ok(None),
    }
}

fn manifest(job: &Job, source: &Source, tables: &[&Table]) -> Manifest {
    let snapshot = source.snapshot();
    let mut manifest = Manifest::new(snapshot.taken_at, job.scoring.clone());
    manifest.server_version = snapshot.server_version.clone();
    manifest.has_steps = snapshot.has_steps;
    manifest.has_stored_stats = snapshot.has_stored_stats;
    manifest.has_stored_miners = snapshot.stored_miners.is_some();
    manifest.has_stored_subnet = snapshot.stored_subnet.is_some();
    manifest.wide_leads = snapshot.wide_leads.clone();
    manifest.tables = tables.iter().map(|table| table.name.to_owned()).collect();
    for (day, runs) in runs_by_day(&snapshot.runs) {
        let entry = |run: &&Run| RunEntry {
            id: run.id.0,
            gfs_init: run.gfs_init.0,
            target: run.target.0,
            retained: source.is_gone(run.id),
        };
        manifest.days.insert(day.to_string(), runs.iter().map(entry).collect());
    }
    manifest
}

fn runs_by_day(runs: &[Run]) -> BTreeMap<Day, Vec<&Run>> {
    let mut days: BTreeMap<Day, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        days.entry(Day::of(run.gfs_init)).or_default().push(run);
    }
    days
}

/// Days of which the source has no run any more, and that this program would write as they are: they are not written again.
fn kept_days(former: Option<&Manifest>, manifest: &Manifest, source: &Source) -> BTreeSet<Day> {
    let Some(former) = former else { return BTreeSet::new() };
    let basis = |m: &Manifest| (m.tool.clone(), m.scoring.clone(), m.wide_leads.clone());
    let archived = |run: &&Run| source.is_archived(run.id);
    let days = runs_by_day(&source.snapshot().runs).into_iter().filter(|(day, runs)| {
        let day = day.to_string();
        // That a run is gone changes none of its rows.
        let runs_of = |m: &Manifest| m.days.get(&day).map(|runs| runs.iter().map(RunEntry::times).collect::<Vec<_>>());
        runs.iter().all(archived) && runs_of(former) == runs_of(manifest)
    });
    if basis(former) == basis(manifest) { days.map(|(day, _)| day).collect() } else { BTreeSet::new() }
}

/// Rows of a run on their way into the file of their table and day; those of a file are in order of `place`.
pub struct Piece {
    day: Day,
    table: &'static Table,
    storage: RunId,
    groups: Vec<RowGroup>,
}

/// Encodes all that a unit adds to its days, one row group for each run and table.
fn prepare(
    evidence: &UnitEvidence,
    fold: &UnitFold,
    retained: &BTreeMap<RunId, Retained>,
    tables: &[&'static Table],
    kept: &BTreeSet<Day>,
    wide_leads: &[LeadHours],
    doubles: Encoding,
) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut add = |day: Day, table: &'static Table, storage: RunId, batch: &RecordBatch| {
        if batch.num_rows() > 0 && !kept.contains(&day) && tables.iter().any(|wanted| wanted.name == table.name) {
            let groups = row_groups(table, &table.schema(wide_leads), batch, doubles)?;
            pieces.push(Piece { day, table, storage, groups });
        }
        Ok::<_, Error>(())
    };
    for run in &evidence.runs {
        let (id, day) = (run.run.id, Day::of(run.run.gfs_init));
        let of_run = retained.get(&id);
        for (table, batch) in retained::TABLES.into_iter().zip(retained::whole(run, of_run)?) {
            let batch = if table.name == SCORES_TABLE.name { rows::scores(&batch) } else { batch };
            add(day, table, id, &batch)?;
        }
        if let Some(of_run) = of_run {
            add(day, &RETAINED_TABLE, id, &batch_of(&of_run.marks))?;
        }
        for (table, batch) in [(&LEAD_SCORES, &rows::lead_scores(fold, id)), (&STATS, &rows::stats(fold, id))] {
            add(day, table, id, batch)?;
        }
    }
    if let Some(first) = evidence.runs.first().map(|run| &run.run) {
        add(Day::of(first.gfs_init), &STORED_STATS, first.id, &stats_batch(&evidence.stored, wide_leads))?;
    }
    Ok(pieces)
}

/// The days in the making. A day is written when the last of its units is through, so that memory holds few of them.
struct Days<'w> {
    writer: &'w mut ArchiveWriter,
    tables: Vec<&'static Table>,
    kept: BTreeSet<Day>,
    runs: Vec<Run>,
    gone: BTreeSet<RunId>,
    /// How many units each day still waits for.
    waiting: BTreeMap<Day, usize>,
    pieces: BTreeMap<Day, Vec<Piece>>,
    /// The days of the units to come, in their order.
    coming: std::vec::IntoIter<BTreeSet<Day>>,
    taken_at: Micros,
    as_of: String,
    doubles: Encoding,
}

impl<'w> Days<'w> {
    fn new(
        writer: &'w mut ArchiveWriter,
        source: &Source,
        tables: &[&'static Table],
        kept: BTreeSet<Day>,
        doubles: Encoding,
    ) -> Self {
        let snapshot = source.snapshot();
        let gone = snapshot.runs.iter().map(|run| run.id).filter(|run| source.is_gone(*run)).collect();
        let days = |runs: &[Run]| runs.iter().map(|run| Day::of(run.gfs_init)).collect::<BTreeSet<Day>>();
        let coming: Vec<_> = units(&snapshot.runs).iter().map(|unit| days(&unit.runs)).collect();
        let mut waiting = BTreeMap::new();
        for day in coming.iter().flatten() {
            *waiting.entry(*day).or_default() += 1;
        }
        let (runs, as_of) = (snapshot.runs.clone(), day::stamp(snapshot.taken_at));
        Days {
            writer,
            tables: tables.to_vec(),
            kept,
            runs,
            gone,
            waiting,
            pieces: BTreeMap::new(),
            coming: coming.into_iter(),
            taken_at: snapshot.taken_at,
            as_of,
            doubles,
        }
    }

    fn has(&self, table: &Table) -> bool {
        self.tables.iter().any(|wanted| wanted.name == table.name)
    }

    fn close(&mut self, day: Day) -> Result<()> {
        let partition = day.to_string();
        let tables = self.tables.clone();
        let by_day = tables.into_iter().filter(|table| table.division == Division::Day && table.name != FINDINGS_TABLE.name);
        if self.kept.contains(&day) {
            // Whether a run is gone can change all the same.
            by_day.filter(|table| table.name != RUNS_TABLE.name).for_each(|table| self.writer.keep(table, &partition));
            return self.write_runs(day);
        }
        let mut pieces = self.pieces.remove(&day).unwrap_or_default();
        pieces.sort_by_key(|piece| (piece.table.name, piece.storage));
        let mut pieces = pieces.into_iter().peekable();
        while let Some(table) = pieces.peek().map(|piece| piece.table) {
            let own = std::iter::from_fn(|| pieces.next_if(|piece| piece.table.name == table.name));
            self.writer.write(table, &partition, own.flat_map(|piece| piece.groups).collect::<Vec<_>>())?;
        }
        self.write_runs(day)
    }

    fn write_runs(&mut self, day: Day) -> Result<()> {
        let runs: Vec<Run> = self.runs.iter().filter(|run| Day::of(run.gfs_init) == day).cloned().collect();
        let batch = rows::runs(&runs, |run| self.gone.contains(&run));
        self.whole(&RUNS_TABLE, &day.to_string(), &batch)
    }

    fn whole(&mut self, table: &Table, partition: &str, batch: &RecordBatch) -> Result<()> {
        if !self.has(table) {
            return Ok(());
        }
        self.writer.write(table, partition, row_groups(table, &table.schema(&[]), batch, self.doubles)?)
    }
}

impl Collect<Vec<Piece>> for Days<'_> {
    fn unit(&mut self, _unit: &mut UnitResult, pieces: Vec<Piece>) -> Result<()> {
        for piece in pieces {
            self.pieces.entry(piece.day).or_default().push(piece);
        }
        for day in self.coming.next().unwrap_or_default() {
            let left = self.waiting.entry(day).or_default();
            *left -= 1;
            if *left == 0 {
                self.close(day)?;
            }
        }
        Ok(())
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        let as_of = self.as_of.clone();
        for (table, rows) in [(&MINERS, batch_of(rest.miners)), (&SUBNET, rows::subnet(rest.subnet, &self.runs))] {
            self.whole(table, &as_of, &rows)?;
            if self.has(table) {
                self.writer.write_newest(table, &rows, self.taken_at, self.doubles)?;
            }
        }
        let (by_day, loose) = rows::findings(rest.findings, &self.runs);
        for (day, findings) in by_day {
            self.whole(&FINDINGS_TABLE, &day.to_string(), &findings)?;
        }
        self.whole(&LOOSE_FINDINGS, &as_of, &loose)?;
        Ok(())
    }
}

/// Every table has a file, if only one without rows: a pattern that meets nothing is an error to most readers. A table by moment has
/// one for each, so that the newest moment is the same in all of them.
fn write_empty(writer: &mut ArchiveWriter, manifest: &Manifest, tables: &[&'static Table]) -> Result<()> {
    let as_of = Micros(manifest.as_of);
    // A folder of no day would make text of the dates of all others.
    let first = manifest.days.keys().find(|day| *day != NO_DAY).cloned().unwrap_or_else(|| Day::of(as_of).to_string());
    for table in tables {
        match table.division {
            Division::Moment => writer.write_empty(table, &day::stamp(as_of))?,
            Division::Day if writer.has_files(table, None) => {}
            Division::Day => writer.write_empty(table, &first)?,
        }
    }
    Ok(())
}

/// What holds at this moment alone, beside the moments that were archived before.
fn write_moment(writer: &mut ArchiveWriter, source: &Source, tables: &[&'static Table], doubles: Encoding) -> Result<()> {
    let snapshot = source.snapshot();
    let as_of = day::stamp(snapshot.taken_at);
    for table in tables.iter().filter(|table| table.division == Division::Moment) {
        writer.keep_moments(table, &as_of);
    }
    let stored = [
        (&NODES_TABLE, Some(small::nodes_batch(&snapshot.nodes))),
        (&LEGACY_TABLE, (!snapshot.legacy.is_empty()).then(|| batch_of(&snapshot.legacy))),
        (&STORED_MINERS, snapshot.stored_miners.as_deref().map(batch_of)),
        (&STORED_SUBNET, snapshot.stored_subnet.as_deref().map(batch_of)),
        (
            &STRAY_STATS,
            snapshot.has_stored_stats.then(|| source.strays()).transpose()?.map(|rows| stats_batch(&rows, &snapshot.wide_leads)),
        ),
    ];
    for (table, batch) in stored {
        if let Some(batch) = batch.filter(|_| tables.iter().any(|wanted| wanted.name == table.name)) {
            writer.write(table, &as_of, row_groups(table, &table.schema(&snapshot.wide_leads), &batch, doubles)?)?;
        }
    }
    Ok(())
}
