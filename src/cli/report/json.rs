//! The report for programs: one object, whose form is a contract (`version`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::model::baseline::{Accepted, Baselined};
use crate::model::cause::Cause;
use crate::model::difference::{Difference, RowKey};
use crate::model::finding::Finding;
use crate::model::outcome::{ColumnTally, FINDINGS_KEPT, Outcome, TableTally};
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::model::weighing::{Off, Weighed};

use super::impact::{self, changes};
use super::patterns::{Pattern, Patterns};
use super::terminal::worst_first;
use super::why::{self, Topic};

/// Raised when a field changes its meaning or goes away.
const VERSION: u32 = 2;
/// Differences and rows that are listed; `recount diff --out` writes all.
const LISTED_MAX: usize = 500;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "The report of recount reconcile, diff and recompute"))]
pub struct Report<'a> {
    version: u32,
    /// The version of the program.
    recount: &'a str,
    /// What a person reads first.
    headline: String,
    in_sync: bool,
    /// Why a guard stopped the corrections; null where none did.
    refused: Option<&'a str>,
    command: &'a str,
    source: &'a str,
    snapshot: Snapshot<'a>,
    digest: &'a str,
    tables: BTreeMap<&'a str, Table<'a>>,
    /// Drifted cells and whole rows by group of columns.
    groups: BTreeMap<&'a str, Group>,
    /// Drifted cells by cause.
    causes: BTreeMap<&'a str, u64>,
    /// Rows of runs whose score or rank changes, the greatest change first.
    impact: Listed<Change<'a>>,
    /// What weights are read from; null where the source is no database, or not all was compared.
    score_table: Option<ScoreTable<'a>>,
    /// Of each column the worst difference that follows from no other.
    worst: Vec<Worst<'a>>,
    findings: BTreeMap<&'a str, u64>,
    /// The first findings of each code.
    finding_rows: Listed<FindingRow<'a>>,
    /// What the rules took (section 3).
    settings: &'a Json,
    #[serde(serialize_with = "in_order")]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, u64>"))]
    elapsed_ms: &'a [(&'static str, Duration)],
    patterns: Vec<PatternLine<'a>>,
    unproven: Vec<PatternLine<'a>>,
    /// As `patterns`, of cells that the validator stores so by habit.
    habits: Vec<PatternLine<'a>>,
    /// What of it a baseline accepts; null where none was given.
    baseline: Option<BaselineLine<'a>>,
    /// Null where everything was compared.
    compared: Option<Compared>,
    replay_of: Option<String>,
    notes: &'a [String],
    /// Of a job that corrects, beside what it found.
    #[serde(flatten)]
    corrected: Option<Corrected>,
}

/// A list that is cut where it is long.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Listed<T> {
    /// How many there are.
    count: u64,
    /// Whether all of them are listed.
    complete: bool,
    rows: Vec<T>,
}

#[derive(Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Group {
    /// Wrong in themselves.
    pub roots: u64,
    /// Wrong only by the stored cells that they are made of.
    follows: u64,
    /// Rows with a root.
    rows: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Change<'a> {
    run_id: Option<i32>,
    forecast_run_id: &'a str,
    miner_uid: i32,
    /// Null where it does not change.
    overall_forecast_score: Option<FromTo>,
    /// Null where it does not change.
    miner_rank: Option<FromTo>,
    /// Whether it is the newest row of its miner and hotkey by `updated_at`; null where that is not known.
    newest: Option<bool>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FromTo {
    stored: Json,
    recomputed: Json,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Worst<'a> {
    table: &'a str,
    class: &'a str,
    why: String,
    /// Null where none was sought.
    cause: Option<&'a str>,
    #[serde(flatten)]
    cell: Example<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FindingRow<'a> {
    code: &'a str,
    severity: &'a str,
    run_id: Option<i32>,
    miner_uid: Option<i32>,
    lead_hours: Option<i32>,
    source_table: &'a str,
    row_id: Option<i64>,
    detail: &'a str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct BaselineLine<'a> {
    file: &'a str,
    /// Differences that it accepts; they are nowhere else in the report but in the counts of tables.
    accepted: u64,
    /// What it accepts and no longer differs. Null where only a part was compared.
    gone: Option<Listed<Gone<'a>>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Gone<'a> {
    table: &'a str,
    key: Key<'a>,
    /// Null of a whole row.
    column: Option<&'a str>,
    stored: Json,
}

/// Which part was compared, in words.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Compared {
    rows: Option<String>,
    columns: Option<String>,
}

/// What the report tells beside what was found.
pub struct ReportContext<'a> {
    pub settings: &'a Json,
    pub corrected: Option<Corrected>,
    pub refused: Option<&'a str>,
}

/// What a job did about what it found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Corrected {
    /// It was only written down.
    pub planned: bool,
    pub corrections: Json,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Snapshot<'a> {
    taken_at: String,
    rows: &'a BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Table<'a> {
    rows: RowsByClass,
    cells: CellsByClass,
    columns: BTreeMap<&'a str, Column>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RowsByClass {
    #[serde(rename = "match")]
    matching: u64,
    drift: u64,
    unproven: u64,
    habit: u64,
    accepted: u64,
    missing: u64,
    extra: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CellsByClass {
    equal: u64,
    within: u64,
    drift: u64,
    unproven: u64,
    habit: u64,
    accepted: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Column {
    drift: u64,
    unproven: u64,
    habit: u64,
    accepted: u64,
    max_abs_diff: f64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PatternLine<'a> {
    table: &'a str,
    column: &'a str,
    why: &'a str,
    pattern: &'a str,
    count: u64,
    example: Example<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Example<'a> {
    key: Key<'a>,
    column: Option<&'a str>,
    stored: Json,
    recomputed: Json,
}

/// The parts of a key that a table has.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// The newest weather row of the validator's `score_table`, held against the overall scores of its run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ScoreTable<'a> {
    task_id: Option<&'a str>,
    run_id: Option<i32>,
    /// Null where it was not looked at.
    agrees: Option<bool>,
    /// Miners whose score there is not the right one.
    off: Listed<OffLine>,
    /// Why it was not looked at.
    note: Option<&'a str>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OffLine {
    miner_uid: i32,
    score: Option<f64>,
    recomputed: Option<f64>,
}

impl<'a> From<&'a Weighed> for ScoreTable<'a> {
    fn from(weighed: &'a Weighed) -> Self {
        let held = weighed.row.as_ref().ok();
        let line = |off: &Off| OffLine { miner_uid: off.miner, score: off.score, recomputed: off.right };
        ScoreTable {
            task_id: held.map(|held| held.task_id.as_str()),
            run_id: held.map(|held| held.run),
            agrees: held.map(|held| held.off.is_empty()),
            off: Listed::of(held.iter().flat_map(|held| &held.off).map(line).collect()),
            note: weighed.row.as_ref().err().map(String::as_str),
        }
    }
}

/// The object, ending in a line feed.
pub fn render(outcome: &Outcome, found: &Patterns<'_>, told: ReportContext<'_>) -> serde_json::Result<String> {
    let ReportContext { settings, corrected, refused } = told;
    let (narrowing, filter) = (&outcome.narrowing, &outcome.filter);
    let rows = narrowing.is_narrow().then(|| narrowing.to_string());
    let columns = filter.is_narrow().then(|| filter.to_string());
    let report = Report {
        version: VERSION,
        recount: env!("CARGO_PKG_VERSION"),
        headline: super::headline::headline(outcome).1,
        in_sync: outcome.in_sync(),
        refused,
        command: outcome.command,
        source: &outcome.source,
        snapshot: Snapshot { taken_at: outcome.taken_at.iso(), rows: &outcome.rows },
        digest: &outcome.digest,
        tables: outcome.tables.iter().map(|(name, tally)| (*name, tally.into())).collect(),
        groups: groups(&outcome.differences),
        causes: causes(&outcome.differences),
        impact: Listed::of(changes(&outcome.differences).into_iter().map(|change| Change::of(change, outcome)).collect()),
        score_table: outcome.weighed.as_ref().map(ScoreTable::from),
        worst: worst_first(&outcome.differences).into_iter().map(Worst::from).collect(),
        finding_rows: Listed {
            count: outcome.findings.values().sum(),
            complete: outcome.findings.values().all(|count| *count <= FINDINGS_KEPT as u64),
            rows: outcome.finding_rows.iter().map(FindingRow::from).collect(),
        },
        settings,
        findings: outcome.findings.iter().map(|(code, count)| (code.name(), *count)).collect(),
        elapsed_ms: &outcome.elapsed,
        patterns: found.drift.iter().map(PatternLine::from).collect(),
        unproven: found.unproven.iter().map(PatternLine::from).collect(),
        habits: found.habits.iter().map(PatternLine::from).collect(),
        baseline: outcome.baseline.as_ref().map(BaselineLine::from),
        compared: (rows.is_some() || columns.is_some()).then_some(Compared { rows, columns }),
        replay_of: outcome.replay_of.map(Micros::iso),
        notes: &outcome.notes,
        corrected,
    };
    serde_json::to_string_pretty(&report).map(|text| text + "\n")
}

pub fn groups(differences: &[Difference]) -> BTreeMap<&'static str, Group> {
    let mut groups: BTreeMap<&'static str, Group> = BTreeMap::new();
    let mut rows = BTreeSet::new();
    for difference in differences.iter().filter(|difference| difference.is_wrong()) {
        let topic = Topic::of(difference);
        let group = groups.entry(topic.name()).or_default();
        if difference.follows() {
            group.follows += 1;
            continue;
        }
        group.roots += 1;
        group.rows += u64::from(rows.insert((topic, difference.table, &difference.key)));
    }
    groups
}

pub fn causes(differences: &[Difference]) -> BTreeMap<&'static str, u64> {
    let mut causes = BTreeMap::new();
    for cause in differences.iter().filter_map(|difference| difference.cause) {
        *causes.entry(cause.name()).or_default() += 1;
    }
    causes
}

impl<T> Listed<T> {
    fn of(mut rows: Vec<T>) -> Self {
        let count = rows.len() as u64;
        rows.truncate(LISTED_MAX);
        Listed { count, complete: rows.len() as u64 == count, rows }
    }
}

impl<'a> Change<'a> {
    fn of(change: impact::Change<'a>, outcome: &Outcome) -> Self {
        let pair = |pair: Option<(&Value<'static>, &Value<'static>)>| {
            pair.map(|(stored, recomputed)| FromTo { stored: stored.to_json(), recomputed: recomputed.to_json() })
        };
        Change {
            run_id: change.run,
            forecast_run_id: change.forecast_run_id,
            miner_uid: change.miner,
            overall_forecast_score: pair(change.score),
            miner_rank: pair(change.rank),
            newest: outcome.weighed.as_ref().and_then(|weighed| weighed.is_newest(change.miner, change.forecast_run_id)),
        }
    }
}

impl<'a> From<&'a Difference> for Worst<'a> {
    fn from(difference: &'a Difference) -> Self {
        let cause = difference.cause.filter(|cause| *cause != Cause::Unexplained);
        Worst {
            table: difference.table,
            class: difference.class.name(),
            why: cause.map_or_else(|| why::why(difference).to_owned(), |cause| cause.to_string()),
            cause: difference.cause.map(Cause::name),
            cell: difference.into(),
        }
    }
}

impl<'a> From<&'a Finding> for FindingRow<'a> {
    fn from(finding: &'a Finding) -> Self {
        FindingRow {
            code: finding.code.name(),
            severity: finding.code.severity().name(),
            run_id: finding.run.map(|run| run.0),
            miner_uid: finding.miner.map(|miner| miner.0),
            lead_hours: finding.lead.map(|lead| lead.0),
            source_table: finding.table,
            row_id: finding.row_id,
            detail: &finding.detail,
        }
    }
}

impl<'a> From<&'a TableTally> for Table<'a> {
    fn from(tally: &'a TableTally) -> Self {
        let (rows, cells) = (tally.rows, tally.cells);
        Table {
            rows: RowsByClass {
                matching: rows.matching,
                drift: rows.drift,
                unproven: rows.unproven,
                habit: rows.habit,
                accepted: rows.accepted,
                missing: rows.missing,
                extra: rows.extra,
            },
            cells: CellsByClass {
                equal: cells.equal,
                within: cells.within,
                drift: cells.drift,
                unproven: cells.unproven,
                habit: cells.habit,
                accepted: cells.accepted,
            },
            columns: tally.columns.iter().map(|(name, column)| (name.as_str(), column.into())).collect(),
        }
    }
}

impl From<&ColumnTally> for Column {
    fn from(column: &ColumnTally) -> Self {
        Column {
            drift: column.drift,
            unproven: column.unproven,
            habit: column.habit,
            accepted: column.accepted,
            max_abs_diff: column.max_abs_diff,
        }
    }
}

impl<'a> From<&'a Baselined> for BaselineLine<'a> {
    fn from(baselined: &'a Baselined) -> Self {
        let gone = |entry: &'a Accepted| Gone {
            table: entry.table,
            key: (&entry.key).into(),
            column: entry.column.as_deref(),
            stored: serde_json::from_str(&entry.stored).unwrap_or(Json::Null),
        };
        BaselineLine {
            file: &baselined.name,
            accepted: baselined.accepted.len() as u64,
            gone: baselined.gone.as_ref().map(|entries| Listed::of(entries.iter().map(gone).collect())),
        }
    }
}

impl<'a> From<&'a Pattern<'_>> for PatternLine<'a> {
    fn from(pattern: &'a Pattern<'_>) -> Self {
        let example = pattern.example.into();
        PatternLine {
            table: pattern.example.table,
            column: pattern.column,
            why: pattern.why,
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
