//! What the commands that write have in common: their limits, their database, and how they say what they did.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::error::{Error, ErrorKind, Result};
use crate::model::correction::Selection;
use crate::model::job::Location;
use crate::model::writing::{Applied, Correcting, Guards, TableCounts};
use crate::pipeline;

use super::output::Look;
use super::report::{counted, elapsed, table::Grid};
use super::settings::Settings;
use super::writing::Limits;

/// Rows and cells left that are shown; JSON has all.
const LEFT_MAX: usize = 10;

/// The options of a correction, as they were typed.
pub fn options(args: &Limits, settings: &Settings, command: &'static str) -> Correcting {
    let max_fraction = args.max_fraction.unwrap_or(Guards::default().max_fraction);
    Correcting {
        selection: Selection {
            exact: args.exact,
            prune_extra: args.prune_extra,
            clear_unproven: args.clear_unproven,
            habits: args.correct_habits,
        },
        guards: Guards { max_rows: args.max_rows, max_fraction, max_abs_diff: args.max_abs_diff.clone() },
        min_age: args.min_age.unwrap_or_default(),
        validator_hotkey: settings.validator_hotkey.clone(),
        updated_at: settings.updated_at,
        pause_validator: args.beside.pause_validator,
        command,
    }
}

/// Refuses a file for `--sql` that is there already, before any work is done.
pub fn check_sql(args: &Limits) -> Result<()> {
    match args.sql.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(pipeline::sql_file_exists(path)),
        None => Ok(()),
    }
}

/// The URL of the database to write to.
pub fn database<'s>(settings: &'s Settings, hint: &str) -> Result<&'s str> {
    let refuse = |detail: String| Err(Error::new(ErrorKind::Usage, "choosing a database", detail).hint(hint));
    match settings.source.as_ref() {
        Some(Location::Postgres(url)) => Ok(url),
        Some(Location::Folder(path) | Location::Archive(path)) => {
            refuse(format!("{path} is no database URL; only a database can be corrected"))
        }
        None => refuse("no --database-url is given and DATABASE_URL is not set".to_owned()),
    }
}

/// What was done, as one object.
pub fn as_json(applied: &Applied) -> Json {
    let left = applied.left.iter().map(|left| {
        json!({
            "table": left.table,
            "key": left.key.to_string(),
            "column": left.column,
            "reason": left.reason,
        })
    });
    json!({
        "job": applied.job,
        "complete": applied.is_complete(),
        "tables": applied.tables,
        "left": left.collect::<Vec<_>>(),
        "extra": applied.extra,
        "cleared_unproven": applied.cleared,
        "done_by": applied.done_by,
        "attempts": applied.attempts,
        "notes": applied.notes,
        "elapsed_ms": applied.elapsed.as_millis() as u64,
    })
}

/// What was done, for people. `planned`: it was only written down.
pub fn as_text(applied: &Applied, planned: bool, look: Look) -> String {
    let mut text = headline(applied, planned) + "\n";
    if !applied.tables.is_empty() {
        let heads = ["table", "cells", "rows updated", "inserted", "deleted", "left", "cells left"];
        let mut grid = Grid::new(&heads, look).right([1, 2, 3, 4, 5, 6]);
        for (table, counts) in &applied.tables {
            let numbers = [counts.cells, counts.updated, counts.inserted, counts.deleted, counts.skipped, counts.skipped_cells];
            let numbers = numbers.map(|count| count.to_string());
            grid.row(std::iter::once(table.clone()).chain(numbers));
        }
        let _ = write!(text, "{grid}");
    }
    if applied.cleared > 0 {
        let _ = writeln!(
            text,
            "cleared: {} whose evidence is gone, as --clear-unproven asks",
            counted(applied.cleared, "unproven cell")
        );
    }
    text += &web_sync(applied.tables.values());
    text += &left(applied, look);
    for note in &applied.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// What the validator's web sync will see of it, in one line; empty where nobody can tell.
pub fn web_sync<'t>(tables: impl Iterator<Item = &'t TableCounts>) -> String {
    let (mut taken, mut not_taken) = (0, 0);
    for counts in tables {
        taken += counts.picked_up;
        not_taken += counts.not_picked_up;
    }
    if taken + not_taken == 0 {
        return String::new();
    }
    let others = if not_taken > 0 { format!(", and not the other {not_taken}") } else { String::new() };
    format!("web sync: by updated_at it will pick up {taken} of {}{others}\n", counted(taken + not_taken, "corrected row"))
}

fn headline(applied: &Applied, planned: bool) -> String {
    let sum = |count: fn(&TableCounts) -> u64| applied.tables.values().map(count).sum::<u64>();
    let (cells, updated) = (counted(sum(|t| t.cells), "cell"), counted(sum(|t| t.updated), "row"));
    let (inserted, deleted) = (sum(|t| t.inserted), sum(|t| t.deleted));
    let done = format!("{cells} in {updated}, {inserted} rows inserted, {deleted} deleted");
    match &applied.job {
        _ if applied.done_by.is_some() => {
            let job = applied.done_by.as_deref().unwrap_or_default();
            format!("Nothing to do: job {job} has done this already. Nothing was written.")
        }
        _ if planned => format!("Written down, not applied: {done}."),
        Some(job) => format!("Corrected {done}, in {}; job {job}. `recount undo {job}` takes it back.", elapsed(applied.elapsed)),
        None => "Nothing to correct: nothing was written.".to_owned(),
    }
}

fn left(applied: &Applied, look: Look) -> String {
    let mut text = String::new();
    if applied.extra > 0 {
        let rows = counted(applied.extra, "row");
        let _ = writeln!(text, "left: {rows} without evidence; --prune-extra deletes them");
    }
    if applied.left.is_empty() {
        return text;
    }
    let mut grid = Grid::new(&["left", "row", "column", "because"], look);
    for left in applied.left.iter().take(LEFT_MAX) {
        let column = left.column.clone().unwrap_or_default();
        grid.row([left.table.clone(), left.key.to_string(), column, left.why().to_owned()]);
    }
    let more = applied.left.len().saturating_sub(LEFT_MAX);
    let more = if more > 0 { format!(" and {more} more: see --format json\n") } else { String::new() };
    text + &grid.to_string() + &more
}
