//! Writes a snapshot folder: under a temporary name beside the target, renamed when it is complete.

use std::path::Path;

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::evidence::{Snapshot, StoredStat, UnitEvidence};

/// A snapshot folder in the making. Dropped before [`SnapshotWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotWriter {}

impl SnapshotWriter {
    /// Refuses a target that exists and is not an empty folder.
    pub fn create(_target: &Path, _snapshot: &Snapshot) -> Result<SnapshotWriter> {
        todo!()
    }

    /// Appends one unit; units come in the order of [`crate::model::evidence::units`], each once.
    pub fn append(&mut self, _unit: &UnitEvidence) -> Result<()> {
        todo!()
    }

    /// Writes what is left and gives the folder its name.
    pub fn finish(self, _strays: &[StoredStat], _settings: &Json) -> Result<()> {
        todo!()
    }
}

impl SnapshotWriter {
    /// The stored lifetime rollups, where they are known only after the last unit.
    pub fn set_stored_miners(&mut self, _rows: Vec<crate::model::rollups::MinerStat>) {}
}
