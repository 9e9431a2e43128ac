//! `recount doctor`: everything that a job needs, looked at before it fails for want of it.

mod machine;

use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::error::Result;
use crate::model::checkup::{Check, Standing, age};
use crate::model::job::Location;
use crate::model::writing::UpdatedAt;
use crate::pipeline::{SourceOptions, checkup};
use crate::schema::checkup::{Asked, Examined, examine};
use crate::schema::{self, State};

use super::args::Global;
use super::operator_args::Doctor;
use super::output::{self, Look};
use super::progress::interruptible;
use super::report::text::counted;
use super::settings::Settings;
use super::values::Format;
use super::{Status, metrics, resolve_layers};

/// A job holds the snapshot by one connection beside its readers; one that corrects writes by another.
const BESIDE_READERS: u32 = 1;

pub fn run(args: &Doctor, global: &Global) -> Result<Status> {
    let own = args.state.clone().map(|state| ("state", state)).into_iter().chain(args.flags.0.clone());
    let settings = resolve_layers(global, None, args.source.as_deref(), own)?;
    let source = settings.source()?.clone();
    let checks = look(args, &settings, &source)?;
    let text = match settings.format {
        Format::Json => as_json(&source, &checks),
        Format::Terminal => as_text(&checks, global.quiet, Look::of(settings.color)),
    };
    output::print(&text)?;
    Ok(Status::done_if(checks.iter().all(|check| check.standing != Standing::Fault)))
}

fn look(args: &Doctor, settings: &Settings, source: &Location) -> Result<Vec<Check>> {
    let (now, max_age) = (now(), args.max_age.as_secs_f64());
    let mut checks = of_settings(settings);
    let found = match source {
        Location::Postgres(url) => interruptible(async { Ok(examine(url, asked(args, settings)).await) })?,
        Location::Folder(_) | Location::Archive(_) => Examined { reached: true, ..Examined::default() },
    };
    checks.extend(found.checks);
    if let Location::Postgres(url) = source
        && found.reached
    {
        checks.push(phases(url));
    }
    if found.reached {
        let options = SourceOptions { connections: settings.connections.get(), ..SourceOptions::default() };
        checks.extend(checkup::source(source, &options, now));
    }
    checks.push(machine::memory(settings.threads.get()));
    checks.push(machine::disk("tmpdir", &std::env::temp_dir(), found.spooled_bytes));
    if let Some(folder) = &args.out {
        checks.push(machine::disk("out", folder, 0));
    }
    if let Some(folder) = &settings.state {
        checks.extend(checkup::state(Path::new(folder), now, max_age));
        checks.push(machine::disk("state_disk", Path::new(folder), 0));
    }
    if let Some(dest) = &args.archive {
        checks.extend(checkup::archive(dest, now, max_age));
    }
    if let Some(file) = &args.metrics {
        checks.extend(last_night(file, now, max_age));
    }
    Ok(checks)
}

/// How far our migrations have carried the schema.
pub fn phases(url: &str) -> Check {
    const NAME: &str = "phase";
    let looked = interruptible(async { Ok((schema::status(url).await, schema::phase2_stage(url).await)) });
    let (phases, stage) = match looked {
        Ok((Ok(phases), Ok(stage))) => (phases, stage),
        // Who only reads need not be let see it.
        Ok((Err(error), _) | (_, Err(error))) | Err(error) => {
            let remedy = error.hint_text().unwrap_or("GRANT SELECT ON recount_migrations TO …, as the owner").to_owned();
            return Check::note(NAME, error.to_string(), remedy);
        }
    };
    let of = |phase: &schema::PhaseStatus, wanted: fn(&State) -> bool| {
        phase
            .migrations
            .iter()
            .filter(|migration| wanted(&migration.state))
            .map(|migration| migration.version)
            .collect::<Vec<_>>()
    };
    let changed: Vec<String> = phases
        .iter()
        .flat_map(|phase| of(phase, |state| matches!(state, State::Changed { .. })))
        .map(|v| v.to_string())
        .collect();
    if !changed.is_empty() {
        let seen = format!("applied with another text than this version of recount has: migration {}", changed.join(", "));
        return Check::fault(NAME, seen, "use the version of recount that applied it, or a later one");
    }
    let standing = |phase: &schema::PhaseStatus| {
        let (all, pending) = (phase.migrations.len(), of(phase, |state| matches!(state, State::Pending)).len());
        match pending {
            0 => format!("{} applied", phase.phase),
            pending if pending == all => format!("{} not applied", phase.phase),
            pending => format!("{} applied but for {pending} of {all}", phase.phase),
        }
    };
    let seen = phases.iter().map(standing).chain([format!("wide columns: {}", stage.name())]).collect::<Vec<_>>().join(", ");
    match phases.first().is_some_and(|first| of(first, |state| matches!(state, State::Pending)).is_empty()) {
        true => Check::ok(NAME, seen),
        false => {
            Check::note(NAME, seen, "`recount migrate`, as the owner: it adds indexes, and the tables that corrections need")
        }
    }
}

fn asked(args: &Doctor, settings: &Settings) -> Asked {
    let connections = u32::try_from(settings.connections.get()).unwrap_or(u32::MAX);
    Asked {
        corrects: args.apply,
        connections: connections.saturating_add(BESIDE_READERS).saturating_add(u32::from(args.apply)),
        keeps_updated_at: settings.updated_at != UpdatedAt::Now,
    }
}

fn of_settings(settings: &Settings) -> Vec<Check> {
    let mut checks: Vec<Check> = settings
        .warnings
        .iter()
        .map(|warning| Check::note("settings", warning, "`recount config` shows what is in force, and where it came from"))
        .collect();
    if let Some(time) = settings.scoring.snapshot_time {
        let seen = format!("snapshot_time is {}: every report is a replay of that time", time.iso());
        checks.push(Check::note("settings", seen, "take it out of recount.toml, the environment and the command line"));
    }
    if settings.allow_cleartext_password {
        let seen = "allow_cleartext_password is on: who listens on the network can read the password";
        checks.push(Check::note("settings", seen, "scram-sha-256 on the server, or TLS, does without"));
    }
    if checks.is_empty() {
        checks.push(Check::ok("settings", "they make sense"));
    }
    checks
}

/// When the job that writes these metrics last finished.
fn last_night(file: &Path, now: f64, max_age: f64) -> Vec<Check> {
    let shown = file.display();
    let see = "see the output of the nightly job: journalctl -u recount, or cron's mail";
    let mut checks = vec![match metrics::last_success(file) {
        Err(error) => {
            Check::fault("last_night", format!("{shown} cannot be read: {error}"), "name the file of the nightly job's --metrics")
        }
        Ok(None) => Check::fault("last_night", format!("{shown} knows of no job that finished"), see),
        Ok(Some(at)) if now - at > max_age => {
            Check::fault("last_night", format!("the last job finished {} ago", age(now - at)), see)
        }
        Ok(Some(at)) => Check::ok("last_night", format!("the last job finished {} ago", age(now - at))),
    }];
    checks.push(machine::disk("metrics_disk", crate::files::folder_of(file), 0));
    checks
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn count(checks: &[Check], standing: Standing) -> u64 {
    checks.iter().filter(|check| check.standing == standing).count() as u64
}

fn as_json(source: &Location, checks: &[Check]) -> String {
    let line = |check: &Check| {
        json!({
            "check": check.name, "standing": check.standing.name(), "seen": check.seen, "remedy": check.remedy,
        })
    };
    let [faults, notes, ok] = [Standing::Fault, Standing::Note, Standing::Ok].map(|standing| count(checks, standing));
    let object = json!({
        "version": 1, "command": "doctor", "source": source.to_string(), "faults": faults, "notes": notes, "ok": ok,
        "checks": checks.iter().map(line).collect::<Vec<_>>(),
    });
    format!("{object:#}\n")
}

fn as_text(checks: &[Check], quiet: bool, look: Look) -> String {
    let [faults, notes, ok] = [Standing::Fault, Standing::Note, Standing::Ok].map(|standing| count(checks, standing));
    let (style, word) = if faults > 0 { ("1;31", "FAULTY") } else { ("1;32", "Well") };
    let mut text = format!("{}: {}, {}, {ok} ok.\n", look.paint(style, word), counted(faults, "fault"), counted(notes, "note"));
    for check in checks.iter().filter(|check| !quiet || check.standing == Standing::Fault) {
        let style = match check.standing {
            Standing::Ok => "32",
            Standing::Note => "33",
            Standing::Fault => "1;31",
        };
        let standing = look.paint(style, &format!("{:<5}", check.standing.name()));
        let _ = writeln!(text, "{standing}  {:<15}  {}", check.name, check.seen);
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "{:<24}→ {}", "", remedy.replace('\n', "; "));
        }
    }
    text
}
