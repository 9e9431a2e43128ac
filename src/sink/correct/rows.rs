//! The rows that travel into the temporary tables of a job, each as what it is.

use crate::model::correction::{Change, Correction, Corrections, EvidenceOf, Fingerprint};
use crate::model::difference::RowKey;
use crate::model::value::Value;

use super::load::{Staged, StagedType};

/// A stored row that is to change: its number within the job, and where it is found.
#[derive(Debug, Clone)]
pub struct Row {
    pub n: i32,
    pub table: &'static str,
    /// `update`, `insert` or `delete`.
    pub change: &'static str,
    pub key: RowKey,
    pub evidence_of: EvidenceOf,
}

/// A cell as the diff has it, and as it should be.
#[derive(Debug, Clone)]
pub struct Moved {
    pub old: Value<'static>,
    pub new: Value<'static>,
}

/// The cells of an updated row, one place for each cell of the table's plan; `None` stays.
#[derive(Debug, Clone)]
pub struct Cells {
    pub n: i32,
    pub cells: Vec<Option<Moved>>,
}

/// The values of an inserted row, one for each inserted column of the table's plan.
#[derive(Debug, Clone)]
pub struct Inserted {
    pub n: i32,
    pub values: Vec<Value<'static>>,
}

/// Rows of one temporary table.
#[derive(Debug, Clone)]
pub enum Lines {
    Rows(Vec<Row>),
    Cells(Vec<Cells>),
    Inserts(Vec<Inserted>),
    Evidence(Vec<(EvidenceOf, Fingerprint)>),
}

impl Lines {
    pub fn len(&self) -> usize {
        match self {
            Lines::Rows(lines) => lines.len(),
            Lines::Cells(lines) => lines.len(),
            Lines::Inserts(lines) => lines.len(),
            Lines::Evidence(lines) => lines.len(),
        }
    }

    /// The number of the job's row that the line belongs to, where it is no row of the job itself.
    pub fn number(&self, at: usize) -> Option<i32> {
        match self {
            Lines::Cells(lines) => Some(lines[at].n),
            Lines::Inserts(lines) => Some(lines[at].n),
            Lines::Rows(_) | Lines::Evidence(_) => None,
        }
    }

    /// The values of a line, in the order of the table's columns.
    pub fn values(&self, at: usize) -> Vec<Value<'static>> {
        match self {
            Lines::Rows(lines) => row_values(&lines[at]),
            Lines::Cells(lines) => {
                let cells = lines[at].cells.iter().flat_map(|cell| match cell {
                    Some(Moved { old, new }) => [Value::Bool(true), old.clone(), new.clone()],
                    None => [Value::Null, Value::Null, Value::Null],
                });
                std::iter::once(Value::Int(lines[at].n.into())).chain(cells).collect()
            }
            Lines::Inserts(lines) => {
                std::iter::once(Value::Int(lines[at].n.into())).chain(lines[at].values.iter().cloned()).collect()
            }
            Lines::Evidence(lines) => evidence_values(&lines[at]),
        }
    }
}

fn row_values(row: &Row) -> Vec<Value<'static>> {
    let int = |x: Option<i32>| x.map_or(Value::Null, |x| Value::Int(x.into()));
    let text = |x: &Option<String>| x.clone().map_or(Value::Null, |x| Value::Text(x.into()));
    vec![
        Value::Int(row.n.into()),
        Value::Text(row.table.into()),
        Value::Text(row.change.into()),
        int(row.key.miner_uid),
        text(&row.key.forecast_run_id),
        text(&row.key.scope),
        int(row.key.run_id),
        Value::Int(row.evidence_of.run.into()),
        Value::Int(row.evidence_of.miner.into()),
    ]
}

fn evidence_values((evidence_of, print): &(EvidenceOf, Fingerprint)) -> Vec<Value<'static>> {
    vec![
        Value::Int(evidence_of.run.into()),
        Value::Int(evidence_of.miner.into()),
        Value::Int(print.responses),
        Value::Int(print.scores),
        print.newest_score.map_or(Value::Null, Value::Time),
        Value::Int(print.steps),
        print.newest_step.map_or(Value::Null, Value::Time),
    ]
}

fn columns<const N: usize>(columns: [(&str, StagedType); N]) -> Vec<(String, StagedType)> {
    columns.map(|(name, stage)| (name.to_owned(), stage)).into()
}

/// `recount_rows`, one row for each row of the job.
pub fn staged_rows(lines: Vec<Row>) -> Staged {
    let columns = columns([
        ("n", StagedType::Int4),
        ("target", StagedType::Text),
        ("change", StagedType::Text),
        ("miner_uid", StagedType::Int4),
        ("forecast_run_id", StagedType::Text),
        ("scope", StagedType::Text),
        ("run_id", StagedType::Int4),
        ("ev_run", StagedType::Int4),
        ("ev_miner", StagedType::Int4),
    ]);
    Staged { table: "pg_temp.recount_rows".to_owned(), columns, lines: Lines::Rows(lines) }
}

/// The rows of corrections, numbered from 1 in their order.
pub fn rows_of(corrections: &[Correction]) -> Vec<Row> {
    let row = |(correction, n): (&Correction, i32)| Row {
        n,
        table: correction.table,
        change: match correction.change {
            Change::Update(_) => "update",
            Change::Insert(_) => "insert",
            Change::Delete => "delete",
        },
        key: correction.key.clone(),
        evidence_of: EvidenceOf::of(correction.table, &correction.key),
    };
    corrections.iter().zip(1..).map(row).collect()
}

/// `recount_then`: the fingerprints to compare with; evidence of which the snapshot had nothing must still be none.
pub fn fingerprints(corrections: &Corrections) -> Staged {
    let columns = columns([
        ("run", StagedType::Int4),
        ("miner", StagedType::Int4),
        ("responses", StagedType::Int8),
        ("scores", StagedType::Int8),
        ("newest_score", StagedType::Time),
        ("steps", StagedType::Int8),
        ("newest_step", StagedType::Time),
    ]);
    let print = |evidence_of: EvidenceOf| (evidence_of, corrections.evidence.get(&evidence_of).copied().unwrap_or_default());
    let lines = corrections.needed().into_iter().map(print).collect();
    Staged { table: "pg_temp.recount_then".to_owned(), columns, lines: Lines::Evidence(lines) }
}
