//! The comparison (D): recomputed rows held against the stored ones, cell by cell. Pure.

mod alike;
mod cell;
mod stats;
mod table;
mod unproven;

pub use cell::classify;
pub use stats::{StatDiff, StatPlan};
pub use table::{TableDiff, TablePlan};
pub use unproven::{Retention, UnitLoss, covers_miner, covers_subnet};

#[cfg(test)]
mod tests;
