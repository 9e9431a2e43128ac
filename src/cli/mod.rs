//! The command line: as typed → settings → one command → its result on stdout and an exit status.
//!
//! stdout is data, stderr is messages. Exit statuses are decided here and in [`crate::error::Error::exit_status`], nowhere else.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::{Job, redact};
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;
use crate::parallel;
use crate::postgres;

use args::{Cli, Command, Flags, Global, LogFormat, Reading};
use output::Message;
use progress::Monitor;
use settings::{Layers, Settings};
use telling::FailOn;
use values::Format;

mod afterwards;
mod apply;
mod archive;
pub mod args;
mod baseline;
mod config;
mod correct;
mod diff;
mod doctor;
mod explain;
mod export;
mod generate;
mod init;
mod jobs;
pub mod keys;
mod metrics;
mod migrate;
mod operator_args;
mod output;
mod pages;
mod phase2;
mod phase3;
mod profile;
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
mod show;
mod steps;
mod telling;
pub mod values;
mod verify;
mod writing;

pub use config::scoring_as_json;

/// How a command ended that met no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Exit status 0: done and, where something was compared, in sync.
    Done,
    /// Exit status 1: differences were found, or something was left.
    Differences,
}

impl Status {
    /// [`Status::Done`] where nothing is left to tell.
    pub fn done_if(done: bool) -> Status {
        if done { Status::Done } else { Status::Differences }
    }

    fn exit_status(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::Differences => 1,
        }
    }
}

/// Runs the command line and says how it went.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(usage) => return misuse(&usage, &args),
    };
    trace(&cli.global);
    ExitCode::from(match execute(&cli.command, &cli.global) {
        Ok(status) => status.exit_status(),
        Err(error) => {
            tell(&error);
            error.exit_status()
        }
    })
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
        output::complain(&secrets.iter().fold(told, |told, (word, shown)| told.replace(word, shown)));
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

fn execute(command: &Command, global: &Global) -> Result<Status> {
    match command {
        Command::Reconcile(args) => reconcile::run(args, global),
        Command::Diff(args) => diff::run(args, global),
        Command::Explain(args) => explain::run(args, global),
        Command::Baseline(args) => baseline::run(args, global),
        Command::Show(args) => show::run(args, global),
        Command::Recompute(args) => recompute::run(args, global),
        Command::Export(args) => export::run(args, global),
        Command::Archive(args) => archive::run(args, global),
        Command::Verify(args) => verify::run(args, global),
        Command::Query(args) => query::run(args, global),
        Command::Generate(args) => generate::run(args, global),
        Command::Migrate(args) => migrate::run(args, global),
        Command::Phase2(args) => phase2::run(args, global),
        Command::Phase3(args) => phase3::run(args, global),
        Command::Steps(args) => steps::run(args, global),
        Command::Apply(args) => apply::run(args, global),
        Command::Undo(args) => jobs::undo(args, global),
        Command::Jobs(args) => jobs::run(args, global),
        Command::Init(args) => init::run(args, global),
        Command::Doctor(args) => doctor::run(args, global),
        Command::Config(args) => config::run(args, global),
        Command::Completions(args) => pages::completions(args),
        Command::Man(args) => pages::man(args),
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
    Ok(settings.job())
}

/// Prints a report once the progress bar is gone.
fn report(report: &report::Report<'_>, global: &Global, settings: &Settings, monitor: Monitor) -> Result<()> {
    monitor.finish();
    let look = output::Look::of(settings.color);
    output::print(&report.render(settings.format, global.quiet, look)?)
}

/// Prints a result once the progress bar is gone.
fn print(text: &str, monitor: Monitor) -> Result<()> {
    monitor.finish();
    output::print(text)
}

/// Prints what a command did that only writes.
fn report_applied(command: &str, applied: &Applied, planned: bool, settings: &Settings, monitor: Monitor) -> Result<Status> {
    monitor.finish();
    let text = match settings.format {
        Format::Json => {
            let corrections = correct::as_json(applied);
            let object = json!({ "version": 1, "command": command, "planned": planned, "corrections": corrections });
            format!("{object:#}\n")
        }
        Format::Terminal => correct::as_text(applied, planned, output::Look::of(settings.color)),
    };
    print_applied(&text, applied, planned)?;
    Ok(Status::done_if(applied.is_complete()))
}

/// Prints what a job did; where that cannot be done, the error says whether it was committed.
fn print_applied(text: &str, applied: &Applied, planned: bool) -> Result<()> {
    if planned { output::print(text) } else { output::print_done(text, &output::committed(applied.job.as_deref())) }
}

/// How a comparison ended. One of nothing is an error: a nightly job must not take it for "in sync".
fn compared(outcome: &Outcome, fail_on: &FailOn) -> Result<Status> {
    if outcome.tables.values().all(|table| table.columns.is_empty()) {
        return Err(Error::new(ErrorKind::Data, "comparing", "nothing was compared")
            .hint("see the report's notes: tables may be absent, or --columns and --ignore may leave nothing of them"));
    }
    Ok(Status::done_if(!fail_on.is_met(outcome)))
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
    if settings.allow_cleartext_password {
        postgres::allow_cleartext_password();
    }
    if let Some(file) = &settings.password_file {
        postgres::take_password_from(file.as_ref())?;
    }
    if !global.quiet {
        for warning in &settings.warnings {
            output::tell(Message::Warning, warning, None);
        }
    }
    Ok(settings)
}

/// What the program tells of its doings goes to stderr.
fn trace(global: &Global) {
    let level = match global.verbose {
        _ if global.quiet => LevelFilter::OFF,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(|| output::Messages).with_target(false);
    let lines = match global.log_format {
        LogFormat::Text => lines.with_ansi(output::Look::for_stderr().color).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(Targets::new().with_target("recount", level)).init();
    output::log_as(global.log_format);
}

/// An error, and on a line of its own what can be done about it.
fn tell(error: &Error) {
    output::tell(Message::Error, &error.to_string(), error.hint_text());
}
