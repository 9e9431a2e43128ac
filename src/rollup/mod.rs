//! The rollups: evidence of runs in, rollup rows and findings out. Pure: no clock, randomness, environment or SQL.
//!
//! | rules | file |
//! |---|---|
//! | A arithmetic | `exact.rs` |
//! | I1 names of scores | `kind.rs` |
//! | I2, I3 which row of a score counts | `identity.rs` |
//! | I4–I6, L1, R2 scores | `input.rs`, `pattern.rs` |
//! | I7 steps | `steps.rs` |
//! | I8 which miners have a row | `roster.rs` |
//! | L2–L4 leads | `lead.rs`, `legacy.rs` |
//! | R1, R3, R4, R7 one miner in one run, D1 the place | `run.rs` |
//! | R5 averages of components | `components.rs` |
//! | R6, M10 ranks | `rank.rs` |
//! | R8–R12 stages, errors, hosting | `stage.rs` |
//! | M one miner over all runs | `miner.rs` |
//! | N the subnet | `subnet.rs` |
//! | D6 what is left of the evidence | `remains.rs` |
//! | why a row is what it is | `explain.rs` |
//! | what else a stored number could be | `cause.rs` |
//! | the rules over stored rows | `stored.rs` |

pub mod cause;
mod components;
pub mod exact;
pub mod explain;
mod identity;
mod input;
mod kind;
mod lead;
mod legacy;
mod miner;
mod pattern;
mod rank;
mod remains;
mod repeated;
mod roster;
mod run;
mod scratch;
mod stage;
mod steps;
pub mod stored;
mod subnet;
#[cfg(test)]
mod table;
mod views;

pub use kind::metric_and_variable;
pub use miner::{FirstPass, Lifetime, MinerRun, SecondPassRow};
pub use remains::{remains, stand_ins};
pub use run::{PlacedStat, UnitFold, fold_unit};
pub use scratch::{Scratch, ScratchPool};
pub use subnet::subnet_of_run;

use crate::model::ids::LeadHours;
use crate::model::settings::Scoring;
use crate::model::time::Micros;

/// The settings of scoring, indexed for the fold.
#[derive(Debug, Clone)]
pub struct Rules {
    pub scoring: Scoring,
    /// `snapshot_time` of the settings, else that of the snapshot.
    pub snapshot_time: Micros,
}

impl Rules {
    pub fn new(scoring: Scoring, taken_at: Micros) -> Self {
        let snapshot_time = scoring.snapshot_time.unwrap_or(taken_at);
        Rules { scoring, snapshot_time }
    }

    fn leads(&self) -> &[LeadHours] {
        &self.scoring.expected_leads
    }

    fn lead_index(&self, lead: i32) -> Option<usize> {
        self.leads().binary_search(&LeadHours(lead)).ok()
    }

    fn variable_index(&self, name: &str) -> Option<usize> {
        self.scoring.expected_variables.iter().position(|variable| variable == name)
    }
}
