//! What every stage shares: ids, times, values, the contracts of the tables, settings, evidence, rollups, findings, differences.

pub mod cause;
pub mod changes;
pub mod checkup;
pub mod columns;
pub mod correction;
pub mod difference;
pub mod digest;
pub mod evidence;
pub mod filter;
pub mod finding;
pub mod fingerprint;
pub mod ids;
pub mod job;
pub mod miner_list;
pub mod narrowing;
pub mod outcome;
pub mod rollups;
pub mod rows;
pub mod sanitize;
pub mod serial;
pub mod settings;
pub mod time;
pub mod unproven;
pub mod value;
pub mod visible;
pub mod writing;
