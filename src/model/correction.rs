//! What puts stored rollups right: typed cells, missing rows, and the fingerprints of the evidence that they rest on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::columns::{Column, Group, Type};
use super::difference::{Class, Difference, RowKey};
use super::filter::stored_column;
use super::rollups::{CorrectionRow, ForecastStat, MinerStat, Rollup};
use super::time::Micros;
use super::value::Value;

/// One stored row that is to change.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    pub table: &'static str,
    pub key: RowKey,
    pub change: Change,
}

/// What is to happen to the row.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Update(Vec<Cell>),
    /// The whole recomputed row, key and wide columns included; NULLs are left out.
    Insert(Vec<(String, Value<'static>)>),
    /// A row without evidence left.
    Delete,
}

/// A cell with its value in the diff and the one that it should have.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub column: String,
    pub class: Class,
    /// Error texts and JSON as they were read: sanitized.
    pub stored: Value<'static>,
    pub recomputed: Value<'static>,
}

/// The evidence of a run and a miner; [`EvidenceOf::ALL`] stands for all of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EvidenceOf {
    pub run: i32,
    pub miner: i32,
}

impl EvidenceOf {
    /// No id: ids are not negative.
    pub const ALL: i32 = i32::MIN;
    /// A stored row that names no run rests on nothing that could be found.
    pub const NOBODY: i32 = i32::MIN + 1;

    /// What the row rests on.
    pub fn of(table: &str, key: &RowKey) -> EvidenceOf {
        match table {
            ForecastStat::TABLE => {
                EvidenceOf { run: key.run_id.unwrap_or(EvidenceOf::NOBODY), miner: key.miner_uid.unwrap_or(EvidenceOf::NOBODY) }
            }
            MinerStat::TABLE => EvidenceOf { run: EvidenceOf::ALL, miner: key.miner_uid.unwrap_or(EvidenceOf::NOBODY) },
            _ => EvidenceOf { run: key.run_id.unwrap_or(EvidenceOf::ALL), miner: EvidenceOf::ALL },
        }
    }

    /// What the row's ranks rest on: they change with any miner.
    pub fn of_ranks(self) -> EvidenceOf {
        EvidenceOf { miner: EvidenceOf::ALL, ..self }
    }
}

/// What tells one state of the evidence from a later one: how many rows there are, and how new the newest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub responses: i64,
    pub scores: i64,
    /// `calculation_time`
    pub newest_score: Option<Micros>,
    pub steps: i64,
    /// `coalesce(completed_at, started_at)`
    pub newest_step: Option<Micros>,
}

impl Fingerprint {
    /// The fingerprint of both parts together.
    pub fn add(&mut self, other: &Fingerprint) {
        self.responses += other.responses;
        self.scores += other.scores;
        self.newest_score = self.newest_score.max(other.newest_score);
        self.steps += other.steps;
        self.newest_step = self.newest_step.max(other.newest_step);
    }
}

/// Everything that a job corrects, and where it comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Corrections {
    pub origin: Origin,
    /// In order of table and key.
    pub rows: Vec<Correction>,
    pub evidence: BTreeMap<EvidenceOf, Fingerprint>,
}

/// The comparison that corrections come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// As a user may see it.
    pub source: String,
    /// Microseconds; when the snapshot was taken.
    pub taken_at: i64,
    pub digest: String,
    pub settings: Json,
    /// The diff folder that it was read from, by the hash of its manifest.
    pub diff: Option<String>,
}

/// Which differences are corrected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// Cells within tolerance too.
    pub exact: bool,
    /// Rows without evidence are deleted.
    pub prune_extra: bool,
    /// Cells whose evidence is gone (D6) get what is recomputed without it.
    pub clear_unproven: bool,
    /// Cells that the validator stores so by habit are corrected.
    pub habits: bool,
}

impl Selection {
    /// Everything that can be corrected: what a diff folder holds.
    pub const ALL: Selection = Selection { exact: true, prune_extra: true, clear_unproven: true, habits: true };

    fn includes(self, class: Class) -> bool {
        match class {
            Class::Drift | Class::Missing => true,
            Class::Within => self.exact,
            Class::Unproven => self.clear_unproven,
            Class::Habit => self.habits,
            Class::Extra => self.prune_extra,
        }
    }
}

impl Corrections {
    /// What is chosen of it.
    #[must_use]
    pub fn select(mut self, selection: Selection) -> Corrections {
        self.rows.retain_mut(|row| match &mut row.change {
            Change::Update(cells) => {
                cells.retain(|cell| selection.includes(cell.class));
                !cells.is_empty()
            }
            Change::Insert(_) => true,
            Change::Delete => selection.prune_extra,
        });
        self
    }

    /// Brings the rows into their order. A table's rows come in order of unit, which is nearly that of the keys.
    pub fn sort(&mut self) {
        self.rows.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
    }

    /// The evidence that the rows rest on.
    pub fn needed(&self) -> BTreeSet<EvidenceOf> {
        self.rows.iter().flat_map(Correction::needed).collect()
    }
}

impl Correction {
    /// The evidence that the row rests on, and that of everyone where a rank of it changes.
    pub fn needed(&self) -> impl Iterator<Item = EvidenceOf> {
        let evidence_of = EvidenceOf::of(self.table, &self.key);
        let ranks = self.cells().iter().any(|cell| is_rank(self.table, &cell.column));
        [Some(evidence_of), ranks.then(|| evidence_of.of_ranks())].into_iter().flatten()
    }

    /// The cells of an update; none of anything else.
    pub fn cells(&self) -> &[Cell] {
        if let Change::Update(cells) = &self.change { cells } else { &[] }
    }
}

/// Turns differences, in order of key, into corrections. `missing` finds the recomputed row of a key.
pub fn corrections_of(
    differences: &[Difference],
    selection: Selection,
    missing: impl Fn(&RowKey) -> Option<Vec<(String, Value<'static>)>>,
) -> Vec<Correction> {
    let mut rows: Vec<Correction> = Vec::new();
    for difference in differences.iter().filter(|difference| selection.includes(difference.class)) {
        let (table, key) = (difference.table, &difference.key);
        let change = match (difference.class, &difference.column) {
            (Class::Missing, _) => Change::Insert(missing(key).expect("invariant: a missing row was recomputed")),
            (Class::Extra, _) | (_, None) => Change::Delete,
            (class, Some(column)) => {
                let (stored, recomputed) = (difference.stored.clone(), difference.recomputed.clone());
                let cell = Cell { column: column.clone(), class, stored, recomputed };
                match rows.last_mut() {
                    Some(Correction { table: last, key: same, change: Change::Update(cells) })
                        if *last == table && same == key =>
                    {
                        cells.push(cell);
                        continue;
                    }
                    _ => Change::Update(vec![cell]),
                }
            }
        };
        rows.push(Correction { table, key: key.clone(), change });
    }
    rows
}

/// The cells of a row that are not NULL, by name.
pub fn cells_of<R: Rollup>(row: &R) -> Vec<(String, Value<'static>)> {
    let cells = R::COLUMNS.iter().enumerate().map(|(index, column)| (column.name.to_string(), row.value(index)));
    cells.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, value.into_owned())).collect()
}

/// What a column of a rollup table holds. A column that the model does not know holds text.
pub fn type_of(table: &str, column: &str) -> Type {
    stored_column(table, column).map_or(Type::Text, |column| column.kind)
}

/// Whether the column depends on all miners.
pub fn is_rank(table: &str, column: &str) -> bool {
    stored_column(table, column).is_some_and(|Column { group, .. }| group == Group::Ranks)
}

/// The correction as rows of `corrections.parquet`, one for each cell.
pub fn correction_rows(correction: &Correction) -> Vec<CorrectionRow> {
    let row = |change: &str, column: Option<&str>, class: Option<Class>, stored: &Value<'_>, recomputed: &Value<'_>| {
        let mut row = CorrectionRow {
            table: Some(correction.table.to_owned()),
            change: Some(change.to_owned()),
            miner_uid: correction.key.miner_uid,
            forecast_run_id: correction.key.forecast_run_id.clone(),
            scope: correction.key.scope.clone(),
            run_id: correction.key.run_id,
            column: column.map(str::to_owned),
            class: class.map(|class| class.name().to_owned()),
            ..CorrectionRow::default()
        };
        (row.stored_int, row.stored_float, row.stored_text) = parts(stored);
        (row.recomputed_int, row.recomputed_float, row.recomputed_text) = parts(recomputed);
        row
    };
    match &correction.change {
        Change::Update(cells) => {
            let cell = |cell: &Cell| row("update", Some(&cell.column), Some(cell.class), &cell.stored, &cell.recomputed);
            cells.iter().map(cell).collect()
        }
        Change::Insert(cells) => {
            let cell = |(name, value): &(String, Value<'static>)| row("insert", Some(name), None, &Value::Null, value);
            cells.iter().map(cell).collect()
        }
        Change::Delete => vec![row("delete", None, None, &Value::Null, &Value::Null)],
    }
}

/// Puts together what [`correction_rows`] took apart. `None`: a row that it never makes.
pub fn corrections_from(rows: &[CorrectionRow], table: impl Fn(&str) -> Option<&'static str>) -> Option<Vec<Correction>> {
    let mut corrections: Vec<Correction> = Vec::new();
    for row in rows {
        let table = table(row.table.as_deref()?)?;
        let key = RowKey {
            miner_uid: row.miner_uid,
            forecast_run_id: row.forecast_run_id.clone(),
            scope: row.scope.clone(),
            run_id: row.run_id,
        };
        let value = |int, float, text: &Option<String>| whole(type_of(table, row.column.as_deref()?), int, float, text);
        let recomputed = || value(row.recomputed_int, row.recomputed_float, &row.recomputed_text);
        let last = corrections.last_mut().filter(|last| last.table == table && last.key == key);
        let change = match (row.change.as_deref()?, last) {
            ("update", last) => {
                let class = [Class::Within, Class::Drift, Class::Unproven, Class::Habit]
                    .into_iter()
                    .find(|class| Some(class.name()) == row.class.as_deref());
                let stored = value(row.stored_int, row.stored_float, &row.stored_text)?;
                let cell = Cell { column: row.column.clone()?, class: class?, stored, recomputed: recomputed()? };
                if let Some(Correction { change: Change::Update(cells), .. }) = last {
                    cells.push(cell);
                    continue;
                }
                Change::Update(vec![cell])
            }
            ("insert", last) => {
                let cell = (row.column.clone()?, recomputed()?);
                if let Some(Correction { change: Change::Insert(cells), .. }) = last {
                    cells.push(cell);
                    continue;
                }
                Change::Insert(vec![cell])
            }
            ("delete", _) => Change::Delete,
            _ => return None,
        };
        corrections.push(Correction { table, key, change });
    }
    Some(corrections)
}

type Parts = (Option<i64>, Option<f64>, Option<String>);

/// The one place of three where a value goes.
fn parts(value: &Value<'_>) -> Parts {
    match value {
        Value::Bool(x) => (Some((*x).into()), None, None),
        Value::Int(x) => (Some(*x), None, None),
        Value::Time(x) => (Some(x.0), None, None),
        Value::Float(x) => (None, Some(*x), None),
        other => (None, None, other.to_text()),
    }
}

/// The value back from its place. `None`: it is in another place than its type has.
fn whole(kind: Type, int: Option<i64>, float: Option<f64>, text: &Option<String>) -> Option<Value<'static>> {
    Some(match (kind, int, float, text) {
        (_, None, None, None) => Value::Null,
        (Type::Bool, Some(x), None, None) => Value::Bool(x != 0),
        (Type::Int32, Some(x), None, None) => Value::Int(i32::try_from(x).ok()?.into()),
        (Type::Int64, Some(x), None, None) => Value::Int(x),
        (Type::Time, Some(x), None, None) => Value::Time(Micros(x)),
        (Type::Float64, None, Some(x), None) => Value::Float(x),
        (Type::Text, None, None, Some(x)) => Value::Text(x.clone().into()),
        (Type::Json, None, None, Some(x)) => Value::Json(std::borrow::Cow::Owned(super::rows::parse_json(x))),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::rollups::SubnetStat;
    use super::*;

    fn difference(miner: i32, column: Option<&str>, class: Class) -> Difference {
        Difference {
            table: ForecastStat::TABLE,
            key: RowKey { miner_uid: Some(miner), forecast_run_id: Some("f".to_owned()), scope: None, run_id: Some(7) },
            column: column.map(str::to_owned),
            class,
            stored: Value::Null,
            recomputed: column.map_or(Value::Null, |_| Value::Float(-0.0)),
            cause: None,
        }
    }

    fn found() -> Vec<Difference> {
        vec![
            difference(1, Some("avg_rmse"), Class::Drift),
            difference(1, Some("avg_acc"), Class::Within),
            difference(2, Some("era5_score_24h"), Class::Within),
            difference(3, None, Class::Missing),
            difference(4, None, Class::Extra),
        ]
    }

    fn all() -> Vec<Correction> {
        let json = Value::Json(Cow::Owned(serde_json::json!({"type": "x"})));
        corrections_of(&found(), Selection::ALL, |_| {
            Some(vec![
                ("miner_uid".to_owned(), Value::Int(3)),
                ("forecast_init_time".to_owned(), Value::Time(Micros(5))),
                ("forecast_error_msg".to_owned(), json.clone()),
            ])
        })
    }

    #[test]
    fn differences_become_rows() {
        let rows = all();
        assert_eq!(rows.len(), 4);
        assert!(matches!(&rows[0].change, Change::Update(cells) if cells.len() == 2));
        assert_eq!(rows[3].change, Change::Delete);
        let corrections = Corrections { rows, ..Corrections::default() };
        assert_eq!(corrections.clone().select(Selection::default()).rows.len(), 2, "neither within nor extra");
        assert_eq!(corrections.select(Selection { exact: true, ..Selection::default() }).rows.len(), 3);
    }

    #[test]
    fn d3_an_extra_row_is_deleted_only_where_that_is_asked_for() {
        let deleted = |selection: Selection| {
            let rows = corrections_of(&found(), selection, |_| Some(Vec::new()));
            rows.iter().filter(|row| row.change == Change::Delete).count()
        };
        assert_eq!(deleted(Selection { exact: true, clear_unproven: true, ..Selection::default() }), 0);
        assert_eq!(deleted(Selection { prune_extra: true, ..Selection::default() }), 1);
    }

    #[test]
    fn rows_come_back_from_their_file_to_the_bit() {
        let rows: Vec<CorrectionRow> = all().iter().flat_map(correction_rows).collect();
        let table = |name: &str| (name == ForecastStat::TABLE).then_some(ForecastStat::TABLE);
        let back = corrections_from(&rows, table).unwrap();
        assert_eq!(back, all());
        let Change::Update(cells) = &back[0].change else { panic!("an update") };
        assert!(matches!(cells[0].recomputed, Value::Float(x) if x.to_bits() == (-0.0f64).to_bits()));
        assert_eq!(corrections_from(&[CorrectionRow::default()], table), None);
    }

    #[test]
    fn a_row_rests_on_its_evidence() {
        let key = RowKey { miner_uid: Some(3), run_id: Some(7), ..RowKey::default() };
        assert_eq!(EvidenceOf::of(ForecastStat::TABLE, &key), EvidenceOf { run: 7, miner: 3 });
        assert_eq!(EvidenceOf::of(ForecastStat::TABLE, &key).of_ranks(), EvidenceOf { run: 7, miner: EvidenceOf::ALL });
        let miner = RowKey { miner_uid: Some(3), ..RowKey::default() };
        assert_eq!(EvidenceOf::of(MinerStat::TABLE, &miner), EvidenceOf { run: EvidenceOf::ALL, miner: 3 });
        assert_eq!(
            EvidenceOf::of(SubnetStat::TABLE, &RowKey::default()),
            EvidenceOf { run: EvidenceOf::ALL, miner: EvidenceOf::ALL }
        );
    }
}
