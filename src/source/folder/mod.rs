//! A snapshot folder: the database as it was on one night, in Arrow IPC files.

mod writer;

use std::path::Path;

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::evidence::{Snapshot, StoredStat, Unit, UnitEvidence};

use super::Counters;

pub use self::writer::SnapshotWriter;

#[derive(Debug)]
pub struct Folder {}

impl Folder {
    pub fn open(_dir: &Path) -> Result<Folder> {
        todo!()
    }

    pub fn snapshot(&self) -> &Snapshot {
        todo!()
    }

    /// The settings that were in force when the snapshot was taken.
    pub fn settings(&self) -> &Json {
        todo!()
    }

    pub fn read(&self, _unit: &Unit) -> Result<UnitEvidence> {
        todo!()
    }

    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        todo!()
    }

    pub fn display(&self) -> String {
        todo!()
    }

    pub(super) fn counters(&self) -> &Counters {
        todo!()
    }
}
