//! The report as a page: one file, no network, readable without a script; a little script sorts and filters tables.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value as Json;

use crate::cli::config::plain;
use crate::model::baseline::Accepted;
use crate::model::cause::Cause;
use crate::model::difference::{Class, Difference};
use crate::model::finding::Severity;
use crate::model::outcome::Outcome;
use crate::model::rollups::{ForecastStat, Rollup};

use super::headline::{Standing, headline};
use super::impact::{HEADS, WEIGHTED, cells, changes, of_score_table};
use super::patterns::{Pattern, Patterns};
use super::terminal::worst_first;
use super::text::{elapsed, grouped, off_by, value};
use super::{Report, why};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Rows of a table on the page; the JSON report has more.
const ROWS_MAX: usize = 300;
const SHORT_CHARS: usize = 24;
/// Cells of the heat map: more make no picture, and no small file.
const HEAT_MAX: usize = 40_000;

/// The whole page.
pub fn render(report: &Report<'_>) -> String {
    let outcome = report.outcome;
    let (standing, line) = headline(outcome);
    let class = match standing {
        Standing::Good => "good",
        Standing::Drift => "bad",
        Standing::Empty => "empty",
    };
    let found = Patterns::of(&outcome.differences);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "recount " (outcome.command) ", " (outcome.taken_at.iso()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 class=(class) { (line) }
                    @if let Some(why) = &report.refused { p class="bad" { "Refused: " (why) ". Nothing was written." } }
                    p { (outcome.command) " of " code { (outcome.source) } ", as of " time { (outcome.taken_at.iso()) } ", "
                        (grouped(outcome.rows.values().sum())) " rows read." }
                }
                main {
                    @if !found.drift.is_empty() {
                        (reasons(&outcome.differences))
                        (impact(outcome))
                        (worst(&outcome.differences))
                        (heat(&outcome.differences))
                    }
                    @if let Some(told) = of_score_table(outcome.weighed.as_ref(), true) { p { (told) "." } }
                    (tables(report))
                    (patterns("Differences by pattern", &found.drift))
                    (patterns("As the validator stores it by habit", &found.habits))
                    (patterns("Cannot be checked: what the cells rest on is gone", &found.unproven))
                    (accepted(outcome))
                    (findings(report))
                    (settings(report))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A section with a table that can be sorted and filtered.
fn section(title: &str, heads: &[&str], rows: Vec<Vec<String>>) -> Markup {
    let count = rows.len();
    html! {
        section {
            h2 { (title) }
            div class="scroll" {
                table {
                    thead { tr { @for head in heads { th scope="col" { (head) } } } }
                    tbody {
                        @for row in rows.into_iter().take(ROWS_MAX) {
                            tr { @for cell in row { td class=[class(&cell)] { (cell) } } }
                        }
                    }
                }
            }
            @if count > ROWS_MAX { p { "The first " (ROWS_MAX) " of " (grouped(count as u64)) "; the JSON report has more." } }
        }
    }
}

/// Numbers stand to the right, and what is short is not wrapped.
fn class(cell: &str) -> Option<&'static str> {
    match cell {
        number if is_number(number) => Some("number"),
        short if short.chars().count() <= SHORT_CHARS => Some("short"),
        _ => None,
    }
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') && cell.chars().all(|c| c.is_ascii_digit() || "-.,e".contains(c))
}

fn reasons(differences: &[Difference]) -> Markup {
    let rows = why::reasons(differences).into_iter().map(|reason| {
        let follows = if reason.follows { "follows" } else { "root" };
        vec![reason.topic.name().to_owned(), follows.to_owned(), grouped(reason.cells), reason.listed()]
    });
    section("What differs and why", &["group", "root or consequence", "cells", "why, and in which columns"], rows.collect())
}

fn impact(outcome: &Outcome) -> Markup {
    let weighed = outcome.weighed.as_ref();
    let rows: Vec<_> = changes(&outcome.differences).iter().map(|change| cells(change, weighed).to_vec()).collect();
    if rows.is_empty() {
        return html! { section { h2 { "Miners whose score or rank changes" } p { "None: no " code { (WEIGHTED) } " and no rank of a score is wrong." } } };
    }
    section("Miners whose score or rank changes", &HEADS, rows)
}

fn worst(differences: &[Difference]) -> Markup {
    let rows = worst_first(differences).into_iter().map(|difference| {
        let (stored, right) = match difference.class {
            Class::Missing => ("no row".to_owned(), "a row".to_owned()),
            Class::Extra => ("a row".to_owned(), "no evidence".to_owned()),
            _ => (value(&difference.stored), value(&difference.recomputed)),
        };
        let cause = difference.cause.filter(|cause| *cause != Cause::Unexplained);
        let why = cause.map_or_else(|| why::why(difference).to_owned(), |cause| cause.to_string());
        let column = difference.column.clone().unwrap_or_default();
        vec![difference.table.to_owned(), column, difference.key.to_string(), stored, right, off_by(difference), why]
    });
    let heads = ["table", "column", "row", "stored", "recomputed", "off by", "why"];
    section("The worst of each column", &heads, rows.collect())
}

/// Wrong cells by run and miner: roots darker than what follows.
fn heat(differences: &[Difference]) -> Markup {
    let mut cells: BTreeMap<(&str, i32), (u64, u64)> = BTreeMap::new();
    for difference in differences.iter().filter(|found| found.is_wrong() && found.table == ForecastStat::TABLE) {
        if let (Some(run), Some(miner)) = (&difference.key.forecast_run_id, difference.key.miner_uid) {
            let (roots, follows) = cells.entry((run, miner)).or_default();
            *(if difference.follows() { follows } else { roots }) += 1;
        }
    }
    let runs: Vec<&str> = dedup(cells.keys().map(|(run, _)| *run));
    let miners: Vec<i32> = dedup(cells.keys().map(|(_, miner)| *miner));
    if cells.is_empty() || runs.len() * miners.len() > HEAT_MAX {
        return html! {};
    }
    const SIDE: usize = 12;
    let at = |list: usize| list * SIDE;
    let title = format!("Wrong cells of {} by run (down) and miner (across)", ForecastStat::TABLE);
    html! {
        section {
            h2 { (title) }
            div class="scroll" {
                svg role="img" aria-label=(title) width=(at(miners.len())) height=(at(runs.len()))
                    viewBox=(format!("0 0 {} {}", at(miners.len()), at(runs.len()))) {
                    @for ((run, miner), (roots, follows)) in &cells {
                        @let x = at(miners.binary_search(miner).unwrap_or_default());
                        @let y = at(runs.binary_search(run).unwrap_or_default());
                        rect x=(x) y=(y) width=(SIDE - 1) height=(SIDE - 1) class=(shade(*roots)) {
                            title { (run) ", miner " (miner) ": " (roots) " wrong, " (follows) " follow" }
                        }
                    }
                }
            }
            p { "Darker: more cells that are wrong in themselves. Lightest: only cells that follow from others. Point at a field for its run and miner." }
        }
    }
}

fn dedup<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn shade(roots: u64) -> &'static str {
    match roots {
        0 => "h0",
        1 => "h1",
        2..=3 => "h2",
        4..=7 => "h3",
        _ => "h4",
    }
}

fn tables(report: &Report<'_>) -> Markup {
    let rows = report.outcome.tables.iter().map(|(name, tally)| {
        let rows = tally.rows;
        let counts = [rows.matching, rows.drift, rows.habit, rows.accepted, rows.unproven, rows.missing, rows.extra].map(grouped);
        std::iter::once((*name).to_owned()).chain(counts).collect()
    });
    let heads = ["table", "match", "drift", "habit", "accepted", "cannot be checked", "missing", "extra"];
    section("Rows by class", &heads, rows.collect())
}

fn patterns(title: &str, patterns: &[Pattern<'_>]) -> Markup {
    if patterns.is_empty() {
        return html! {};
    }
    let row = |pattern: &Pattern<'_>| {
        let example = pattern.example;
        let (column, shape) = (pattern.column.to_owned(), pattern.shape.clone());
        vec![grouped(pattern.count), example.table.to_owned(), column, shape, pattern.why.to_owned(), example.key.to_string()]
    };
    let heads = ["cells", "table", "column", "stored → recomputed", "why", "for example"];
    section(title, &heads, patterns.iter().map(row).collect())
}

/// What a baseline accepts, with what is recomputed.
fn accepted(outcome: &Outcome) -> Markup {
    let Some(baselined) = &outcome.baseline else { return html! {} };
    let row = |found: &Difference| {
        let column = found.column.clone().unwrap_or_else(|| found.class.name().to_owned());
        vec![found.table.to_owned(), column, found.key.to_string(), value(&found.stored), value(&found.recomputed)]
    };
    let gone = |entry: &Accepted| {
        let column = entry.column.clone().unwrap_or_else(|| entry.class.name().to_owned());
        vec![entry.table.to_owned(), column, entry.key.to_string(), entry.stored.clone()]
    };
    let heads = ["table", "column", "row", "stored", "recomputed"];
    let lost = baselined.gone.as_deref().unwrap_or_default();
    html! {
        details { summary { "Accepted by the baseline " code { (baselined.name) } }
            (section("Accepted as stored", &heads, baselined.accepted.iter().map(row).collect()))
            @if !lost.is_empty() { (section("Gone from it", &heads[..4], lost.iter().map(gone).collect())) }
        }
    }
}

fn findings(report: &Report<'_>) -> Markup {
    let outcome = report.outcome;
    if outcome.findings.is_empty() {
        return html! {};
    }
    let mut rows = Vec::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        for (code, count) in outcome.findings.iter().filter(|(code, _)| code.severity() == severity) {
            rows.push(vec![grouped(*count), severity.name().to_owned(), code.name().to_owned()]);
        }
    }
    let id = |id: Option<i64>| id.map_or(String::new(), |id| id.to_string());
    let listed = outcome.finding_rows.iter().map(|found| {
        let run = found.run.map(|run| run.0.into());
        let (miner, lead) = (found.miner.map(|miner| miner.0.into()), found.lead.map(|lead| lead.0.into()));
        let code = found.code.name().to_owned();
        vec![code, id(run), id(miner), id(lead), found.table.to_owned(), id(found.row_id), found.detail.clone()]
    });
    let heads = ["code", "run", "miner", "lead", "table", "row", "detail"];
    html! {
        (section("Findings in the evidence", &["count", "severity", "finding"], rows))
        details { summary { "The first findings of each code" } (section("Findings", &heads, listed.collect())) }
    }
}

fn settings(report: &Report<'_>) -> Markup {
    let outcome = report.outcome;
    let settings = report.settings.as_object().into_iter().flatten();
    let shown = |(name, value): (&String, &Json)| vec![name.clone(), plain(value)];
    let stages: Vec<_> = outcome.elapsed.iter().map(|(stage, time)| format!("{stage} {}", elapsed(*time))).collect();
    html! {
        details { summary { "Settings, times, digest" }
            (section("What the rules took", &["setting", "value"], settings.map(shown).collect()))
            p { "Time: " (stages.join(", ")) }
            p { "Digest: " code { (outcome.digest) } }
            p { "recount " (env!("CARGO_PKG_VERSION")) }
        }
        @for note in &outcome.notes { p class="note" { "Note: " (note) } }
    }
}
