//! D6: of which (run, miner) evidence is gone, so that a stored cell can no longer be checked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::time::Micros;

/// Whose evidence: `run_id` and `miner_uid` of the recomputed row that has the place (D1).
pub type RunMiner = (i32, i32);

/// What is left of the evidence of a (run, miner): every row whose columns name both, whatever later rules make of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// There is an ERA5 score row, with any lead or none.
    pub era5: bool,
    /// The leads, in hours, of the ERA5 score rows and of the legacy scores.
    pub era5_leads: BTreeSet<i32>,
    pub day1: bool,
    pub components: bool,
    /// The earliest `coalesce(completed_at, started_at)` of the steps that succeeded or failed.
    pub oldest_finished_step: Option<Micros>,
}

/// Which evidence of a (run, miner) is gone, and may stand in from an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    /// In hours; the leads without any ERA5 score row whose stored score is all that is left.
    pub leads: BTreeSet<i32>,
    /// There is no ERA5 score row at all, and a stored score that is made of such.
    pub era5: bool,
    pub day1: bool,
    pub components: bool,
    /// The finished steps that are older than the days of retention.
    pub steps: bool,
}

/// Which kinds of evidence are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The first two lines of D6.
    pub era5: bool,
    /// The third line.
    pub day1: bool,
    /// The last line.
    pub steps: bool,
}

impl Loss {
    fn add(&mut self, other: Loss) {
        self.era5 |= other.era5;
        self.day1 |= other.day1;
        self.steps |= other.steps;
    }
}

/// All losses of a source, as the tables that are made of many runs ask for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    by_run: BTreeMap<i32, Loss>,
    by_miner: BTreeMap<i32, Loss>,
    all: Loss,
}

impl Losses {
    pub fn add(&mut self, (run, miner): RunMiner, loss: Loss) {
        self.by_run.entry(run).or_default().add(loss);
        self.by_miner.entry(miner).or_default().add(loss);
        self.all.add(loss);
    }

    /// What any miner of the run has lost.
    pub fn of_run(&self, run: i32) -> Loss {
        self.by_run.get(&run).copied().unwrap_or_default()
    }

    /// What the miner has lost in any run.
    pub fn of_miner(&self, miner: i32) -> Loss {
        self.by_miner.get(&miner).copied().unwrap_or_default()
    }

    /// What any miner has lost in any run.
    pub fn all(&self) -> Loss {
        self.all
    }
}
