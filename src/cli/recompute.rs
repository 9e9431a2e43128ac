//! `recount recompute`: write the recomputed rollups and the findings as Parquet files.

use std::path::Path;

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;

pub fn run(job: &Job, out: &Path, watch: &dyn Watch) -> Result<Outcome> {
    todo!("pipeline: recompute {job:?} into {out:?} {}", watch.check().is_ok())
}
