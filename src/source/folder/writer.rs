//! Writes a snapshot folder: under a temporary name beside the target, renamed when it is complete.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use serde_json::Value as Json;

use super::manifest::{FORMAT_VERSION, FileEntry, MANIFEST, Manifest};
use super::{file_name, file_schema};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::hashed::Hashed;
use crate::files::staging::Staging;
use crate::model::evidence::{NODES, RUN_TABLES, RUNS, STEPS, Snapshot, StoredStat, Unit, UnitEvidence, units};
use crate::model::rollups::{ForecastStat, LegacyScore, MinerStat, Rollup, SubnetStat};
use crate::model::rows::{batch_of, stats_batch};
use crate::source::ipc::{IpcWriter, texts_hash};
use crate::source::parts::{PartedFile, Parts};
use crate::source::small;

/// A snapshot folder in the making. Dropped before [`SnapshotWriter::finish`], it leaves nothing behind.
pub struct SnapshotWriter {
    /// Of the format.
    version: u64,
    target: PathBuf,
    folder: Staging,
    snapshot: Snapshot,
    /// In the order of [`units`]; those before `next` are written.
    units: Vec<Unit>,
    next: usize,
    /// One for each of [`RUN_TABLES`] that the source has.
    run_files: Vec<Option<SnapshotFile>>,
    stats_file: Option<SnapshotFile>,
}

impl SnapshotWriter {
    /// Refuses a target that exists, unless it is an empty folder.
    pub fn create(target: &Path, snapshot: &Snapshot) -> Result<SnapshotWriter> {
        SnapshotWriter::create_in(FORMAT_VERSION, target, snapshot)
    }

    pub(super) fn create_in(version: u64, target: &Path, snapshot: &Snapshot) -> Result<SnapshotWriter> {
        let mut writer = SnapshotWriter {
            version,
            target: target.to_owned(),
            folder: Staging::create(target)?,
            snapshot: snapshot.clone(),
            units: units(&snapshot.runs),
            next: 0,
            run_files: Vec::new(),
            stats_file: None,
        };
        for table in RUN_TABLES {
            let present = table.name != STEPS.name || snapshot.has_steps;
            let file = if present { Some(writer.file(table.name)?) } else { None };
            writer.run_files.push(file);
        }
        if snapshot.has_stored_stats {
            writer.stats_file = Some(writer.file(ForecastStat::TABLE)?);
        }
        Ok(writer)
    }

    fn file(&self, table: &'static str) -> Result<SnapshotFile> {
        SnapshotFile::create(&self.target, &self.folder, table, &file_schema(self.version, table, &self.snapshot.wide_leads))
    }

    /// Appends one unit; units come in the order of [`units`], each once.
    pub fn append(&mut self, evidence: &UnitEvidence) -> Result<()> {
        let expected = self.units.get(self.next).map_or(&[][..], |unit| &unit.runs);
        if expected.is_empty() || !evidence.runs.iter().map(|run| &run.run).eq(expected) {
            return Err(Error::new(ErrorKind::Data, doing(&self.target), "a unit came out of its order"));
        }
        self.next += 1;
        for run in &evidence.runs {
            let batches = [&run.responses, &run.scores, &run.components, &run.steps];
            for (file, batch) in self.run_files.iter_mut().zip(batches) {
                file.as_mut().map_or(Ok(()), |file| file.write(batch))?;
            }
        }
        self.append_stored(&evidence.stored)
    }

    fn append_stored(&mut self, rows: &[StoredStat]) -> Result<()> {
        match &mut self.stats_file {
            Some(file) => file.write(&stats_batch(rows, &self.snapshot.wide_leads)),
            None => Ok(()),
        }
    }

    /// The stored lifetime rollups, where they are known only after the last unit.
    pub fn set_stored_miners(&mut self, rows: Vec<MinerStat>) {
        self.snapshot.stored_miners = Some(rows);
    }

    /// Writes what is left, makes it durable, and gives the folder its name.
    pub fn finish(mut self, strays: &[StoredStat], settings: &Json) -> Result<()> {
        if self.next != self.units.len() {
            let detail = format!("{} of {} units were appended", self.next, self.units.len());
            return Err(Error::new(ErrorKind::Data, doing(&self.target), detail));
        }
        self.append_stored(strays)?;
        let mut files: Vec<SnapshotFile> = self.run_files.drain(..).chain([self.stats_file.take()]).flatten().collect();
        for (table, batch) in self.small_tables() {
            let mut file = self.file(table)?;
            file.write(&batch)?;
            files.push(file);
        }
        let mut manifest = self.manifest(settings);
        for file in files {
            let (name, entry) = file.finish()?;
            manifest.files.insert(name, entry);
        }
        // The manifest comes last, then the name: a folder that can be seen is complete.
        std::fs::write(self.folder.path(MANIFEST), manifest.seal()).doing(ErrorKind::Io, || doing(&self.target))?;
        self.folder.commit()
    }

    fn small_tables(&self) -> Vec<(&'static str, RecordBatch)> {
        let snapshot = &self.snapshot;
        let mut tables = vec![(RUNS.name, small::runs_batch(&snapshot.runs)), (NODES.name, small::nodes_batch(&snapshot.nodes))];
        tables.extend(snapshot.stored_miners.as_ref().map(|rows| (MinerStat::TABLE, batch_of(rows))));
        tables.extend(snapshot.stored_subnet.as_ref().map(|rows| (SubnetStat::TABLE, batch_of(rows))));
        tables.extend((!snapshot.legacy.is_empty()).then(|| (LegacyScore::TABLE, batch_of(&snapshot.legacy))));
        tables
    }

    fn manifest(&self, settings: &Json) -> Manifest {
        Manifest {
            version: self.version,
            taken_at: self.snapshot.taken_at.iso(),
            server_version: self.snapshot.server_version.clone(),
            has_steps: self.snapshot.has_steps,
            has_stored_stats: self.snapshot.has_stored_stats,
            wide_leads: self.snapshot.wide_leads.iter().map(|lead| lead.0).collect(),
            notes: self.snapshot.notes.clone(),
            settings: settings.clone(),
            runs: self.units.iter().flat_map(|unit| &unit.runs).map(|run| run.id.0).collect(),
            units: self.units.iter().map(|unit| unit.forecast_run_id.clone()).collect(),
            ..Manifest::new()
        }
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter").field("target", &self.target).field("units", &self.next).finish_non_exhaustive()
    }
}

fn doing(target: &Path) -> String {
    format!("writing snapshot {}", target.display())
}

/// One file of the folder.
struct SnapshotFile {
    name: String,
    doing: String,
    writer: IpcWriter<PartedFile>,
    batches: usize,
}

impl SnapshotFile {
    fn create(target: &Path, folder: &Staging, table: &'static str, schema: &SchemaRef) -> Result<SnapshotFile> {
        let name = file_name(table);
        let doing = format!("{}/{name}", doing(target));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.path(&name))
            .doing(ErrorKind::Io, || doing.clone())?;
        let mut writer = IpcWriter::new(PartedFile::new(file), schema).map_err(|e| cannot_write(&doing, e))?;
        writer.file().cut();
        Ok(SnapshotFile { name, doing, writer, batches: 0 })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.batches += 1;
        self.writer.write(batch).map_err(|e| cannot_write(&self.doing, e))?;
        self.writer.file().cut();
        Ok(())
    }

    fn finish(self) -> Result<(String, FileEntry)> {
        let (rows, batches) = (self.writer.rows(), self.batches);
        let sink = self.writer.finish().map_err(|e| cannot_write(&self.doing, e))?;
        let (Hashed { bytes, blake3, file }, parts) = sink.finish().doing(ErrorKind::Io, || self.doing.clone())?;
        let texts_xxh3 = texts_hash(file).map_err(|e| cannot_write(&self.doing, e))?;
        Ok((self.name, FileEntry { rows, bytes, batches, blake3, checksums: Some(Parts { texts_xxh3, parts }) }))
    }
}

fn cannot_write(doing: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, e) => Error::new(ErrorKind::Io, doing, &e).caused_by(e),
        e => Error::new(ErrorKind::Data, doing, &e).caused_by(e),
    }
}
