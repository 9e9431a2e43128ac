//! `recount diff`: compare with what is stored, and write down every difference.

use std::path::Path;

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::pipeline;

pub fn run(job: &Job, out: Option<&Path>, settings: &Json, watch: &dyn Watch) -> Result<Outcome> {
    let source = pipeline::open(job)?;
    match out {
        Some(out) => pipeline::diff(job, &source, out, settings, watch),
        None => pipeline::reconcile("diff", job, &source, watch),
    }
}
