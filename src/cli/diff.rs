//! `recount diff`: compare as reconcile does, and write `differences.parquet`.

use std::path::Path;

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;

pub fn run(job: &Job, out: Option<&Path>, watch: &dyn Watch) -> Result<Outcome> {
    todo!("pipeline: diff {job:?} into {out:?} {}", watch.check().is_ok())
}
