//! `recount reconcile`: recompute everything and compare it with what is stored, in one pass.

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::pipeline;

pub fn run(job: &Job, watch: &dyn Watch) -> Result<Outcome> {
    pipeline::reconcile("reconcile", job, &pipeline::open(job)?, watch)
}
