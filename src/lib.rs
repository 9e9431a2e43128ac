//! recount recomputes the weather-scoring rollups of a subnet validator from first principles.
//!
//! ```text
//!  PostgreSQL ──COPY BINARY, one exported snapshot, N readers──┐
//!  snapshot folder (Arrow IPC, one record batch per run) ──────┤
//!                                                              ▼
//!    source ──► evidence of one run ──► rollup ──► rollups + findings ──► diff ──► differences ──► sink
//!                                       (pure,                            (pure)
//!                                        parallel)
//! ```
//!
//! `limits` ← `error` ← `model` ← {`source`, `rollup`, `diff`, `sink`, `schema`} ← `pipeline` ← `cli` ← `main`.

pub mod cli;
pub mod diff;
pub mod error;
pub mod generate;
pub mod model;
pub mod pipeline;
pub mod rollup;
pub mod schema;
mod seal;
pub mod sink;
pub mod source;
pub mod staging;
