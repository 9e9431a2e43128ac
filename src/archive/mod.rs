//! What an archive is made of: its tables, its encoding, its manifest, and the place where it lies. Source and sink share it.
//!
//! ```text
//! DEST/
//!   weather_forecast_stats/init_date=2025-08-07/part-0-6f1c….parquet   a day of runs: results, evidence, stored rollups
//!   miner_stats/as_of=20250808T000000000000Z/part-0-91ab….parquet      what holds over all runs, at one moment
//!   latest/miner_stats.parquet                                      the newest of it, under a name that stays
//!   views.sql                                                       the tables as views for DuckDB
//!   _manifest/20250808T000000000000Z.json                              which sheets are in force, and the manifest before this one
//!   _manifest/sheet-51c8….json                                      its files and days, some five nights a sheet
//!   _latest.json                                                       which manifest is in force; it moves last
//!   _replaced/                                                      files that the last archiving has replaced, until the next one
//!   _pending.json, _staging/                                           a job at work, or what a killed one has left
//! ```
//!
//! A file's name has the first digits of its BLAKE3, so a changed day never overwrites a file that is still in force. Names that stay are replaced last.

pub mod beside;
pub mod day;
pub mod docs;
pub mod encoding;
pub mod manifest;
pub mod paths;
pub mod read;
pub mod sheets;
pub mod storage;
pub mod tables;
pub mod views;

pub use day::Day;
pub use manifest::Manifest;
pub use storage::Storage;

/// Which manifest is in force.
pub const LATEST: &str = "_latest.json";
/// What a job at work may have written or half removed.
pub const PENDING: &str = "_pending.json";
/// Files on their way to their places.
pub const STAGING: &str = "_staging";
/// Below it, under their own paths, the files that the last archiving replaced: readers that hold the previous manifest still find them.
/// No engine that reads a table's folder does.
pub const REPLACED: &str = "_replaced";
/// The folder of the manifests.
pub const MANIFESTS: &str = "_manifest";
