//! A program that was built without the feature `query` asks no archive, and says so.

use crate::error::{Error, ErrorKind, Result};

use super::Status;
use super::args::{Global, Query};

pub fn run(_query: &Query, _global: &Global) -> Result<Status> {
    let detail = "this program was built without SQL";
    Err(Error::new(ErrorKind::Usage, "recount query", detail)
        .hint("build it with the feature query, which is on by default, or read the archive's files with DuckDB or pandas"))
}
