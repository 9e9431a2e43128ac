//! `recount recompute`: every rollup from first principles, as Parquet.

use crate::error::Result;
use crate::pipeline;

use super::args::{Global, WithOut};
use super::report::Report;
use super::{Status, config, prepare, report, whole};

pub fn run(args: &WithOut, global: &Global) -> Result<Status> {
    let (settings, monitor) = prepare(global, &args.reading)?;
    let job = whole("recompute", &settings)?;
    let outcome = pipeline::write_rollups(&job, &settings.open()?, &args.out, &monitor)?;
    let told = Report { outcome: &outcome, settings: config::scoring(&settings), applied: None, refused: None };
    report(&told, global, &settings, monitor)?;
    Ok(Status::Done)
}
