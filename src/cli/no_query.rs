//! `recount query` in a program that was built without the feature `query`: it says which feature brings it.

use crate::error::{Error, ErrorKind, Result};

use super::Status;
use super::args::{Global, Query};

pub fn run(_query: &Query, _global: &Global) -> Result<Status> {
    Err(Error::new(ErrorKind::Usage, "recount query", "this program was built without it").hint(
        "it comes with the feature query: cargo build --features query (on by default); or read the archive's files with DuckDB or pandas",
    ))
}
