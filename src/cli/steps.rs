//! `recount steps`: list, recover, backfill; a dry run unless `--apply` is given.

use serde_json::json;

use crate::error::Result;
use crate::schema::steps::{self, Found, Recovery, StepLine, Undone};

use super::args::Global;
use super::migrate::database;
use super::output::{self, Look};
use super::progress::interruptible;
use super::report::table::Grid;
use super::schema_args::{Steps, StepsAction};
use super::settings::Settings;
use super::values::Format;
use super::{Status, resolve_whole};

/// Rows that a terminal is shown; JSON has them all.
const SHOWN_MAX: usize = 50;

pub fn run(steps: &Steps, global: &Global) -> Result<Status> {
    let flags = match &steps.action {
        StepsAction::Due { flags } | StepsAction::Recover { flags, .. } | StepsAction::Backfill { flags, .. } => Some(flags),
        StepsAction::Undo { .. } => None,
    };
    let settings = resolve_whole(global, flags, steps.database_url.as_deref())?;
    let (url, scoring) = (database(&settings)?, &settings.scoring);
    match &steps.action {
        StepsAction::Due { .. } => {
            let found = interruptible(steps::due(url, scoring))?;
            output::print(&listed("steps due", &found, &settings))?;
            Ok(Status::Done)
        }
        StepsAction::Recover { apply, era5_delay, era5_buffer, .. } => {
            let recovery = Recovery { era5_delay_seconds: era5_delay.as_secs(), era5_buffer_seconds: era5_buffer.as_secs() };
            let found = interruptible(steps::recover(url, scoring, &recovery, *apply))?;
            output::print_done(&listed("steps recover", &found, &settings), &output::committed(found.job.as_deref()))?;
            Ok(status(&found, *apply))
        }
        StepsAction::Backfill { apply, .. } => {
            let found = interruptible(steps::backfill(url, scoring, *apply))?;
            output::print_done(&listed("steps backfill", &found, &settings), &output::committed(found.job.as_deref()))?;
            Ok(status(&found, *apply))
        }
        StepsAction::Undo { job } => undo(url, job, &settings),
    }
}

/// Takes a job back; `recount undo` does the same.
pub fn undo(url: &str, job: &str, settings: &Settings) -> Result<Status> {
    let undone = interruptible(steps::undo(url, job))?;
    output::print_done(&taken_back(&undone, settings), "the job is taken back")?;
    Ok(Status::done_if(undone.left == 0))
}

fn status(found: &Found, apply: bool) -> Status {
    Status::done_if(apply || !found.lines.iter().any(StepLine::acts))
}

fn listed(command: &str, found: &Found, settings: &Settings) -> String {
    if settings.format == Format::Json {
        let line = |s: &StepLine| {
            json!({
                "run_id": s.run_id, "miner_uid": s.miner_uid, "step_name": s.step_name, "substep": s.substep,
                "lead_hours": s.lead_hours, "becomes": s.becomes, "retry_count": s.retries, "next_retry_time": s.next_retry, "why": s.why,
            })
        };
        let lines: Vec<_> = found.lines.iter().map(line).collect();
        return format!("{:#}\n", json!({"version": 1, "command": command, "job": found.job, "steps": lines}));
    }
    let count = found.lines.iter().filter(|line| line.acts()).count();
    let left = found.lines.len() - count;
    let listed = if left == 0 { String::new() } else { format!("; {left} are only listed, see why") };
    let headline = match &found.job {
        _ if count == 0 => format!("{command}: nothing to do{listed}\n"),
        Some(job) => format!("{command}: {count} steps, job {job}; `recount steps undo {job}` takes it back{listed}\n"),
        None if command == "steps due" => format!("{command}: {count} steps\n"),
        None => format!("{command}: {count} steps; nothing was changed without --apply{listed}\n"),
    };
    let count = found.lines.len();
    if count == 0 {
        return headline;
    }
    let mut grid =
        Grid::new(&["run", "miner", "step", "lead", "becomes", "retries", "not before", "why"], Look::of(settings.color));
    for s in found.lines.iter().take(SHOWN_MAX) {
        let step = s.substep.as_ref().map_or_else(|| s.step_name.clone(), |substep| format!("{}/{substep}", s.step_name));
        let lead = s.lead_hours.map_or_else(String::new, |lead| format!("{lead} h"));
        let (run, miner, retries) = (s.run_id.to_string(), s.miner_uid.to_string(), s.retries.to_string());
        grid.row([run, miner, step, lead, s.becomes.clone(), retries, s.next_retry.clone().unwrap_or_default(), s.why.clone()]);
    }
    let more = if count > SHOWN_MAX { format!(" and {} more: see --format json\n", count - SHOWN_MAX) } else { String::new() };
    format!("{headline}\n{grid}{more}")
}

fn taken_back(undone: &Undone, settings: &Settings) -> String {
    let Undone { restored, left, done_by } = undone;
    match (settings.format, done_by) {
        (Format::Json, _) => {
            let object = json!({"version": 1, "command": "steps undo", "restored": restored, "left": left, "done_by": done_by});
            format!("{object:#}\n")
        }
        (Format::Terminal, Some(done_by)) => format!("steps undo: job {done_by} has done this already; nothing was written\n"),
        (Format::Terminal, None) => {
            format!("steps undo: {restored} steps are as they were, {left} were touched since and stay\n")
        }
    }
}
