//! `recount jobs` and `recount undo`: what was written, and the way back.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Watch;
use crate::model::writing::{JobCells, JobLine, TableCounts, Undoing};
use crate::pipeline;

use super::args::Global;
use super::output::{self, Look};
use super::progress::Monitor;
use super::report::{counted, table::Grid};
use super::settings::Settings;
use super::values::Format;
use super::writing::{Jobs, JobsAction, Undo};
use super::{Status, print, report_applied, resolve_layers, resolve_with};

const HINT: &str = "name the database with --database-url postgres://…";

/// Jobs younger than this are pruned only where that is confirmed.
const MIN_AGE_HOURS: u64 = 24;

/// `recount undo`: puts back what a job changed.
pub fn undo(args: &Undo, global: &Global) -> Result<Status> {
    let settings = resolve_layers(global, None, args.target.database_url.as_deref(), args.beside.flags())?;
    let options = Undoing { updated_at: settings.updated_at, pause_validator: args.beside.pause_validator };
    let url = super::correct::database(&settings, HINT)?;
    let jobs = pipeline::jobs(url, &())?;
    let id = match &args.job {
        Some(job) => whole_id(&jobs, job)?,
        None => last_job(&jobs)?,
    };
    match jobs.iter().find(|job| job.is_of_steps() && job.id.eq_ignore_ascii_case(id.trim())) {
        Some(job) => undo_steps(url, job, args, &settings),
        None => {
            let monitor = Monitor::start(global.quiet)?;
            let applied = pipeline::undo(url, &id, &options, &monitor)?;
            report_applied("undo", &applied, false, &settings, monitor)
        }
    }
}

/// A job that changed steps has its own way back.
fn undo_steps(url: &str, job: &JobLine, args: &Undo, settings: &Settings) -> Result<Status> {
    let JobLine { id, command, .. } = job;
    if args.beside.pause_validator || args.beside.updated_at.is_some() {
        let detail =
            format!("it is a job of `recount {command}`, which --pause-validator and --updated-at have nothing to do with");
        return Err(Error::new(ErrorKind::Usage, format!("undoing job {id}"), detail).hint("nothing was written; leave them out"));
    }
    output::note(Some(&format!(
        "job {id} is one of `recount {command}`: it is taken back by `recount steps undo {id}`, as follows"
    )));
    super::steps::undo(url, id, settings)
}

/// Characters of an id that are enough to look for it.
const ID_MIN: usize = 4;

/// The id of the one job that begins so. What cannot be the beginning of an id is left to who reads ids.
fn whole_id(jobs: &[JobLine], beginning: &str) -> Result<String> {
    const WHOLE: usize = 36;
    let may_be = beginning.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !may_be || !(ID_MIN..WHOLE).contains(&beginning.len()) {
        return Ok(beginning.to_owned());
    }
    let beginning = beginning.to_ascii_lowercase();
    let jobs: Vec<_> = jobs.iter().filter(|job| job.id.starts_with(&beginning)).collect();
    let doing = || format!("looking for job {beginning}");
    match jobs.as_slice() {
        [job] => Ok(job.id.clone()),
        [] => Err(Error::new(ErrorKind::Usage, doing(), "there is no job with such an id").hint("`recount jobs` lists them")),
        jobs => {
            let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
            Err(Error::new(ErrorKind::Usage, doing(), format!("{} jobs begin so: {}", ids.len(), ids.join(", ")))
                .hint("give more of the id"))
        }
    }
}

/// The newest job that corrected rollups, is no undo and was not undone. A newer one that changed steps stays, and is told of.
fn last_job(jobs: &[JobLine]) -> Result<String> {
    let open = || jobs.iter().filter(|job| job.undoes.is_none() && job.undone_by.is_none());
    if let Some(JobLine { id, command, .. }) = open().next().filter(|job| job.is_of_steps()) {
        let stays = format!("job {id} of `recount {command}` is newer and stays: --last takes back corrections of rollups");
        output::note(Some(&format!("{stays}; `recount undo {id}` takes it back")));
    }
    open().find(|job| !job.is_of_steps()).map(|job| job.id.clone()).ok_or_else(|| {
        Error::new(ErrorKind::Usage, "looking for the last job", "no job has corrected anything that was not undone")
            .hint("`recount jobs` lists them; an undo is undone by its id")
    })
}

/// `recount jobs`.
pub fn run(args: &Jobs, global: &Global) -> Result<Status> {
    let settings = resolve_with(global, None, args.target.database_url.as_deref())?;
    let monitor = Monitor::start(global.quiet)?;
    print(&jobs(args.action.as_ref(), &settings, &monitor)?, monitor)?;
    Ok(Status::Done)
}

/// Lists, shows or prunes jobs; gives what is to be printed.
fn jobs(action: Option<&JobsAction>, settings: &Settings, watch: &dyn Watch) -> Result<String> {
    let url = super::correct::database(settings, HINT)?;
    let look = Look::of(settings.color);
    let (object, text) = match action {
        None => {
            let jobs = pipeline::jobs(url, watch)?;
            (json!({"version": 1, "command": "jobs", "jobs": jobs}), list(&jobs, look))
        }
        Some(JobsAction::Show { job }) => {
            let (job, cells) = pipeline::show(url, &whole_id(&pipeline::jobs(url, watch)?, job)?, watch)?;
            (json!({"version": 1, "command": "jobs show", "job": job, "changes": cells}), shown(&job, &cells, look))
        }
        Some(JobsAction::Prune { keep, yes }) => {
            if !yes && keep.as_secs() < MIN_AGE_HOURS * 3600 {
                confirm(pipeline::prunable(url, keep.as_secs(), watch)?)?;
            }
            let pruned = pipeline::prune(url, keep.as_secs(), watch)?;
            let text = format!("Deleted {}; they can no longer be undone.\n", counted(pruned, "job"));
            (json!({"version": 1, "command": "jobs prune", "deleted": pruned}), text)
        }
    };
    Ok(if settings.format == Format::Json { format!("{object:#}\n") } else { text })
}

/// Asks before jobs of the last day are forgotten; refuses where nobody can be asked.
fn confirm(jobs: u64) -> Result<()> {
    let jobs = match jobs {
        0 => return Ok(()),
        jobs => counted(jobs, "job"),
    };
    let loss = format!("{jobs} would be deleted, with all that is known of what they changed: they could never be undone");
    output::confirmed("deleting jobs of the last 24 hours", &loss, false)
}

fn list(jobs: &[JobLine], look: Look) -> String {
    if jobs.is_empty() {
        return "No job has written anything.\n".to_owned();
    }
    let mut grid = Grid::new(&["job", "command", "ended", "outcome", "cells", "source"], look).right([4]);
    for job in jobs {
        let outcome = match (&job.undone_by, &job.outcome) {
            (Some(_), Some(outcome)) => format!("{outcome}, undone"),
            (_, outcome) => outcome.clone().unwrap_or_default(),
        };
        let ended = job.finished_at.clone().unwrap_or_default();
        let row = [job.id.clone(), job.command.clone(), ended, outcome, cells(&job.counts).to_string(), job.source.clone()];
        grid.row(row);
    }
    grid.to_string()
}

/// Cells of all tables.
fn cells(counts: &Json) -> u64 {
    counts.as_object().into_iter().flat_map(|tables| tables.values()).filter_map(|counts| counts["cells"].as_u64()).sum()
}

fn shown(job: &JobLine, changes: &[JobCells], look: Look) -> String {
    let mut grid = Grid::new(&["job", &job.id], look);
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for (name, value) in [
        ("command", job.command.clone()),
        ("started", job.started_at.clone()),
        ("ended", optional(&job.finished_at)),
        ("outcome", optional(&job.outcome)),
        ("source", job.source.clone()),
        ("snapshot", optional(&job.snapshot_at)),
        ("digest", optional(&job.digest)),
        ("undoes", optional(&job.undoes)),
        ("undone by", optional(&job.undone_by)),
    ] {
        grid.row([name.to_owned(), value]);
    }
    let counts: BTreeMap<String, TableCounts> = serde_json::from_value(job.counts.clone()).unwrap_or_default();
    let mut text = format!("{grid}\n{}", super::correct::web_sync(counts.values()));
    let mut grid = Grid::new(&["table", "column", "cells", "for example", "before", "after"], look).right([2]);
    for change in changes {
        let column = change.column.clone().unwrap_or_else(|| "(row)".to_owned());
        let (before, after) = (optional(&change.before), optional(&change.after));
        grid.row([change.table.clone(), column, change.cells.to_string(), change.key.clone(), before, after]);
    }
    text += &grid.to_string();
    text
}
