//! `recount recompute`: every rollup from first principles, as Parquet.

use std::path::Path;

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::pipeline;

pub fn run(job: &Job, out: &Path, watch: &dyn Watch) -> Result<Outcome> {
    pipeline::recompute(job, &pipeline::open(job)?, out, watch)
}
