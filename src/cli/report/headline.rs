//! The one sentence that a tired operator reads: whether it matters, then what differs, worst first.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::model::difference::{Class, Difference};
use crate::model::outcome::Outcome;
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::value::Value;

use super::impact::{WEIGHTED, changes};
use super::text::{counted, grouped, value};
use super::why::Topic;

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
    let accepted_rows: u64 = outcome.tables.values().map(|table| table.rows.accepted).sum();
    let unproven: u64 = outcome.tables.values().map(|table| table.rows.unproven).sum();
    let habits: u64 = outcome.tables.values().map(|table| table.cells.habit).sum();
    let habits = (habits > 0).then(|| format!("{} as the validator stores them by habit", counted(habits, "cell")));
    let accepted: u64 = outcome.baseline.as_ref().map_or(0, |baselined| baselined.accepted.len() as u64);
    let accepted = (accepted > 0).then(|| format!("{} accepted by the baseline", counted(accepted, "difference")));
    let apart: Vec<String> = habits.into_iter().chain(accepted).collect();
    if !outcome.in_sync() {
        let mut groups = groups(&outcome.differences);
        groups.extend(apart);
        groups.extend((unproven > 0).then(|| unproven_rows(unproven)));
        return (Standing::Drift, format!("{}{}.", weights(outcome), groups.join("; ")));
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
    if unproven > 0 || !apart.is_empty() {
        let kept = counted(rows - unproven - accepted_rows, "compared row");
        let besides: Vec<String> = apart.into_iter().chain((unproven > 0).then(|| unproven_rows(unproven))).collect();
        return (Standing::Good, format!("In sync: {kept} of {tables} match{within}; {}.", besides.join("; ")));
    }
    (Standing::Good, format!("In sync: all {} of {tables} match{within}.", counted(rows, "compared row")))
}

/// Whether the scores that weights are set from are right.
fn weights(outcome: &Outcome) -> String {
    let table = outcome.tables.get(ForecastStat::TABLE);
    let Some((table, column)) = table.and_then(|table| Some((table, table.columns.get(WEIGHTED)?))) else {
        return "DRIFT: ".to_owned();
    };
    let (rows, lone) = (table.rows.all(), table.rows.missing + table.rows.extra);
    let lone_rows =
        || format!("{} missing or extra", if lone == 1 { "1 row is".to_owned() } else { format!("{} rows are", grouped(lone)) });
    let rows_in_all = counted(rows, "row");
    match (column.drift, lone) {
        (0, 0) => {}
        (0, _) => return format!("DRIFT that reaches weights: of {rows_in_all} with {WEIGHTED} {}. ", lone_rows()),
        (wrong, lone) => {
            let lone = if lone > 0 { format!(", {}", lone_rows()) } else { String::new() };
            return format!("DRIFT that reaches weights: {WEIGHTED} is wrong in {} of {rows_in_all}{lone}. ", grouped(wrong));
        }
    }
    let checked = rows - column.unproven;
    format!("DRIFT, but not where weights are set from: {WEIGHTED} is right in all {}. ", counted(checked, "row"))
}

/// What differs by group, worst first, without what only follows from it.
fn groups(differences: &[Difference]) -> Vec<String> {
    let wrong: Vec<&Difference> = differences.iter().filter(|difference| difference.is_wrong()).collect();
    let of = |topic: Topic| wrong.iter().copied().filter(move |difference| Topic::of(difference) == topic);
    let mut groups: Vec<String> = Topic::ALL
        .into_iter()
        .filter_map(|topic| {
            let roots: Vec<&Difference> = of(topic).filter(|difference| !difference.follows()).collect();
            (!roots.is_empty()).then(|| group(topic, &roots, differences))
        })
        .collect();
    let follow = wrong.iter().filter(|difference| difference.follows()).count() as u64;
    groups.extend((follow > 0).then(|| match follow {
        1 => "1 cell follows from these".to_owned(),
        cells => format!("{} cells follow from these", grouped(cells)),
    }));
    groups
}

fn group(topic: Topic, roots: &[&Difference], differences: &[Difference]) -> String {
    let rows: BTreeSet<_> = roots.iter().map(|difference| (difference.table, &difference.key)).collect();
    match topic {
        Topic::Rows => {
            let count = |class| roots.iter().filter(|difference| difference.class == class).count() as u64;
            let lone = [(count(Class::Missing), "missing"), (count(Class::Extra), "extra")];
            let lone = lone.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", grouped(count)));
            format!("rows: {}", lone.collect::<Vec<_>>().join(", "))
        }
        Topic::Scores => {
            let (cells, rows) = (counted(roots.len() as u64, "cell"), counted(rows.len() as u64, "row"));
            format!("scores: {cells} wrong in {rows}{}", ranks_changed(differences))
        }
        other => format!("{}: {}", other.name(), grouped(roots.len() as u64)),
    }
}

/// Miners that are in another place, where that follows from a wrong score.
fn ranks_changed(differences: &[Difference]) -> String {
    let moved: Vec<_> =
        changes(differences).into_iter().filter(|change| change.rank.is_some() && change.score.is_some()).collect();
    let runs: BTreeSet<_> = moved.iter().map(|change| change.forecast_run_id).collect();
    let verb = if moved.len() == 1 { "changes" } else { "change" };
    let miners = counted(moved.len() as u64, "miner");
    match (moved.first(), runs.len()) {
        (None, _) => String::new(),
        (Some(one), 1) => match one.run {
            Some(run) => format!(" ({miners} {verb} rank in run {run})"),
            None => format!(" ({miners} {verb} rank)"),
        },
        (Some(_), runs) => format!(" ({miners} {verb} rank in {runs} runs)"),
    }
}

/// D6
fn unproven_rows(rows: u64) -> String {
    format!("{} cannot be checked: their scores or steps are gone", counted(rows, "row"))
}
