//! The rules of the rollups as pure functions: no async, clock, randomness, environment or SQL.

pub mod exact;
