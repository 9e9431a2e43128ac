//! `recount reconcile`: recompute everything and compare it with what is stored, in one pass; with `--apply`, correct it.

use crate::error::{Error, ErrorKind, Result};
use crate::model::correction::Selection;
use crate::model::job::{Job, Location, Watch};
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;
use crate::pipeline::{self, Incremental, Keeping, Source};

use super::afterwards::{self, Account};
use super::args::Global;
use super::config;
use super::output::Look;
use super::progress::Monitor;
use super::report::Report;
use super::settings::Settings;
use super::writing::Reconcile;
use super::{Status, compared, print_applied, report, resolve_layers};

const HINT: &str = "a folder cannot be corrected: write its differences with `recount diff --out DIR`, then correct a database with \
                    `recount apply DIR --database-url URL`";

pub fn run(args: &Reconcile, global: &Global) -> Result<Status> {
    afterwards::tell(&args.afterwards, "reconcile", |account| run_for(args, global, account))
}

fn run_for(args: &Reconcile, global: &Global, account: &mut Account) -> Result<Status> {
    if let Some(flag) = args.correcting.stray_flag().filter(|_| !args.corrects()) {
        let detail = format!("{flag} is about corrections, but neither --apply nor --sql asks for any");
        return Err(Error::new(ErrorKind::Usage, "reading the command line", detail));
    }
    args.telling.check()?;
    let reading = &args.reading;
    let settings = resolve_layers(
        global,
        Some(reading),
        reading.source.as_deref(),
        args.keeping.flags().chain(args.correcting.beside.flags()).chain(args.telling.flags()),
    )?;
    let monitor = Monitor::start(global.quiet)?;
    let (outcome, written) = reconcile(args, &settings, account, &monitor)?;
    let told = Report { outcome: &outcome, settings: config::scoring(&settings), applied: None, refused: None };
    match written {
        Written::Nothing => {
            args.telling.write(&told)?;
            report(&told, global, &settings, monitor)?;
            compared(&outcome, &settings.fail_on)
        }
        // What stopped the corrections is told with all that was found.
        Written::Refused(error) => {
            let told = Report { refused: Some(error.to_string()), ..told };
            args.telling.write(&told)?;
            report(&told, global, &settings, monitor)?;
            Err(error)
        }
        Written::Applied(applied) => {
            let planned = args.correcting.sql.is_some();
            monitor.finish();
            let told = Report { applied: Some((&applied, planned)), ..told };
            print_applied(&told.render(settings.format, global.quiet, Look::of(settings.color))?, &applied, planned)?;
            args.telling.write(&told)?;
            Ok(Status::done_if(applied.is_complete()))
        }
    }
}

/// What was done about what was found.
enum Written {
    Nothing,
    Applied(Applied),
    /// A guard stopped it.
    Refused(Error),
}

/// What was found, and what was done about it, where that is asked for.
fn reconcile(args: &Reconcile, settings: &Settings, account: &mut Account, watch: &dyn Watch) -> Result<(Outcome, Written)> {
    let job = &settings.job_against_baseline()?;
    let keeping = keeping(args, settings)?;
    if !args.corrects() {
        let source = open(args, settings, keeping.is_some())?;
        let mut outcome = match &keeping {
            Some(keeping) => {
                let state = Incremental::begin(keeping, job, &source, None)?;
                pipeline::reconcile_incremental(job, &source, state, watch)?
            }
            None => pipeline::reconcile("reconcile", job, &source, watch)?,
        };
        account.found(&outcome);
        archive(args, job, source, &mut outcome, watch)?;
        return Ok((outcome, Written::Nothing));
    }
    let url = super::correct::database(settings, HINT)?;
    super::correct::check_sql(&args.correcting)?;
    let options = super::correct::options(&args.correcting, settings, "reconcile");
    // Rows without evidence are told of, whether they are deleted or not.
    let selection = Selection { prune_extra: true, ..options.selection };
    let source = open(args, settings, keeping.is_some())?;
    let state = keeping.map(|keeping| Incremental::begin(&keeping, job, &source, Some(selection))).transpose()?;
    let (mut outcome, corrections) = pipeline::corrections(job, &source, selection, &config::scoring(settings), state, watch)?;
    account.found(&outcome);
    // Its snapshot has served then; from here on it would only hold up the server's housekeeping.
    archive(args, job, source, &mut outcome, watch)?;
    compared(&outcome, &settings.fail_on)?;
    let applied = match &args.correcting.sql {
        Some(path) => pipeline::write_sql(url, &corrections, &options, path, watch),
        None => pipeline::apply(url, &corrections, &options, watch),
    };
    match applied {
        Ok(applied) => {
            account.corrected(&applied, args.correcting.sql.is_some());
            Ok((outcome, Written::Applied(applied)))
        }
        Err(error) if error.kind() == ErrorKind::Refused => Ok((outcome, Written::Refused(error))),
        Err(error) => Err(error),
    }
}

/// What is kept from job to job, where only what changed is to be read.
fn keeping(args: &Reconcile, settings: &Settings) -> Result<Option<Keeping>> {
    let refuse = |detail: &str, hint: &str| Err(Error::new(ErrorKind::Usage, "reading the command line", detail).hint(hint));
    let incremental = settings.incremental && !args.keeping.full;
    if !incremental && !args.keeping.full {
        return match &args.keeping.state {
            Some(_) => refuse("--state names a folder, but nothing asks for it", "add --incremental, or --full to renew it"),
            None => Ok(None),
        };
    }
    let Some(folder) = &settings.state else {
        return refuse(
            "--incremental and --full need a folder for what they keep",
            "name one by --state DIR, or state in recount.toml",
        );
    };
    if let Some(Location::Folder(path) | Location::Archive(path)) = &settings.source {
        let detail = format!("{path} is no database: a snapshot folder or an archive is always read whole");
        return refuse(&detail, "leave --incremental and --full out");
    }
    if args.history.is_some() {
        return refuse("--history reads runs from an archive, which are not kept", "leave --incremental and --full out");
    }
    Ok(Some(Keeping { folder: folder.into(), full: args.keeping.full }))
}

/// The source, with the runs that it has deleted where an archive is named for them.
fn open(args: &Reconcile, settings: &Settings, position: bool) -> Result<Source> {
    let source = settings.open_to_compare(position)?;
    match &args.history {
        Some(history) => pipeline::archive::with_history(source, history, &settings.narrowing),
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
