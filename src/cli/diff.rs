//! `recount diff`: compare with what is stored, and write down every difference.

use crate::error::Result;
use crate::pipeline;

use super::args::{Diff, Global};
use super::progress::Monitor;
use super::report::Report;
use super::{Status, compared, config, report, resolve_layers};

pub fn run(args: &Diff, global: &Global) -> Result<Status> {
    args.telling.check()?;
    let reading = &args.reading;
    let settings = resolve_layers(global, Some(reading), reading.source.as_deref(), args.telling.flags())?;
    let monitor = Monitor::start(global.quiet)?;
    let (job, source) = (settings.job_against_baseline()?, settings.open_to_compare(false)?);
    let outcome = match &args.out {
        Some(out) => pipeline::diff(&job, &source, out, &config::scoring(&settings), &monitor)?,
        None => pipeline::reconcile("diff", &job, &source, &monitor)?,
    };
    let told = Report { outcome: &outcome, settings: config::scoring(&settings), applied: None, refused: None };
    args.telling.write(&told)?;
    report(&told, global, &settings, monitor)?;
    compared(&outcome, &settings.fail_on)
}
