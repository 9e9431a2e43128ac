//! The report for people: first what matters, then where, then how it was found.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::model::baseline::Baselined;
use crate::model::cause::Cause;
use crate::model::columns::Group;
use crate::model::difference::{Class, Difference, RowKey};
use crate::model::filter::{STORED_TABLES, stored_column};
use crate::model::finding::Severity;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::shape;
use crate::model::value::Value;

use crate::cli::output::Look;

use super::headline::Standing;
use super::impact::{HEADS, cells, changes, of_score_table};
use super::patterns::{Pattern, Patterns};
use super::table::Grid;
use super::text::{counted, elapsed, grouped, off_by, value};
use super::why;
use super::why::Topic;

/// Patterns shown; JSON has all.
const PATTERNS_MAX: usize = 25;
/// Worst differences shown; `recount diff --out` writes all.
const WORST_MAX: usize = 12;
/// Rows shown whose score or rank changes; JSON has all.
const IMPACT_MAX: usize = 10;

/// Entries of a baseline that are gone and shown; JSON has more.
const GONE_MAX: usize = 10;

const BOLD: &str = "1";
const RED: &str = "1;31";
const GREEN: &str = "1;32";
const YELLOW: &str = "1;33";

/// The headline alone.
pub fn headline(outcome: &Outcome, look: Look) -> String {
    let (standing, text) = super::headline::headline(outcome);
    let style = match standing {
        Standing::Good => GREEN,
        Standing::Drift => RED,
        Standing::Empty => YELLOW,
    };
    format!("{}\n", look.paint(style, &text))
}

/// The whole report.
pub fn render(outcome: &Outcome, found: &Patterns<'_>, doing: &str, look: Look) -> String {
    let mut sections = vec![headline(outcome, look) + &provenance(outcome, doing)];
    if !found.drift.is_empty() {
        sections.push(reasons(&outcome.differences, look));
    }
    sections.push(outcome.tables.iter().map(|(name, tally)| table(name, tally, look)).collect());
    sections.extend(impact(outcome, look));
    if !found.drift.is_empty() {
        sections.push(worst(&outcome.differences, look));
        sections.push(patterns("By pattern", &found.drift, look));
    }
    if !found.habits.is_empty() {
        sections.push(patterns("By habit of the validator", &found.habits, look));
    }
    if !found.unproven.is_empty() {
        sections.push(patterns("Cannot be checked: what the cells rest on is gone", &found.unproven, look));
    }
    sections.extend(outcome.baseline.as_ref().map(|baselined| against(baselined, look)));
    if !outcome.findings.is_empty() {
        sections.push(findings(outcome, look));
    }
    sections.extend(next_steps(outcome, look));
    sections.push(closing(outcome));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// What was looked at; `doing` says what became of it.
fn provenance(outcome: &Outcome, doing: &str) -> String {
    let rows = counted(outcome.rows.values().sum(), "row");
    format!("{}: {}, as of {}, {rows} read; {doing}.\n", outcome.command, outcome.source, value(&Value::Time(outcome.taken_at)))
}

/// What differs and why: by group of columns, and then what only follows from that.
fn reasons(differences: &[Difference], look: Look) -> String {
    let mut grid = Grid::new(&["differs", "cells", "why, and in which columns"], look).right([1]);
    let reasons = why::reasons(differences);
    for topic in Topic::ALL {
        let roots: Vec<_> = reasons.iter().filter(|reason| reason.topic == topic && !reason.follows).collect();
        if !roots.is_empty() {
            let cells = roots.iter().map(|reason| reason.cells).sum();
            let listed: Vec<String> = roots.iter().map(|reason| reason.listed()).collect();
            grid.row([topic.name().to_owned(), grouped(cells), listed.join("; ")]);
        }
    }
    let follow: Vec<_> = reasons.iter().filter(|reason| reason.follows).collect();
    if !follow.is_empty() {
        let cells = follow.iter().map(|reason| reason.cells).sum();
        let groups: Vec<String> =
            follow.iter().map(|reason| format!("{} {}", reason.topic.name(), grouped(reason.cells))).collect();
        let text = format!("from these: {}", groups.join(", "));
        grid.row(["(follow)".to_owned(), grouped(cells), text]);
    }
    grid.to_string()
}

/// One rollup table: its rows by class.
fn table(name: &str, tally: &TableTally, look: Look) -> String {
    let rows = tally.rows;
    let mut counts = vec![(rows.matching, "match"), (rows.drift, "drift"), (rows.missing, "missing"), (rows.extra, "extra")];
    if rows.unproven > 0 {
        counts.insert(2, (rows.unproven, "cannot be checked"));
    }
    if rows.accepted > 0 {
        counts.insert(2, (rows.accepted, "accepted"));
    }
    if rows.habit > 0 {
        counts.insert(2, (rows.habit, "only by habit"));
    }
    let counts: Vec<_> = counts.into_iter().map(|(count, class)| format!("{} {class}", grouped(count))).collect();
    format!("{}  rows: {}\n", look.paint(BOLD, name), counts.join(", "))
}

/// Whose score or rank changes, the greatest change first.
fn impact(outcome: &Outcome, look: Look) -> Option<String> {
    let changes = changes(&outcome.differences);
    let newest = outcome.weighed.as_ref().filter(|weighed| weighed.newest.is_ok());
    // Where it is not known which rows are the newest, the last column is left out.
    let shown = if newest.is_some() { HEADS.len() } else { HEADS.len() - 1 };
    let mut grid = Grid::new(&HEADS[..shown], look).right([0, 1, 3]).least([3]);
    for change in changes.iter().take(IMPACT_MAX) {
        grid.row(cells(change, newest).into_iter().take(shown));
    }
    let rest = changes.len().saturating_sub(IMPACT_MAX) as u64;
    let rest = if rest > 0 { format!(" and {} more: see --format json\n", grouped(rest)) } else { String::new() };
    let title = look.paint(BOLD, "Miners whose score or rank changes");
    let table = if changes.is_empty() { String::new() } else { format!("{title}\n{grid}{rest}") };
    let weights = of_score_table(outcome.weighed.as_ref(), !changes.is_empty()).map(|told| format!("{told}.\n"));
    Some(table + &weights.unwrap_or_default()).filter(|text| !text.is_empty())
}

/// Patterns by table, so that names stand in full where the window is narrow.
fn patterns(title: &str, patterns: &[Pattern<'_>], look: Look) -> String {
    let mut text = String::new();
    let shown = &patterns[..patterns.len().min(PATTERNS_MAX)];
    for name in STORED_TABLES.map(|(name, _)| name) {
        let mut grid = Grid::new(&["cells", "column", "stored → recomputed", "for example"], look).right([0]).least([3]);
        let of_table: Vec<_> = shown.iter().filter(|pattern| pattern.example.table == name).collect();
        for pattern in &of_table {
            let off_by = Some(off_by(pattern.example)).filter(|text| !text.is_empty());
            let example = pattern.example.key.to_string() + &off_by.map(|text| format!(" ({text})")).unwrap_or_default();
            grid.row([grouped(pattern.count), pattern.column.to_owned(), pattern.shape.clone(), example]);
        }
        if !of_table.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = write!(text, "{gap}{}\n{grid}", look.paint(BOLD, &format!("{title}: {name}")));
        }
    }
    let rest = patterns.len().saturating_sub(PATTERNS_MAX) as u64;
    let rest = if rest > 0 { format!(" and {} more: see --format json\n", grouped(rest)) } else { String::new() };
    text + &rest
}

/// The worst root of each column: large errors of scores, then of other numbers, whole rows, the rest.
fn worst(differences: &[Difference], look: Look) -> String {
    let mut grid = Grid::new(&["column", "row", "stored → recomputed", "why"], look).least([3]);
    for difference in worst_first(differences).into_iter().take(WORST_MAX) {
        let (stored, recomputed) = match difference.class {
            Class::Missing => ("no row".to_owned(), "a row".to_owned()),
            Class::Extra => ("a row".to_owned(), "no evidence".to_owned()),
            _ => (value(&difference.stored), value(&difference.recomputed)),
        };
        let column = difference.column.clone().unwrap_or_else(|| difference.table.to_owned());
        let why = difference.cause.filter(|cause| *cause != Cause::Unexplained);
        let why = why.map_or_else(|| why::why(difference).to_owned(), |cause| cause.to_string());
        let off_by = off_by(difference);
        let why = if off_by.is_empty() { why } else { format!("{why} ({off_by})") };
        grid.row([column, difference.key.to_string(), format!("{stored} → {recomputed}"), why]);
    }
    format!("{}\n{grid}", look.paint(BOLD, "The worst of each column"))
}

/// Of each column and class the worst root, large errors first.
pub fn worst_first(differences: &[Difference]) -> Vec<&Difference> {
    let by_size = |((a, small), _): &((u8, f64), _), ((b, large), _): &((u8, f64), _)| a.cmp(b).then(large.total_cmp(small));
    let roots = differences.iter().filter(|difference| difference.is_wrong() && !difference.follows());
    let mut ranked: Vec<_> = roots.map(|difference| (rank(difference), difference)).collect();
    ranked.sort_by(by_size);
    let mut seen = BTreeSet::new();
    let mut worst: Vec<&Difference> = ranked.into_iter().map(|(_, difference)| difference).collect();
    worst.retain(|difference| seen.insert((difference.table, shape::column(difference), difference.class)));
    worst
}

/// Class, then size within it. Scores are all of one size, so their errors compare; other numbers by their relative error.
fn rank(difference: &Difference) -> (u8, f64) {
    let Some(delta) = difference.delta().map(f64::abs) else {
        return (if difference.column.is_none() { 2 } else { 3 }, 0.0);
    };
    let column = difference.column.as_deref().and_then(|name| stored_column(difference.table, name));
    match column {
        Some(column) if column.group == Group::Scores => (0, delta),
        _ => (1, delta / size(&difference.stored).max(size(&difference.recomputed)).max(f64::MIN_POSITIVE)),
    }
}

fn size(value: &Value<'_>) -> f64 {
    match value {
        Value::Float(x) => x.abs(),
        Value::Int(x) => (*x as f64).abs(),
        _ => 0.0,
    }
}

/// What the baseline accepts, and what of it is no more.
fn against(baselined: &Baselined, look: Look) -> String {
    let title = look.paint(BOLD, &format!("Baseline {}", baselined.name));
    let mut text = format!("{title}\n {} accepted as stored\n", counted(baselined.accepted.len() as u64, "difference"));
    let gone = baselined.gone.as_deref().unwrap_or_default();
    for entry in gone.iter().take(GONE_MAX) {
        let what = entry.column.as_deref().unwrap_or(entry.table);
        let _ = writeln!(text, " gone: {}, {}", what, entry.key);
    }
    let rest = gone.len().saturating_sub(GONE_MAX) as u64;
    if rest > 0 {
        let _ = writeln!(text, " and {} more are gone: see --format json", grouped(rest));
    }
    if !gone.is_empty() {
        text += " `recount baseline write` leaves out what is gone\n";
    }
    text
}

fn findings(outcome: &Outcome, look: Look) -> String {
    let mut grid = Grid::new(&["count", "severity", "finding"], look).right([0]);
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        for (code, count) in outcome.findings.iter().filter(|(code, _)| code.severity() == severity) {
            grid.row([grouped(*count), severity.name().to_owned(), code.name().to_owned()]);
        }
    }
    format!("{}\n{grid}", look.paint(BOLD, "Findings in the evidence"))
}

/// What to do about it, as commands.
fn next_steps(outcome: &Outcome, look: Look) -> Option<String> {
    let source = &outcome.source;
    let mut steps = Vec::new();
    let explained = worst_first(&outcome.differences)
        .into_iter()
        .find(|found| found.table == ForecastStat::TABLE && found.class == Class::Drift);
    if let Some(Difference { key: RowKey { run_id: Some(run), miner_uid: Some(miner), .. }, column: Some(column), .. }) =
        explained
    {
        steps.push((format!("recount explain {source} --run {run} --miner {miner} --column {column}"), "why it is what it is"));
    }
    if !outcome.in_sync() && outcome.command == "reconcile" && source.starts_with("postgres") {
        steps.push((format!("recount reconcile {source} --apply"), "correct all of it; `recount undo` takes it back"));
    }
    let mut text = look.paint(BOLD, "What to do") + "\n";
    for (command, what) in &steps {
        let _ = writeln!(text, " {command}\n   {what}");
    }
    (!steps.is_empty()).then_some(text)
}

fn closing(outcome: &Outcome) -> String {
    let mut text = String::new();
    for note in &outcome.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let stages: Vec<_> = outcome.elapsed.iter().map(|(stage, time)| format!("{stage} {}", elapsed(*time))).collect();
    let _ = writeln!(text, "time: {}", stages.join(", "));
    let _ = writeln!(text, "digest: {}", outcome.digest);
    text
}
