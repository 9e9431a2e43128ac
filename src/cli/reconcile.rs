//! `recount reconcile`: recompute everything and compare it with what is stored, in one pass; with `--apply`, correct it.

use crate::error::Result;
use crate::model::correction::Selection;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;
use crate::pipeline::{self, Source};

use super::config;
use super::settings::Settings;
use super::writing::Reconcile;

const HINT: &str = "a folder cannot be corrected: write its differences with `recount diff --out DIR`, then correct a database with \
                    `recount apply DIR --database-url URL`";

/// What was found, and what was done about it, where that is asked for.
pub fn run(args: &Reconcile, job: &Job, settings: &Settings, watch: &dyn Watch) -> Result<(Outcome, Option<Applied>)> {
    if !args.corrects() {
        let source = open(args, job)?;
        let mut outcome = pipeline::reconcile("reconcile", job, &source, watch)?;
        archive(args, job, source, &mut outcome, watch)?;
        return Ok((outcome, None));
    }
    let url = super::correct::database(settings, HINT)?;
    let options = super::correct::options(&args.correcting, settings, "reconcile");
    // Rows without evidence are told of, whether they are deleted or not.
    let selection = Selection { prune_extra: true, ..options.selection };
    let source = open(args, job)?;
    let (mut outcome, corrections) = pipeline::corrections(job, &source, selection, &config::scoring(settings), watch)?;
    // Its snapshot has served then; from here on it would only hold up the server's housekeeping.
    archive(args, job, source, &mut outcome, watch)?;
    super::status(&outcome)?;
    let applied = match &args.correcting.sql {
        Some(path) => pipeline::write_sql(url, &corrections, &options, path, watch)?,
        None => pipeline::apply(url, &corrections, &options, watch)?,
    };
    Ok((outcome, Some(applied)))
}

/// The source, with the runs that it has deleted where an archive is named for them.
fn open(args: &Reconcile, job: &Job) -> Result<Source> {
    let source = pipeline::open(job)?;
    match &args.history {
        Some(history) => pipeline::archive::with_history(source, history, &job.narrowing),
        None => Ok(source),
    }
}

/// Archives what the comparison has read, where that is asked for, and lets go of the source.
fn archive(args: &Reconcile, job: &Job, source: Source, outcome: &mut Outcome, watch: &dyn Watch) -> Result<()> {
    if let Some(dest) = &args.archive {
        let archived = pipeline::archive::archive(job, source.alone(), dest, None, watch)?;
        outcome.notes.push(super::archive::sentence(&archived));
    }
    Ok(())
}
