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

pub mod archive;
pub mod cli;
pub mod diff;
pub mod error;
mod files;
pub mod generate;
pub mod model;
mod parallel;
pub mod pipeline;
mod postgres;
pub mod rollup;
pub mod schema;
pub mod sink;
pub mod source;
