//! `recount migrate`: bring the schema of a database to Phase 1, or show where it stands.

use serde_json::{Value as Json, json};

use crate::error::{Error, ErrorKind, Result};
use crate::model::job::Location;
use crate::schema::phase2::Stage;
use crate::schema::track::{self, Tracking};
use crate::schema::{self, Migrating, Outcome, State};

use super::args::Global;
use super::output::{self, Look};
use super::progress::interruptible;
use super::report::table::Grid;
use super::schema_args::{Migrate, MigrateAction};
use super::settings::Settings;
use super::values::Format;
use super::{Status, resolve_with};

pub fn run(args: &Migrate, global: &Global) -> Result<Status> {
    let settings = resolve_with(global, None, args.database_url.as_deref())?;
    output::print_done(&migrate(args, &settings)?, "the database is as the command was to leave it")?;
    Ok(Status::Done)
}

/// Migrates or shows the status, and gives what is to be printed. What an interrupted migration has not done, the next run does.
fn migrate(migrate: &Migrate, settings: &Settings) -> Result<String> {
    let url = database(settings)?;
    Ok(match migrate.action {
        None => {
            let pause = migrate.pause_validator;
            let migrating = Migrating { standalone: migrate.standalone, pause_validator: pause };
            let report = interruptible(schema::migrate(url, migrating))?;
            output::note(report.note.as_deref());
            let mut lines = migrated(&report);
            if migrate.track_changes || migrate.no_track_changes {
                let (tracking, pruned) = interruptible(track::track(url, migrate.track_changes, pause))?;
                let removed = if pruned > 0 { format!("{pruned} old records removed") } else { String::new() };
                lines.push(tracked(tracking, removed));
            }
            render("migrate", &lines, settings)
        }
        Some(MigrateAction::Status) => {
            let mut lines = standing(&interruptible(schema::status(url))?);
            lines.push(change(interruptible(schema::phase2_stage(url))?));
            lines.push(tracked(interruptible(track::tracking(url))?, String::new()));
            render("migrate status", &lines, settings)
        }
    })
}

/// Lines of any command that migrates.
pub(super) fn render(command: &str, lines: &[Line], settings: &Settings) -> String {
    match settings.format {
        Format::Json => {
            let lines: Vec<_> = lines.iter().map(Line::json).collect();
            format!("{:#}\n", json!({ "version": 1, "command": command, "migrations": lines }))
        }
        Format::Terminal => table(lines, Look::of(settings.color)),
    }
}

/// What became of the wide columns, which is no migration: it can be taken back.
fn change(stage: Stage) -> Line {
    let (description, detail) = match stage {
        Stage::Wide => ("narrow rollups".to_owned(), String::new()),
        Stage::Applied { way, at } | Stage::Finished { way, at } => (format!("narrow rollups, option {}", way.name()), at.iso()),
    };
    Line { phase: "phase2", version: 300, description, state: stage.name(), detail }
}

/// Whether changes are tracked, which can be taken back too.
fn tracked(tracking: Tracking, detail: String) -> Line {
    Line { phase: "track", version: 501, description: "track changes".to_owned(), state: tracking.name(), detail }
}

/// One migration, and how it stands or what became of it.
pub(super) struct Line {
    phase: &'static str,
    version: i64,
    description: String,
    state: &'static str,
    /// Since when, or how long it took.
    detail: String,
}

impl Line {
    fn json(&self) -> Json {
        let Line { phase, version, description, state, detail } = self;
        json!({ "phase": phase, "version": version, "description": description, "state": state, "detail": detail })
    }
}

pub(super) fn migrated(report: &schema::Report) -> Vec<Line> {
    let line = |migration: &schema::Migrated| {
        let (state, detail) = match migration.outcome {
            Outcome::Applied { elapsed } => ("applied now", super::report::elapsed(elapsed)),
            Outcome::AlreadyApplied => ("applied earlier", String::new()),
            Outcome::NotNeeded => ("not needed", String::new()),
        };
        let description = migration.description.clone();
        Line { phase: report.phase, version: migration.version, description, state, detail }
    };
    report.migrations.iter().map(line).collect()
}

fn standing(phases: &[schema::PhaseStatus]) -> Vec<Line> {
    let line = |phase: &'static str, migration: &schema::MigrationStatus| {
        let (state, detail) = match migration.state {
            State::Applied { at } => ("applied", at.iso()),
            State::Pending => ("pending", String::new()),
            State::Changed { at } => ("applied with another text", at.iso()),
        };
        Line { phase, version: migration.version, description: migration.description.clone(), state, detail }
    };
    phases.iter().flat_map(|phase| phase.migrations.iter().map(|migration| line(phase.phase, migration))).collect()
}

fn table(lines: &[Line], look: Look) -> String {
    let mut grid = Grid::new(&["phase", "version", "migration", "state", ""], look);
    for line in lines {
        let (phase, state) = (line.phase.to_owned(), line.state.to_owned());
        grid.row([phase, line.version.to_string(), line.description.clone(), state, line.detail.clone()]);
    }
    grid.to_string()
}

/// The URL to migrate: a snapshot folder has no schema.
pub(super) fn database(settings: &Settings) -> Result<&str> {
    match settings.source.as_ref() {
        Some(Location::Postgres(url)) => Ok(url),
        Some(Location::Folder(path) | Location::Archive(path)) => {
            let detail = format!("{path} is no database URL; only a database can be migrated");
            Err(Error::new(ErrorKind::Usage, "choosing a database", detail))
        }
        None => {
            Err(Error::new(ErrorKind::Usage, "choosing a database", "no --database-url is given and DATABASE_URL is not set"))
        }
    }
}
