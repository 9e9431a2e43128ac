//! Where generated data goes, unit by unit: a snapshot folder or a database.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::evidence::{RunEvidence, Snapshot, StoredStat, UnitEvidence};
use crate::model::rollups::MinerStat;
use crate::source::folder::SnapshotWriter;

use super::Generator;
use super::load::Loader;
use super::planted::StoredUnit;
use super::rows::RunRows;
use super::stored::{StoredRow, wide_leads};

/// What the server of a generated snapshot says of itself.
const SERVER_VERSION: &str = "generated";

/// Where to put it.
#[derive(Debug, Clone)]
pub enum Target {
    /// A snapshot folder that does not exist yet, and the settings to note in it.
    Folder { path: PathBuf, settings: Json },
    /// The URL of a database whose tables are there and empty.
    Database { url: String },
}

/// One unit: raw rows for a database, evidence for a folder, and the stored rows of both.
pub struct Part {
    pub rows: Vec<RunRows>,
    pub evidence: Vec<RunEvidence>,
    pub stored: StoredUnit,
}

/// Takes the units in order, then the lifetime rollups. Dropped before that, it leaves nothing behind.
pub trait Sink {
    fn unit(&mut self, part: Part) -> Result<()>;
    fn finish(self: Box<Self>, miners: Vec<MinerStat>) -> Result<()>;
}

impl Target {
    /// Checks the target and makes it ready.
    pub fn open(&self, generator: &Generator) -> Result<Box<dyn Sink>> {
        Ok(match self {
            Target::Folder { path, settings } => Box::new(FolderSink::create(path, settings.clone(), generator)?),
            Target::Database { url } => Box::new(Loader::start(url, generator)?),
        })
    }
}

struct FolderSink {
    writer: SnapshotWriter,
    settings: Json,
    strays: Vec<StoredStat>,
}

impl FolderSink {
    fn create(path: &Path, settings: Json, generator: &Generator) -> Result<Self> {
        let snapshot = Snapshot {
            taken_at: generator.taken_at(),
            server_version: SERVER_VERSION.to_owned(),
            runs: generator.runs(),
            nodes: generator.nodes(),
            stored_miners: Some(Vec::new()),
            stored_subnet: None,
            legacy: Vec::new(),
            wide_leads: wide_leads(),
            has_steps: true,
            has_stored_stats: true,
            weighing: None,
            notes: Vec::new(),
        };
        Ok(FolderSink { writer: SnapshotWriter::create(path, &snapshot)?, settings, strays: Vec::new() })
    }
}

impl Sink for FolderSink {
    fn unit(&mut self, part: Part) -> Result<()> {
        let read = |rows: &[StoredRow]| rows.iter().map(StoredRow::read).collect::<Vec<_>>();
        self.strays.extend(read(&part.stored.strays));
        self.writer.append(&UnitEvidence { runs: part.evidence, stored: read(&part.stored.rows) })
    }

    fn finish(mut self: Box<Self>, miners: Vec<MinerStat>) -> Result<()> {
        self.writer.set_stored_miners(miners);
        self.writer.finish(&self.strays, &self.settings)
    }
}
