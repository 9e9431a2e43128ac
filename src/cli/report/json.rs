//! The report for programs: one object, whose form is a contract (`version`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::model::difference::{Difference, RowKey};
use crate::model::outcome::{ColumnTally, Outcome, TableTally};
use crate::model::time::Micros;

use super::patterns::{Found, Pattern};

/// Raised when a field changes its meaning or goes away.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    command: &'a str,
    source: &'a str,
    snapshot: Snapshot<'a>,
    digest: &'a str,
    tables: BTreeMap<&'a str, Table<'a>>,
    findings: BTreeMap<&'a str, u64>,
    #[serde(serialize_with = "in_order")]
    elapsed_ms: &'a [(&'static str, Duration)],
    patterns: Vec<PatternLine<'a>>,
    unproven: Vec<PatternLine<'a>>,
    /// Null where everything was compared.
    compared: Option<Compared>,
    replay_of: Option<String>,
    notes: &'a [String],
    /// Of a job that corrects, beside what it found.
    #[serde(flatten)]
    corrected: Option<Corrected>,
}

/// Which part was compared, in words.
#[derive(Serialize)]
struct Compared {
    rows: Option<String>,
    columns: Option<String>,
}

/// What a job did about what it found.
#[derive(Serialize)]
pub struct Corrected {
    /// It was only written down.
    pub planned: bool,
    pub corrections: Json,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    taken_at: String,
    rows: &'a BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Table<'a> {
    rows: Rows,
    cells: Cells,
    columns: BTreeMap<&'a str, Column>,
}

#[derive(Serialize)]
struct Rows {
    #[serde(rename = "match")]
    matching: u64,
    drift: u64,
    unproven: u64,
    missing: u64,
    extra: u64,
}

#[derive(Serialize)]
struct Cells {
    equal: u64,
    within: u64,
    drift: u64,
    unproven: u64,
}

#[derive(Serialize)]
struct Column {
    drift: u64,
    unproven: u64,
    max_abs_diff: f64,
}

#[derive(Serialize)]
struct PatternLine<'a> {
    table: &'a str,
    column: &'a str,
    pattern: &'a str,
    count: u64,
    example: Example<'a>,
}

#[derive(Serialize)]
struct Example<'a> {
    key: Key<'a>,
    column: Option<&'a str>,
    stored: Json,
    recomputed: Json,
}

/// The parts of a key that a table has.
#[derive(Serialize)]
struct Key<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    miner_uid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast_run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<i32>,
}

/// The object, ending in a line feed.
pub fn render(outcome: &Outcome, found: &Found<'_>, corrected: Option<Corrected>) -> serde_json::Result<String> {
    let (narrowing, filter) = (&outcome.narrowing, &outcome.filter);
    let rows = narrowing.is_narrow().then(|| narrowing.to_string());
    let columns = filter.is_narrow().then(|| filter.to_string());
    let report = Report {
        version: VERSION,
        command: outcome.command,
        source: &outcome.source,
        snapshot: Snapshot { taken_at: outcome.taken_at.iso(), rows: &outcome.rows },
        digest: &outcome.digest,
        tables: outcome.tables.iter().map(|(name, tally)| (*name, tally.into())).collect(),
        findings: outcome.findings.iter().map(|(code, count)| (code.name(), *count)).collect(),
        elapsed_ms: &outcome.elapsed,
        patterns: found.drift.iter().map(PatternLine::from).collect(),
        unproven: found.unproven.iter().map(PatternLine::from).collect(),
        compared: (rows.is_some() || columns.is_some()).then_some(Compared { rows, columns }),
        replay_of: outcome.replay_of.map(Micros::iso),
        notes: &outcome.notes,
        corrected,
    };
    serde_json::to_string_pretty(&report).map(|text| text + "\n")
}

impl<'a> From<&'a TableTally> for Table<'a> {
    fn from(tally: &'a TableTally) -> Self {
        let (rows, cells) = (tally.rows, tally.cells);
        Table {
            rows: Rows {
                matching: rows.matching,
                drift: rows.drift,
                unproven: rows.unproven,
                missing: rows.missing,
                extra: rows.extra,
            },
            cells: Cells { equal: cells.equal, within: cells.within, drift: cells.drift, unproven: cells.unproven },
            columns: tally.columns.iter().map(|(name, column)| (name.as_str(), column.into())).collect(),
        }
    }
}

impl From<&ColumnTally> for Column {
    fn from(column: &ColumnTally) -> Self {
        Column { drift: column.drift, unproven: column.unproven, max_abs_diff: column.max_abs_diff }
    }
}

impl<'a> From<&'a Pattern<'_>> for PatternLine<'a> {
    fn from(pattern: &'a Pattern<'_>) -> Self {
        let example = pattern.example.into();
        PatternLine {
            table: pattern.example.table,
            column: pattern.column,
            pattern: &pattern.shape,
            count: pattern.count,
            example,
        }
    }
}

impl<'a> From<&'a Difference> for Example<'a> {
    fn from(difference: &'a Difference) -> Self {
        Example {
            key: (&difference.key).into(),
            column: difference.column.as_deref(),
            stored: difference.stored.to_json(),
            recomputed: difference.recomputed.to_json(),
        }
    }
}

impl<'a> From<&'a RowKey> for Key<'a> {
    fn from(key: &'a RowKey) -> Self {
        Key {
            miner_uid: key.miner_uid,
            forecast_run_id: key.forecast_run_id.as_deref(),
            scope: key.scope.as_deref(),
            run_id: key.run_id,
        }
    }
}

/// Stages in the order they ran in.
fn in_order<S: Serializer>(elapsed: &&[(&'static str, Duration)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(elapsed.iter().map(|(stage, time)| (*stage, u64::try_from(time.as_millis()).unwrap_or(u64::MAX))))
}
