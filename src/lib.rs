//! recount recomputes the weather-scoring rollups of a subnet validator from first principles.
//!
//! ```text
//!  PostgreSQL ──COPY BINARY, one exported snapshot, N readers──┐
//!  snapshot folder (Arrow IPC, one record batch per run) ──────┤
//!                                                              ▼
//!    source ──► evidence of one unit ──► rollup ──► rollups + findings ──► diff ──► differences ──► sink, report
//!                                       (pure,                            (pure)
//!                                        parallel)
//! ```
//!
//! A unit is all runs that share a `forecast_run_id`, mostly one. A room imports only rooms left of it, and none beside it:
//!
//! ```text
//!  error ← {postgres, files, model, parallel} ← archive ← {source, rollup, diff, sink, schema} ← generate ← pipeline ← cli ← main
//! ```
//!
//! Why the rooms are as they are is in `docs/design.md`; `tests/tidy.rs` holds them to it.
//!
//! The program `recount` is a thin layer over this library. Other programs can do four things with it: [`open`] a source,
//! [`recompute`] what its evidence gives, [`compare`] that with what is stored, and write down either, as Parquet tables of
//! the rollups ([`write_rollups`]) or as a folder of the differences ([`write_diff`]), which `recount apply` takes.
//!
//! ```
//! use recount::{Job, SourceOptions, compare, open, recompute, write_diff, write_rollups};
//!
//! # fn main() -> recount::Result<()> {
//! let source = open(&"data/sample".parse()?, &SourceOptions::default())?;
//! let job = Job { threads: 2, ..Job::default() };
//!
//! let recomputed = recompute(&job, &source, &())?;
//! assert_eq!(recomputed.digest.len(), 64, "one hash of all rollups, to hold against that of another machine");
//!
//! let compared = compare(&job, &source, &())?;
//! assert!(!compared.in_sync(), "differences are planted in the sample");
//! assert!(compared.tables["weather_forecast_stats"].rows.drift > 0);
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! let rollups = write_rollups(&job, &source, &folder.join("rollups"), &())?;
//! assert!(folder.join("rollups/weather_forecast_stats.parquet").is_file());
//! assert_eq!(rollups.digest, recomputed.digest, "the same evidence gives the same bits");
//!
//! let diff = write_diff(&job, &source, &folder.join("diff"), &())?;
//! assert!(folder.join("diff/differences.parquet").is_file());
//! assert_eq!(diff.differences, compared.differences);
//! # Ok(())
//! # }
//! ```

mod archive;
mod cli;
mod diff;
mod error;
mod files;
mod generate;
mod model;
mod parallel;
mod pipeline;
mod postgres;
mod rollup;
mod schema;
mod sink;
mod source;

use std::path::Path;

pub use error::{Error, ErrorKind, Result};
pub use model::baseline::{Accepted, Baseline, Baselined};
pub use model::cause::Cause;
pub use model::difference::{Class, Difference, RowKey, Tolerance};
pub use model::filter::ColumnFilter;
pub use model::finding::{Code, Finding, Severity};
pub use model::habit::{Habit, Profile};
pub use model::ids::{LeadHours, MinerUid, RunId};
pub use model::job::{Encoding, Job, Location, Narrowing, RunRange, Watch};
pub use model::outcome::{CellCounts, ColumnTally, Outcome, RowCounts, TableTally};
pub use model::settings::{MaxRetries, RankMethod, Scoring};
pub use model::time::Micros;
pub use model::value::Value;
pub use source::Options as SourceOptions;

/// A database, a snapshot folder or an archive, opened and checked. Made by [`open`].
///
/// A database is read as it was at one moment, in one snapshot that lasts as long as this value.
#[derive(Debug)]
pub struct Source(source::Source);

impl Source {
    /// When the snapshot was taken.
    pub fn taken_at(&self) -> Micros {
        self.0.snapshot().taken_at
    }
}

/// Opens a source for reading.
///
/// ```
/// let missing = recount::open(&"no/such/folder".parse()?, &recount::SourceOptions::default());
/// assert_eq!(missing.unwrap_err().kind(), recount::ErrorKind::Snapshot);
/// # Ok::<(), recount::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Usage`] where the URL makes no sense, [`ErrorKind::Database`] where the server cannot be reached or refuses
/// the session, [`ErrorKind::Contract`] where its tables are not those of a validator, [`ErrorKind::Snapshot`] where a folder
/// or an archive is none, damaged or of a newer format, [`ErrorKind::Io`] where it cannot be read.
pub fn open(location: &Location, options: &SourceOptions) -> Result<Source> {
    pipeline::open(location, options).map(Source)
}

/// Recomputes every rollup from the evidence of the source, and gives their digest, the findings, and how many rows were read.
///
/// Nothing is compared and nothing is written: [`Outcome::tables`] and [`Outcome::differences`] are empty. `watch` is told how
/// far the pass is, and can end it; `&()` does neither.
///
/// # Errors
/// [`ErrorKind::Usage`] where the settings of scoring contradict each other, [`ErrorKind::Data`] where a value breaks its
/// contract or a stored key is there twice, [`ErrorKind::Database`] or [`ErrorKind::Io`] where the source cannot be read to
/// its end, [`ErrorKind::Snapshot`] where a folder is damaged, [`ErrorKind::Interrupted`] where `watch` says so.
pub fn recompute(job: &Job, source: &Source, watch: &dyn Watch) -> Result<Outcome> {
    job.scoring.validate()?;
    pipeline::recompute(job, &source.0, watch)
}

/// Recomputes every rollup from the evidence of the source, and compares it with what the source stores.
///
/// Nothing is written.
///
/// # Errors
/// As [`recompute`].
pub fn compare(job: &Job, source: &Source, watch: &dyn Watch) -> Result<Outcome> {
    job.scoring.validate()?;
    pipeline::reconcile("reconcile", job, &source.0, watch)
}

/// As [`recompute`], and writes the rollups and the findings into a new folder, one Parquet file for each table.
///
/// The folder appears when it is complete, or not at all.
///
/// # Errors
/// As [`recompute`]; and [`ErrorKind::Io`] where the folder exists and is not empty, or cannot be written.
pub fn write_rollups(job: &Job, source: &Source, folder: &Path, watch: &dyn Watch) -> Result<Outcome> {
    job.scoring.validate()?;
    pipeline::write_rollups(job, &source.0, folder, watch)
}

/// As [`compare`], and writes every difference into a new folder: `differences.parquet` for people and tools, and beside it what
/// `recount apply` needs to correct the database that was compared.
///
/// The folder appears when it is complete, or not at all.
///
/// # Errors
/// As [`compare`]; and [`ErrorKind::Io`] where the folder exists and is not empty, or cannot be written.
pub fn write_diff(job: &Job, source: &Source, folder: &Path, watch: &dyn Watch) -> Result<Outcome> {
    job.scoring.validate()?;
    pipeline::diff(job, &source.0, folder, &cli::scoring_as_json(&job.scoring), watch)
}

/// The command line, for `main.rs`.
#[doc(hidden)]
pub use cli::run;

/// What the tests and benchmarks of this repository see besides: not for other programs, and free to change.
#[doc(hidden)]
pub mod internals {
    pub mod archive {
        pub use crate::archive::read::rows_of;
        pub use crate::archive::tables::{TABLES, Table, table};
        pub mod docs {
            pub use crate::archive::docs::{dictionary, entries};
        }
    }
    pub mod cli {
        pub mod args {
            pub use crate::cli::args::{Archive, ArchiveAction, Cli, Command, Reading};
        }
        pub mod keys {
            pub use crate::cli::keys::KEYS;
        }
        pub mod settings {
            pub use crate::cli::settings::{Layers, Settings, parse_file};
        }
    }
    pub mod diff {
        pub use crate::diff::{StatPlan, UnitLoss};
    }
    pub mod files {
        pub use crate::files::decode::decoding;
        pub use crate::files::pages::check as check_pages;
        pub use crate::files::seal::{NO_HASH, seal};
    }
    pub mod generate {
        pub use crate::generate::{Generator, Plan, Summary, Target, generate};
    }
    pub mod model {
        pub mod columns {
            pub use crate::model::columns::{Group, Type, wide_lead};
        }
        pub mod digest {
            pub use crate::model::digest::feed;
        }
        pub mod evidence {
            pub use crate::model::evidence::{
                COMPONENTS, InputTable, RESPONSES, RunEvidence, SCORES, STEPS, StoredStat, UnitEvidence, Wire, units,
            };
        }
        pub mod finding {
            pub use crate::model::finding::{Code, Finding};
        }
        pub mod rollups {
            pub use crate::model::rollups::{
                DifferenceRow, FindingRow, ForecastStat, LeadScore, MinerStat, NightRow, Rollup, SubnetStat,
            };
        }
        pub mod rows {
            pub use crate::model::rows::{batch_of, rows_from_batch, stats_batch};
        }
        pub mod sanitize {
            pub use crate::model::sanitize::{class_of, error_of, sanitize, stored_json};
        }
        pub mod value {
            pub use crate::model::value::canonical_json;
        }
    }
    pub mod pipeline {
        pub use crate::pipeline::archive::verify::verify;
        pub use crate::pipeline::{open, reconcile};
    }
    pub mod postgres {
        pub use crate::postgres::Target;
    }
    pub mod rollup {
        pub use crate::rollup::{Lifetime, Rules, Scratch, exact, fold_unit};
    }
    pub mod schema {
        pub use crate::schema::{Migrating, Outcome, Report, State, migrate, status};
    }
    pub mod sink {
        pub use crate::sink::correct::script_of;
        pub use crate::sink::folder::read as read_diff;
    }
    pub mod source {
        pub use crate::source::{Options, Source};
        pub mod decode {
            pub use crate::source::decode::Decoder;
        }
        pub mod folder {
            pub use crate::source::folder::SnapshotWriter;
        }
        pub mod layout {
            pub use crate::source::layout::Layout;
        }
    }
}
