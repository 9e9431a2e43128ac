//! The report for people: first what matters, then where, then how it was found.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::columns::Group;
use crate::model::difference::{Class, Difference};
use crate::model::filter::stored_column;
use crate::model::finding::Severity;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::rollups::{MinerStat, Rollup, SubnetStat};
use crate::model::value::Value;

use crate::cli::output::Look;

use super::headline::Standing;
use super::patterns::{Found, Pattern};
use super::table::Grid;
use super::text::{counted, elapsed, grouped, magnitude, value};

/// Patterns shown; JSON has all.
const PATTERNS_MAX: usize = 25;
/// Worst differences shown; `recount diff --out` writes all.
const WORST_MAX: usize = 10;
/// Of them in a row from one column, where others have any.
const WORST_OF_COLUMN: usize = 3;

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
pub fn render(outcome: &Outcome, found: &Found<'_>, doing: &str, look: Look) -> String {
    let mut sections = vec![headline(outcome, look) + &provenance(outcome, doing)];
    sections.extend(outcome.tables.iter().map(|(name, tally)| table(name, tally, look)));
    if !found.drift.is_empty() {
        sections.push(patterns("Drift by pattern", &found.drift, look));
        sections.push(worst(&outcome.differences, look));
    }
    if !found.unproven.is_empty() {
        sections.push(patterns("Cannot be checked: what the cells rest on is gone", &found.unproven, look));
    }
    if !outcome.findings.is_empty() {
        sections.push(findings(outcome, look));
    }
    sections.push(closing(outcome));
    sections.join("\n")
}

/// What was looked at; `doing` says what became of it.
fn provenance(outcome: &Outcome, doing: &str) -> String {
    let rows = counted(outcome.rows.values().sum(), "row");
    format!("{}: {}, as of {}, {rows} read; {doing}.\n", outcome.command, outcome.source, value(&Value::Time(outcome.taken_at)))
}

/// One rollup table: its rows by class, and its columns that drifted.
fn table(name: &str, tally: &TableTally, look: Look) -> String {
    let rows = tally.rows;
    let mut counts = vec![(rows.matching, "match"), (rows.drift, "drift"), (rows.missing, "missing"), (rows.extra, "extra")];
    if rows.unproven > 0 {
        counts.insert(2, (rows.unproven, "cannot be checked"));
    }
    let counts: Vec<_> = counts.into_iter().map(|(count, class)| format!("{} {class}", grouped(count))).collect();
    let counts = counts.join(", ");
    let mut text = format!("{}  rows: {counts}\n", look.paint(BOLD, name));
    let mut drifted: Vec<_> = tally.columns.iter().filter(|(_, column)| column.drift > 0).collect();
    if drifted.is_empty() {
        return text;
    }
    drifted.sort_by_key(|(_, column)| Reverse(column.drift));
    let mut grid = Grid::new(&["column", "drifted cells", "largest error"], look).right([1, 2]);
    for (column, tally) in drifted {
        let error = if tally.max_abs_diff > 0.0 { magnitude(tally.max_abs_diff) } else { String::new() };
        grid.row([column.clone(), grouped(tally.drift), error]);
    }
    let _ = write!(text, "{grid}");
    text
}

fn patterns(title: &str, patterns: &[Pattern<'_>], look: Look) -> String {
    let mut grid = Grid::new(&["count", "table", "column", "stored → recomputed", "for example"], look).right([0]);
    for pattern in patterns.iter().take(PATTERNS_MAX) {
        let off_by = pattern.example.delta().map(|delta| format!(" (by {})", magnitude(delta))).unwrap_or_default();
        let example = pattern.example.key.to_string() + &off_by;
        grid.row([
            grouped(pattern.count),
            short(pattern.example.table).to_owned(),
            pattern.column.to_owned(),
            pattern.shape.clone(),
            example,
        ]);
    }
    let rest = patterns.len().saturating_sub(PATTERNS_MAX) as u64;
    let rest = if rest > 0 { format!(" and {} more: see --format json\n", grouped(rest)) } else { String::new() };
    format!("{}\n{grid}{rest}", look.paint(BOLD, title))
}

/// The differences that matter most: large errors of scores, then of other numbers, whole rows, the rest.
fn worst(differences: &[Difference], look: Look) -> String {
    let mut grid = Grid::new(&["table", "column", "row", "stored", "recomputed", "error"], look).right([5]).least([5, 0]);
    for difference in worst_first(differences).into_iter().take(WORST_MAX) {
        let (stored, recomputed) = match difference.class {
            Class::Missing => ("no row".to_owned(), "a row".to_owned()),
            Class::Extra => ("a row".to_owned(), "no evidence".to_owned()),
            _ => (value(&difference.stored), value(&difference.recomputed)),
        };
        grid.row([
            short(difference.table).to_owned(),
            difference.column.clone().unwrap_or_else(|| format!("({})", difference.class.name())),
            difference.key.to_string(),
            stored,
            recomputed,
            difference.delta().map(magnitude).unwrap_or_default(),
        ]);
    }
    format!("{}\n{grid}", look.paint(BOLD, "Worst differences"))
}

/// Large errors first, a few of each column at a time, so that one column does not hide the others.
fn worst_first(differences: &[Difference]) -> Vec<&Difference> {
    let by_size = |((a, small), _): &((u8, f64), _), ((b, large), _): &((u8, f64), _)| a.cmp(b).then(large.total_cmp(small));
    let drifted = differences.iter().filter(|difference| difference.class != Class::Unproven);
    let mut ranked: Vec<_> = drifted.map(|difference| (rank(difference), difference)).collect();
    ranked.sort_by(by_size);
    let mut seen = BTreeMap::new();
    let mut rounds: Vec<_> = ranked
        .into_iter()
        .map(|((class, _), difference)| {
            let seen = seen.entry((difference.table, &difference.column)).or_insert(0_usize);
            *seen += 1;
            (class, (*seen - 1) / WORST_OF_COLUMN, difference)
        })
        .collect();
    rounds.sort_by_key(|(class, round, _)| (*class, *round));
    rounds.into_iter().map(|(_, _, difference)| difference).collect()
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

/// Rollup tables by one word, where room is scarce.
fn short(table: &str) -> &str {
    match table {
        MinerStat::TABLE => "miner",
        SubnetStat::TABLE => "subnet",
        _ => "forecast",
    }
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
