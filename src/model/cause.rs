//! Why a stored cell is not what its evidence gives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What explains a drifted cell, to the last bits of the stored number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Cause {
    /// No fault of its own: it is what the rules give over other *stored* cells, which are wrong.
    Follows,
    /// Right but for the last bits, as sums are that round at each step (A1).
    NaiveSum,
    /// Right, rounded to this many digits after the point.
    Rounded { digits: u8 },
    /// Right, kept in a `real` column or by a program with 32-bit numbers.
    SinglePrecision,
    /// R3 with another divisor than the number of expected leads.
    Denominator { leads: u16 },
    /// It was right once: this many of the scores that count have come since.
    Stale { scores: u32 },
    /// Repeated scores were each counted (I3 lets one of them count).
    Duplicates,
    /// Rows were counted that section 2 sets aside, or a lead that is not scored (L1).
    SetAside,
    /// It is the value of another miner in the same run.
    OtherMiner { miner: i32 },
    /// R4 with other weights.
    OtherWeights { era5: f64, day1: f64 },
    /// R4 with another threshold for the Day-1 score.
    OtherThreshold,
    /// None of these.
    Unexplained,
}

impl Cause {
    /// Every name, in the order in which reports list them.
    pub const NAMES: [&'static str; 10] = [
        "stale",
        "duplicates",
        "set_aside",
        "denominator",
        "other_miner",
        "settings",
        "rounded",
        "naive_sum",
        "unexplained",
        "follows",
    ];

    /// As JSON and `--fail-on` have it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Follows => "follows",
            Cause::NaiveSum => "naive_sum",
            Cause::Rounded { .. } | Cause::SinglePrecision => "rounded",
            Cause::Denominator { .. } => "denominator",
            Cause::Stale { .. } => "stale",
            Cause::Duplicates => "duplicates",
            Cause::SetAside => "set_aside",
            Cause::OtherMiner { .. } => "other_miner",
            Cause::OtherWeights { .. } | Cause::OtherThreshold => "settings",
            Cause::Unexplained => "unexplained",
        }
    }

    /// What the name means, where the numbers of one cell do not matter.
    pub fn meaning(self) -> &'static str {
        match self {
            Cause::Follows => "follows from other stored cells",
            Cause::NaiveSum => "right but for the last bits",
            Cause::Rounded { .. } | Cause::SinglePrecision => "right, but rounded",
            Cause::Denominator { .. } => "divided by another number of leads",
            Cause::Stale { .. } => "was right before more scores came",
            Cause::Duplicates => "counts repeated scores more than once",
            Cause::SetAside => "counts rows that the rules set aside",
            Cause::OtherMiner { .. } => "the value of another miner of the run",
            Cause::OtherWeights { .. } | Cause::OtherThreshold => "made with other weights or another threshold",
            Cause::Unexplained => "no known cause",
        }
    }
}

/// With the numbers of the cell.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Cause::Rounded { digits } => write!(f, "right, but rounded to {digits} digits"),
            Cause::SinglePrecision => f.write_str("right, but kept with 32 bits"),
            Cause::Denominator { leads } => write!(f, "divided by {leads} leads"),
            Cause::Stale { scores: 1 } => f.write_str("was right before the last score came"),
            Cause::Stale { scores } => write!(f, "was right before the last {scores} scores came"),
            Cause::OtherMiner { miner } => write!(f, "the value of miner {miner} in the same run"),
            Cause::OtherWeights { era5, day1 } => write!(f, "made with the weights {era5} and {day1}"),
            Cause::OtherThreshold => f.write_str("made with another threshold for the Day-1 score"),
            plain => f.write_str(plain.meaning()),
        }
    }
}
