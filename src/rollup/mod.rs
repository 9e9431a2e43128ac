//! The rollups: evidence of runs in, rollup rows and findings out. Pure: no clock, randomness, environment or SQL.
//!
//! | rules | file |
//! |---|---|
//! | A arithmetic | `exact.rs` |
//! | I1 names of scores | `kind.rs` |
//! | I2–I6 scores | `input.rs`, `pattern.rs` |
//! | I2, I3, R5 components | `components.rs` |
//! | I3 what is one score | `identity.rs` |
//! | I8 whose rows there are | `roster.rs` |
//! | I7 steps | `steps.rs` |
//! | R8–R12 stages, errors, hosting | `stage.rs` |
//! | L leads | `lead.rs`, `legacy.rs` |
//! | R one miner in one run, D1 the place | `run.rs` |
//! | M one miner over all runs | `miner.rs` |
//! | N the subnet | `subnet.rs` |
//! | D6 what is left of the evidence | `remains.rs` |

mod components;
pub mod exact;
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
mod stage;
mod steps;
mod subnet;
mod views;

pub use miner::{Again, FirstPass, Lifetime, MinerRun};
pub use remains::{remains, stand_ins};
pub use run::{UnitFold, fold_unit};

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
