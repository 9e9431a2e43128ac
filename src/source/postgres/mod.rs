//! A validator's database, read through one snapshot that all connections share.

use crate::error::Result;
use crate::model::evidence::{Snapshot, StoredStat, Unit, UnitEvidence};

use super::{Counters, Options};

#[derive(Debug)]
pub struct Postgres {}

impl Postgres {
    pub fn open(_url: &str, _options: &Options) -> Result<Postgres> {
        todo!()
    }

    pub fn snapshot(&self) -> &Snapshot {
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
