//! The one sentence that a tired operator reads.

use std::fmt::Write;

use crate::model::outcome::{Outcome, RowCounts};
use crate::model::value::Value;

use super::text::{counted, grouped, value};

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    Drift,
    /// Nothing was compared though it was asked for.
    Empty,
}

/// What the job found, and of what: a part, or another night.
pub fn headline(outcome: &Outcome) -> (Standing, String) {
    let (standing, mut text) = found(outcome);
    let narrow = outcome.narrowing.is_narrow().then(|| outcome.narrowing.to_string());
    let parts: Vec<String> = narrow.into_iter().chain(outcome.filter.is_narrow().then(|| outcome.filter.to_string())).collect();
    if !parts.is_empty() && outcome.command != "recompute" {
        let _ = write!(text, " Only a part was compared: {}.", parts.join("; "));
    }
    if let Some(time) = outcome.replay_of {
        let _ = write!(text, " This is a replay of {} (snapshot_time).", value(&Value::Time(time)));
    }
    (standing, text)
}

/// What the job found, in one sentence.
fn found(outcome: &Outcome) -> (Standing, String) {
    let rows: u64 = outcome.tables.values().map(|table| table.rows.all()).sum();
    let within: u64 = outcome.tables.values().map(|table| table.cells.within).sum();
    let unproven: u64 = outcome.tables.values().map(|table| table.rows.unproven).sum();
    if !outcome.in_sync() {
        let mut found: Vec<_> = outcome.tables.iter().filter_map(|(name, table)| deviation(name, &table.rows)).collect();
        found.extend((unproven > 0).then(|| unproven_rows(unproven)));
        return (Standing::Drift, format!("DRIFT: {}.", found.join("; ")));
    }
    if outcome.command == "recompute" {
        return (Standing::Good, format!("Recomputed from {}.", counted(outcome.rows.values().sum(), "row")));
    }
    if outcome.tables.is_empty() {
        return (Standing::Empty, "Nothing was compared: no stored rollups were read.".to_owned());
    }
    if rows == 0 {
        return (Standing::Empty, "Nothing was compared: there is no stored and no recomputed row.".to_owned());
    }
    let within = match within {
        0 => String::new(),
        cells => format!(" ({} within tolerance, not equal to the bit)", counted(cells, "cell")),
    };
    let tables = counted(outcome.tables.len() as u64, "table");
    if unproven > 0 {
        let kept = counted(rows - unproven, "compared row");
        let unproven = unproven_rows(unproven);
        return (Standing::Good, format!("In sync: {kept} of {tables} match{within}; {unproven}."));
    }
    (Standing::Good, format!("In sync: all {} of {tables} match{within}.", counted(rows, "compared row")))
}

/// What is wrong with one table, where something is.
fn deviation(name: &str, rows: &RowCounts) -> Option<String> {
    let lone = [(rows.missing, "missing"), (rows.extra, "extra")];
    let lone: Vec<_> = lone.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{} {what}", grouped(*n))).collect();
    let lone = lone.join(", ");
    if rows.drift == 0 {
        return (!lone.is_empty()).then(|| format!("rows of {name}: {lone}"));
    }
    let stored = counted(rows.all() - rows.missing, "row");
    let verb = if rows.drift == 1 { "differs" } else { "differ" };
    let lone = if lone.is_empty() { lone } else { format!(" ({lone})") };
    Some(format!("{} of {stored} of {name} {verb}{lone}", grouped(rows.drift)))
}

/// D6
fn unproven_rows(rows: u64) -> String {
    format!("{} cannot be checked: their scores or steps are gone", counted(rows, "row"))
}
