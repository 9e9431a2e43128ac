//! `recount recompute`: every rollup from first principles, as Parquet.

use crate::error::Result;
use crate::pipeline;

use super::args::{Global, WithOut};
use super::{Status, prepare, report, whole};

pub fn run(args: &WithOut, global: &Global) -> Result<Status> {
    let (settings, monitor) = prepare(global, &args.reading)?;
    let job = whole("recompute", &settings)?;
    let outcome = pipeline::recompute(&job, &settings.open(false)?, &args.out, &monitor)?;
    report(&outcome, global, &settings, monitor)?;
    Ok(Status::Done)
}
