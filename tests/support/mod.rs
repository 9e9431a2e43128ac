//! What the integration tests share. Each file says what it is for; the common names are lifted here.

// Each test module uses a part of the harness, and none of it is public outside this binary.
#![allow(dead_code, unused_imports)]

pub mod catalogue;
pub mod cluster;
pub mod command;
pub mod conformance;
pub mod database;
pub mod python;
pub mod repository;

pub use cluster::Cluster;
pub use command::Run;
pub use command::recount;
pub use database::{Database, block_on, database, execute_on, nulls_not_distinct};
