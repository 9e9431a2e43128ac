//! `recount diff`: compare with what is stored, and write down every difference.

use crate::error::Result;
use crate::pipeline;

use super::args::{Diff, Global};
use super::{Status, compared, config, prepare, report};

pub fn run(args: &Diff, global: &Global) -> Result<Status> {
    let (settings, monitor) = prepare(global, &args.reading)?;
    let (job, source) = (settings.job(), settings.open(false)?);
    let outcome = match &args.out {
        Some(out) => pipeline::diff(&job, &source, out, &config::scoring(&settings), &monitor)?,
        None => pipeline::reconcile("diff", &job, &source, &monitor)?,
    };
    report(&outcome, global, &settings, monitor)?;
    compared(&outcome)
}
