//! `recount diff`: compare with what is stored, and write down every difference.

use std::path::Path;

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::pipeline;

pub fn run(job: &Job, out: Option<&Path>, watch: &dyn Watch) -> Result<Outcome> {
    pipeline::reconcile("diff", job, &pipeline::open(job)?, out, watch)
}
