//! `recount reconcile`: recompute everything and compare it with what is stored, in one pass.

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;

pub fn run(job: &Job, watch: &dyn Watch) -> Result<Outcome> {
    todo!("pipeline: reconcile {job:?} {}", watch.check().is_ok())
}
