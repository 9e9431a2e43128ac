//! The command line: as typed → settings → one command → its result on stdout and an exit status.
//!
//! stdout is data, stderr is messages. Exit statuses are decided here and in [`crate::error::Error::exit_status`], nowhere else.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::{Job, redact};
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;
use crate::parallel;

use args::{Archive, ArchiveAction, Cli, Command, Flags, Global, Reading};
use progress::Monitor;
use settings::{Layers, Settings};
use values::Format;

mod apply;
mod archive;
pub mod args;
mod config;
mod correct;
mod diff;
mod export;
mod generate;
mod jobs;
pub mod keys;
mod migrate;
mod output;
mod phase2;
mod phase3;
mod progress;
#[cfg(feature = "query")]
mod query;
#[cfg(not(feature = "query"))]
#[path = "no_query.rs"]
mod query;
mod recompute;
mod reconcile;
pub mod report;
mod schema_args;
pub mod settings;
mod steps;
pub mod values;
mod verify;
mod writing;

/// 0: done and, where something was compared, in sync.
const IN_SYNC: u8 = 0;
/// 1: differences were found.
const DIFFERENCES: u8 = 1;

/// Runs the command line and says how it went.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(usage) => return misuse(&usage, &args),
    };
    trace(&cli.global);
    ExitCode::from(execute(cli).unwrap_or_else(|error| {
        tell(&error);
        error.exit_status()
    }))
}

/// Prints what clap has to say: help and version too. It repeats what was typed, and that may be a URL.
fn misuse(usage: &clap::Error, args: &[OsString]) -> ExitCode {
    let words =
        args.iter().filter_map(|arg| arg.to_str()).flat_map(|arg| [Some(arg), arg.split_once('=').map(|(_, value)| value)]);
    let secrets: Vec<_> = words.flatten().map(|word| (word, redact(word))).filter(|(word, shown)| word != shown).collect();
    // Where nobody listens, there is nobody to tell.
    if secrets.is_empty() {
        let _ = usage.print();
    } else {
        let told = usage.render().to_string();
        eprint!("{}", secrets.iter().fold(told, |told, (word, shown)| told.replace(word, shown)));
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

fn execute(cli: Cli) -> Result<u8> {
    let global = &cli.global;
    match &cli.command {
        Command::Reconcile(reconcile) => {
            if let Some(flag) = reconcile.correcting.stray_flag().filter(|_| !reconcile.corrects()) {
                let detail = format!("{flag} is about corrections, but neither --apply nor --sql asks for any");
                return Err(Error::new(ErrorKind::Usage, "reading the command line", detail));
            }
            let (reading, own) = (&reconcile.reading, reconcile.keeping.flags());
            let (settings, monitor) =
                (resolve_layers(global, Some(reading), reading.source.as_deref(), own)?, Monitor::start(global.quiet)?);
            let (outcome, applied) = reconcile::run(reconcile, &settings.job()?, &settings, &monitor)?;
            let Some(applied) = applied else {
                return report(&outcome, global, &settings, monitor).and_then(|()| status(&outcome));
            };
            monitor.finish();
            let (planned, look) = (reconcile.correcting.sql.is_some(), output::Look::of(settings.color));
            output::print(&report::render_corrected(&outcome, &applied, planned, settings.format, global.quiet, look)?)?;
            Ok(corrected(&applied))
        }
        Command::Diff(diff) => {
            let (settings, monitor) = prepare(global, &diff.reading)?;
            let outcome = diff::run(&settings.job()?, diff.out.as_deref(), &config::scoring(&settings), &monitor)?;
            report(&outcome, global, &settings, monitor).and_then(|()| status(&outcome))
        }
        Command::Recompute(recompute) => {
            let (settings, monitor) = prepare(global, &recompute.reading)?;
            let job = whole("recompute", &settings)?;
            report(&recompute::run(&job, &recompute.out, &monitor)?, global, &settings, monitor).map(|()| IN_SYNC)
        }
        Command::Export(export) => {
            let (settings, monitor) = prepare(global, &export.reading)?;
            let told = export::run(&whole("export", &settings)?, &export.out, &settings, &monitor)?;
            monitor.finish();
            output::print(&told).map(|()| IN_SYNC)
        }
        Command::Archive(Archive { action: Some(ArchiveAction::Ls { dest }), .. }) => {
            output::print(&archive::list(dest, &resolve(global, None)?)?).map(|()| IN_SYNC)
        }
        Command::Archive(archive) => {
            let (settings, monitor) = prepare(global, &archive.reading)?;
            let told = archive::run(&settings, archive, &monitor)?;
            monitor.finish();
            output::print(&told).map(|()| IN_SYNC)
        }
        Command::Verify(verify) => {
            let (settings, monitor) = (resolve(global, None)?, Monitor::start(global.quiet)?);
            let (told, intact) = verify::run(&verify.dest, &settings, &monitor)?;
            monitor.finish();
            output::print(&told).map(|()| if intact { IN_SYNC } else { DIFFERENCES })
        }
        Command::Query(query) => query::run(query, &resolve(global, None)?).map(|()| IN_SYNC),
        Command::Generate(generate) => {
            resolve(global, None)?;
            let monitor = Monitor::start(global.quiet)?;
            let told = generate::run(generate, &monitor)?;
            monitor.finish();
            output::print(&told).map(|()| IN_SYNC)
        }
        Command::Migrate(migrate) => {
            let settings = resolve_with(global, None, migrate.database_url.as_deref())?;
            output::print(&migrate::run(migrate, &settings)?).map(|()| IN_SYNC)
        }
        Command::Phase2(phase2) => phase2::execute(phase2, global),
        Command::Phase3(phase3) => phase3::execute(phase3, global),
        Command::Steps(steps) => steps::execute(steps, global),
        Command::Apply(apply) => {
            let own = apply.validator_hotkey.clone().map(|hotkey| ("validator-hotkey", hotkey));
            let settings = resolve_layers(global, None, apply.target.database_url.as_deref(), own)?;
            let monitor = Monitor::start(global.quiet)?;
            let applied = apply::run(apply, &settings, &monitor)?;
            tell_corrected("apply", &applied, apply.correcting.sql.is_some(), &settings, monitor)
        }
        Command::Undo(undo) => {
            let settings = resolve_with(global, None, undo.target.database_url.as_deref())?;
            let monitor = Monitor::start(global.quiet)?;
            let applied = jobs::undo(&undo.job, &settings, &monitor)?;
            tell_corrected("undo", &applied, false, &settings, monitor)
        }
        Command::Jobs(jobs) => {
            let settings = resolve_with(global, None, jobs.target.database_url.as_deref())?;
            let monitor = Monitor::start(global.quiet)?;
            let told = jobs::run(jobs.action.as_ref(), &settings, &monitor)?;
            monitor.finish();
            output::print(&told).map(|()| IN_SYNC)
        }
        Command::Config(reading) => {
            let settings = resolve(global, Some(reading))?;
            output::print(&config::render(&settings)).map(|()| IN_SYNC)
        }
    }
}

/// Settings of a reading command, and what watches over it.
fn prepare(global: &Global, reading: &Reading) -> Result<(Settings, Monitor)> {
    Ok((resolve(global, Some(reading))?, Monitor::start(global.quiet)?))
}

/// The job of a command that compares nothing: to narrow it would promise what it does not do.
fn whole(command: &str, settings: &Settings) -> Result<Job> {
    if settings.narrowing.is_narrow() {
        let detail = format!("{command} always takes everything; --runs, --since, --miner and --no-lifetime narrow comparisons");
        return Err(Error::new(ErrorKind::Usage, "reading the command line", detail)
            .hint("leave these flags out, or use reconcile or diff"));
    }
    settings.job()
}

fn report(outcome: &Outcome, global: &Global, settings: &Settings, monitor: Monitor) -> Result<()> {
    monitor.finish();
    let look = output::Look::of(settings.color);
    output::print(&report::render(outcome, settings.format, global.quiet, look)?)
}

/// Prints what a command did that only writes, and gives its exit status.
fn tell_corrected(command: &str, applied: &Applied, planned: bool, settings: &Settings, monitor: Monitor) -> Result<u8> {
    monitor.finish();
    let text = match settings.format {
        Format::Json => {
            let corrections = correct::as_json(applied);
            let object = json!({ "version": 1, "command": command, "planned": planned, "corrections": corrections });
            format!("{object:#}\n")
        }
        Format::Terminal => correct::as_text(applied, planned, output::Look::of(settings.color)),
    };
    output::print(&text)?;
    Ok(corrected(applied))
}

/// The exit status of a correction: whether something was left.
fn corrected(applied: &Applied) -> u8 {
    if applied.is_complete() { IN_SYNC } else { DIFFERENCES }
}

/// The exit status of a comparison. One of nothing is an error: a nightly job must not take it for "in sync".
fn status(outcome: &Outcome) -> Result<u8> {
    if outcome.tables.values().all(|table| table.columns.is_empty()) {
        return Err(Error::new(ErrorKind::Data, "comparing", "nothing was compared")
            .hint("see the report's notes: tables may be absent, or --columns and --ignore may leave nothing of them"));
    }
    Ok(if outcome.in_sync() { IN_SYNC } else { DIFFERENCES })
}

fn resolve(global: &Global, reading: Option<&Reading>) -> Result<Settings> {
    resolve_with(global, reading, reading.and_then(|reading| reading.source.as_deref()))
}

fn resolve_with(global: &Global, reading: Option<&Reading>, source: Option<&str>) -> Result<Settings> {
    resolve_layers(global, reading, source, None)
}

/// Settings of a command that takes flags of reading, but compares everything.
fn resolve_whole(global: &Global, flags: Option<&Flags<false>>, source: Option<&str>) -> Result<Settings> {
    resolve_layers(global, None, source, flags.map(|flags| flags.0.clone()).unwrap_or_default())
}

/// `own`: what a command takes by a flag of its own.
fn resolve_layers(
    global: &Global,
    reading: Option<&Reading>,
    source: Option<&str>,
    own: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Settings> {
    let mut flags = global.flags.0.clone();
    flags.extend(own);
    flags.extend(reading.iter().flat_map(|reading| reading.flags.0.clone()));
    flags.extend(source.map(|source| ("source", source.to_owned())));
    let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = Settings::resolve(&Layers {
        file: settings::read_file(global.config.as_deref())?,
        env: env.collect(),
        flags,
        narrowing: reading.map(|reading| reading.narrow.narrowing()).unwrap_or_default(),
    })?;
    parallel::limit(settings.threads.get());
    if !global.quiet {
        for warning in &settings.warnings {
            eprintln!("warning: {warning}");
        }
    }
    Ok(settings)
}

/// What the program tells of its doings goes to stderr.
fn trace(global: &Global) {
    let level = match global.verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = if global.quiet { "off".to_owned() } else { format!("recount={level}") };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(output::Look::for_stderr().color)
        .with_target(false)
        .init();
}

/// An error, and on a line of its own what can be done about it.
fn tell(error: &Error) {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint_text() {
        eprintln!("hint: {}", hint.replace('\n', "\n      "));
    }
}
