//! A snapshot folder: the database as it was at one moment, in Arrow IPC files beside a manifest.

mod manifest;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use serde_json::Value as Json;

use self::manifest::{FileEntry, Manifest};
use super::ipc::{IpcFile, NO_MATCH};
use super::stretches::in_stretches;
use super::{Counters, TABLES, small};
use crate::error::{Error, ErrorKind, Result};
use crate::files::decode::decoding;
use crate::files::{hash, path};
use crate::model::evidence::{
    COMPONENTS, InputTable, NODES, RESPONSES, RUN_TABLES, RUNS, Run, RunEvidence, SCORES, STEPS, Snapshot, StoredStat, Unit,
    UnitEvidence, units,
};
use crate::model::ids::LeadHours;
use crate::model::rollups::{ForecastStat, LegacyScore, MinerStat, Rollup, SubnetStat};
use crate::model::rows::{rows_from_batch, schema_of, stats_from_batch, stats_schema};
use crate::model::time::Micros;
use crate::parallel;

pub use self::writer::SnapshotWriter;

/// A snapshot folder whose files are open.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    snapshot: Snapshot,
    settings: Json,
    files: HashMap<&'static str, IpcFile>,
    batch_of_run: HashMap<i32, usize>,
    batch_of_unit: HashMap<String, usize>,
    counters: Counters,
    /// The scores as they stand in the file.
    score_columns: SchemaRef,
}

impl Folder {
    /// Opens a folder and checks every byte of it.
    pub fn open(dir: &Path) -> Result<Folder> {
        Folder::open_with(dir, Check::Now)
    }

    /// Opens a folder. Every byte is checked before anything is made of it: those of batches as they are read.
    pub fn open_to_read(dir: &Path) -> Result<Folder> {
        Folder::open_with(dir, Check::AsRead)
    }

    fn open_with(dir: &Path, check: Check) -> Result<Folder> {
        decoding(|| Folder::opened(dir, check), |panic| damaged(dir, "a file", panic))
    }

    fn opened(dir: &Path, check: Check) -> Result<Folder> {
        if !dir.is_dir() {
            let detail = if dir.exists() { "it is not a folder" } else { "there is no such folder" };
            return Err(refused(dir, detail).hint("give the path of a snapshot folder, or a postgres:// URL"));
        }
        let mut manifest = Manifest::read(dir)?;
        let wide_leads: Vec<LeadHours> = manifest.wide_leads.iter().map(|&lead| LeadHours(lead)).collect();
        let entries = TABLES.iter().filter_map(|table| Some((*table, manifest.files.remove(&file_name(table))?))).collect();
        let open = |(table, entry)| {
            let schema = file_schema(manifest.version, table, &wide_leads);
            open_file(dir, table, entry, &schema, check).map(|file| (table, file))
        };
        let files: HashMap<_, _> = parallel::all(entries, open).into_iter().collect::<Result<_>>()?;
        let snapshot = read_small(dir, &manifest, &files, wide_leads)?;
        check_batches(dir, &manifest, &files, &snapshot.runs)?;
        let counters = Counters::default();
        for (table, file) in files.iter().filter(|(table, _)| !is_read_by_batch(table)) {
            counters.add(table, rows(dir, table, file)? as usize);
        }
        Ok(Folder {
            dir: dir.to_owned(),
            snapshot,
            settings: manifest.settings,
            files,
            batch_of_run: manifest.runs.into_iter().zip(0..).collect(),
            batch_of_unit: manifest.units.into_iter().zip(0..).collect(),
            counters,
            score_columns: file_schema(manifest.version, SCORES.name, &[]),
        })
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// The settings that were handed to [`SnapshotWriter::finish`].
    pub fn settings(&self) -> &Json {
        &self.settings
    }

    pub fn display(&self) -> String {
        self.dir.display().to_string()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn read(&self, unit: &Unit) -> Result<UnitEvidence> {
        decoding(|| self.rows_of(unit), |panic| damaged(&self.dir, "a file", panic))
    }

    fn rows_of(&self, unit: &Unit) -> Result<UnitEvidence> {
        let runs = unit.runs.iter().map(|run| self.read_run(run, &SCORES.schema())).collect::<Result<_>>()?;
        Ok(UnitEvidence { runs, stored: stats_from_batch(&self.read_unit(unit)?, &self.snapshot.wide_leads)? })
    }

    /// The runs of a unit, their scores in stretches where the file has them so, and the stored rows in the columns of
    /// [`stats_schema`].
    pub fn read_columns(&self, unit: &Unit) -> Result<(Vec<RunEvidence>, RecordBatch)> {
        let runs = unit.runs.iter().map(|run| self.read_run(run, &self.score_columns)).collect::<Result<_>>()?;
        Ok((runs, self.read_unit(unit)?))
    }

    fn read_unit(&self, unit: &Unit) -> Result<RecordBatch> {
        let index = self.batch_of_unit.get(&unit.forecast_run_id).copied();
        self.read_stored(index.ok_or_else(|| refused(&self.dir, format!("it has no unit {}", unit.forecast_run_id)))?)
    }

    fn read_run(&self, run: &Run, scores: &SchemaRef) -> Result<RunEvidence> {
        let index = self.batch_of_run.get(&run.id.0).copied();
        let index = index.ok_or_else(|| refused(&self.dir, format!("it has no run {}", run.id)))?;
        Ok(RunEvidence {
            run: run.clone(),
            responses: self.batch(&RESPONSES, index, &RESPONSES.schema())?,
            scores: self.batch(&SCORES, index, scores)?,
            components: self.batch(&COMPONENTS, index, &COMPONENTS.schema())?,
            steps: self.batch(&STEPS, index, &STEPS.schema())?,
            legacy: Vec::new(),
        })
    }

    fn batch(&self, table: &InputTable, index: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        match self.files.get(table.name) {
            Some(file) => self.read_batch(file, table.name, index, schema),
            None => Ok(RecordBatch::new_empty(schema.clone())),
        }
    }

    fn read_batch(&self, file: &IpcFile, table: &str, index: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        let batch = file.batch(index, schema).map_err(|e| unread(&self.dir, &file_name(table), e))?;
        self.counters.add(table, batch.num_rows());
        Ok(batch)
    }

    /// The tables that it has, each with its columns and the number of its batches.
    #[cfg(feature = "query")]
    pub fn tables(&self) -> Vec<(&'static str, SchemaRef, usize)> {
        let tables = TABLES.iter().filter_map(|&table| Some((table, self.files.get(table)?)));
        tables.map(|(table, file)| (table, schema(table, &self.snapshot.wide_leads), file.batches())).collect()
    }

    /// One batch of a table that it has.
    #[cfg(feature = "query")]
    pub fn read_table(&self, table: &str, index: usize) -> Result<RecordBatch> {
        let file = self.files.get(table).ok_or_else(|| refused(&self.dir, format!("it has no {table}")))?;
        self.read_batch(file, table, index, &schema(table, &self.snapshot.wide_leads))
    }

    fn read_stored(&self, index: usize) -> Result<RecordBatch> {
        let schema = stats_schema(&self.snapshot.wide_leads);
        match self.files.get(ForecastStat::TABLE) {
            Some(file) => self.read_batch(file, ForecastStat::TABLE, index, &schema),
            None => Ok(RecordBatch::new_empty(schema)),
        }
    }

    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        let strays = || stats_from_batch(&self.read_stored(self.batch_of_unit.len())?, &self.snapshot.wide_leads);
        decoding(strays, |panic| damaged(&self.dir, &file_name(ForecastStat::TABLE), panic))
    }
}

/// Whether a folder looks like a snapshot: it has a file that only a snapshot has. Whether it is a whole one is another question.
#[cfg(feature = "query")]
pub fn is_snapshot(dir: &Path) -> bool {
    TABLES.iter().any(|table| dir.join(file_name(table)).exists())
}

fn file_name(table: &str) -> String {
    format!("{table}.arrow")
}

/// The tables of which a unit is read at a time; the others are whole in [`Snapshot`].
fn is_read_by_batch(table: &str) -> bool {
    table == ForecastStat::TABLE || RUN_TABLES.iter().any(|run_table| run_table.name == table)
}

/// The schema of the file of a table: the large ones with what repeats in stretches.
fn file_schema(version: u64, table: &str, wide_leads: &[LeadHours]) -> SchemaRef {
    let schema = schema(table, wide_leads);
    if version > 1 && [SCORES.name, COMPONENTS.name].contains(&table) { in_stretches(&schema, version > 3) } else { schema }
}

/// The schema of a table in memory.
fn schema(table: &str, wide_leads: &[LeadHours]) -> SchemaRef {
    match table {
        MinerStat::TABLE => schema_of(MinerStat::COLUMNS),
        SubnetStat::TABLE => schema_of(SubnetStat::COLUMNS),
        LegacyScore::TABLE => schema_of(LegacyScore::COLUMNS),
        ForecastStat::TABLE => stats_schema(wide_leads),
        _ => {
            let contract = [&NODES, &RUNS].into_iter().chain(RUN_TABLES).find(|contract| contract.name == table);
            contract.expect("every other table has a contract").schema()
        }
    }
}

/// When the bytes of a folder are held against their hashes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Check {
    Now,
    AsRead,
}

fn open_file(dir: &Path, table: &str, entry: FileEntry, schema: &SchemaRef, check: Check) -> Result<IpcFile> {
    let name = file_name(table);
    let unreadable = |e: std::io::Error| unreadable(dir, &name, e);
    let (file, bytes) = path::open(dir, &name, u64::MAX).map_err(unreadable)?;
    if bytes != entry.bytes {
        return Err(damaged(dir, &name, format!("has {bytes} bytes, the manifest says {}", entry.bytes)));
    }
    let matches = |file: &std::fs::File| match hash::of_file(file, bytes).map_err(unreadable)?.to_hex().as_str() == entry.blake3 {
        true => Ok(()),
        false => Err(damaged(dir, &name, NO_MATCH)),
    };
    let parts = entry.checksums.filter(|_| check == Check::AsRead && is_read_by_batch(table));
    let unchecked = parts.is_some().then(|| file.try_clone()).transpose().map_err(unreadable)?;
    let file = if let Some(parts) = parts {
        if !parts.cover(entry.bytes, entry.batches) {
            return Err(damaged(dir, manifest::MANIFEST, format!("does not cut {name} into parts")));
        }
        IpcFile::open_checked(file, parts)
    } else {
        matches(&file)?;
        IpcFile::open(file)
    };
    let file = file.map_err(|e| unread(dir, &name, e))?;
    if file.schema().fields() != schema.fields() {
        return Err(damaged(dir, &name, "does not have the columns that this recount reads"));
    }
    let batches = file.batches();
    if batches != entry.batches {
        return Err(damaged(dir, &name, format!("has {batches} batches, the manifest says {}", entry.batches)));
    }
    // The batches say it in their headers. Those of a file that is checked as it is read have not been held against a hash yet.
    let rows = rows(dir, table, &file).and_then(|rows| match rows == entry.rows {
        true => Ok(()),
        false => Err(damaged(dir, &name, format!("has {rows} rows, the manifest says {}", entry.rows))),
    });
    if let (Err(_), Some(unchecked)) = (&rows, &unchecked) {
        matches(unchecked)?;
    }
    rows.map(|()| file)
}

fn rows(dir: &Path, table: &str, file: &IpcFile) -> Result<u64> {
    file.rows().map_err(|e| damaged(dir, &file_name(table), e))
}

/// The tables that are held whole.
fn read_small(dir: &Path, manifest: &Manifest, files: &HashMap<&str, IpcFile>, wide_leads: Vec<LeadHours>) -> Result<Snapshot> {
    let whole = |table: &'static str| match files.get(table) {
        Some(file) => file.batch(0, &schema(table, &[])).map(Some).map_err(|e| damaged(dir, &file_name(table), e)),
        None => Ok(None),
    };
    let needed = |table| whole(table)?.ok_or_else(|| damaged(dir, &file_name(table), "is missing"));
    let taken_at = Micros::parse(&manifest.taken_at).ok_or_else(|| damaged(dir, manifest::MANIFEST, "has no time"))?;
    Ok(Snapshot {
        taken_at,
        server_version: manifest.server_version.clone(),
        runs: small::runs_of(&needed(RUNS.name)?),
        nodes: small::nodes_of(&needed(NODES.name)?),
        stored_miners: whole(MinerStat::TABLE)?.map(|batch| rows_from_batch(&batch)).transpose()?,
        stored_subnet: whole(SubnetStat::TABLE)?.map(|batch| rows_from_batch(&batch)).transpose()?,
        legacy: whole(LegacyScore::TABLE)?.map(|batch| rows_from_batch(&batch)).transpose()?.unwrap_or_default(),
        wide_leads,
        has_steps: manifest.has_steps,
        has_stored_stats: manifest.has_stored_stats,
        weighing: None,
        notes: manifest.notes.clone(),
    })
}

/// Every run and unit has its batch, and every file that must be there is.
fn check_batches(dir: &Path, manifest: &Manifest, files: &HashMap<&str, IpcFile>, runs: &[Run]) -> Result<()> {
    let units = units(runs);
    let in_order: Vec<i32> = units.iter().flat_map(|unit| &unit.runs).map(|run| run.id.0).collect();
    if manifest.runs != in_order || !units.iter().map(|unit| &unit.forecast_run_id).eq(&manifest.units) {
        return Err(damaged(dir, manifest::MANIFEST, "does not list the runs of weather_forecast_runs"));
    }
    let run_tables = RUN_TABLES.iter().filter(|table| table.name != STEPS.name || manifest.has_steps);
    let run_tables = run_tables.map(|table| (table.name, manifest.runs.len()));
    let stats = manifest.has_stored_stats.then_some((ForecastStat::TABLE, units.len() + 1));
    for (table, batches) in run_tables.chain(stats) {
        match files.get(table) {
            Some(file) if file.batches() == batches => {}
            Some(_) => return Err(damaged(dir, &file_name(table), format!("does not have its {batches} batches"))),
            None => return Err(damaged(dir, &file_name(table), "is missing")),
        }
    }
    Ok(())
}

/// A folder that cannot serve as a snapshot.
fn refused(dir: &Path, detail: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Snapshot, format!("opening snapshot {}", dir.display()), detail)
}

/// A file that the system could not read, or that is not to be read.
fn unreadable(dir: &Path, file: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => damaged(dir, file, "is missing"),
        _ if path::is_refusal(&error) => damaged(dir, file, error),
        _ => Error::new(ErrorKind::Io, format!("reading {}", dir.join(file).display()), &error).caused_by(error),
    }
}

/// A file that could not be read, or is not what was written.
fn unread(dir: &Path, file: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::ParseError(detail) if detail == NO_MATCH => damaged(dir, file, detail),
        error => damaged(dir, file, error),
    }
}

/// A file of the folder that is not what was written.
fn damaged(dir: &Path, file: &str, detail: impl std::fmt::Display) -> Error {
    refused(dir, format!("{file} {detail}"))
        .hint("the folder is damaged, incomplete or edited: copy it again from where it was written, or export it anew")
}
