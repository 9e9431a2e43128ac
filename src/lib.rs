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
//! A unit is all runs that share a `forecast_run_id`, mostly one. What may import what, and why the rooms are as they are,
//! is in `docs/design.md`; `tests/tidy.rs` holds it.
//!
//! The program `recount` is a thin layer over this library. Other programs can use it the same way: open a source, then
//! [`compare`] what is stored with what the evidence gives, or [`recompute`] the rollups into Parquet files.
//!
//! ```
//! use recount::{Job, SourceOptions, compare, open, recompute};
//!
//! # fn main() -> recount::Result<()> {
//! let source = open(&"data/sample".parse()?, &SourceOptions::default())?;
//! let job = Job { threads: 2, ..Job::default() };
//!
//! let outcome = compare(&job, &source, &())?;
//! assert!(!outcome.in_sync(), "differences are planted in the sample");
//! assert!(outcome.tables["weather_forecast_stats"].rows.drift > 0);
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! let again = recompute(&job, &source, &folder.join("rollups"), &())?;
//! assert_eq!(again.digest, outcome.digest, "the same evidence gives the same bits");
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

pub use error::{Error, ErrorKind, Result};
pub use model::cause::Cause;
pub use model::difference::{Class, Difference, RowKey, Tolerance};
pub use model::filter::ColumnFilter;
pub use model::finding::{Code, Finding, Severity};
pub use model::ids::{LeadHours, MinerUid, RunId};
pub use model::job::{Job, Location, Narrowing, RunRange, Watch};
pub use model::outcome::{CellCounts, ColumnTally, Outcome, RowCounts, TableTally};
pub use model::settings::{MaxRetries, RankMethod, Scoring};
pub use model::time::Micros;
pub use model::value::Value;
pub use pipeline::{Source, SourceOptions, open, recompute};

/// Recomputes every rollup from the evidence of the source, and compares it with what the source stores.
///
/// Nothing is written. `watch` hears how far the pass is, and can end it; `&()` does neither.
///
/// # Errors
/// [`ErrorKind::Data`] where a value breaks its contract or a stored key is there twice, [`ErrorKind::Database`] or
/// [`ErrorKind::Io`] where the source cannot be read on, [`ErrorKind::Snapshot`] where a folder is damaged,
/// [`ErrorKind::Interrupted`] where `watch` says so.
pub fn compare(job: &Job, source: &Source, watch: &dyn Watch) -> Result<Outcome> {
    pipeline::reconcile("reconcile", job, source, watch)
}

/// The command line, for `main.rs`.
#[doc(hidden)]
pub use cli::run;

/// What the tests and benchmarks of this repository see besides: not for other programs, and free to change.
#[doc(hidden)]
pub mod internals {
    pub mod archive {
        pub use crate::archive::tables::{TABLES, table};
        pub mod docs {
            pub use crate::archive::docs::dictionary;
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
