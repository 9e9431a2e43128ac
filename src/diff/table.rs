//! One table of rollup rows against another: D1's join by key, D2's classes, tallies by column.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::{Column, Group};
use crate::model::difference::{CellClass, Class, Difference, RowKey, Tolerance};
use crate::model::outcome::{CellCounts, ColumnTally, RowCounts, TableTally};
use crate::model::rollups::Rollup;
use crate::model::value::Value;

use super::cell::classify;

/// Which columns of a table are compared, and how closely.
#[derive(Debug, Clone)]
pub struct TablePlan {
    pub table: &'static str,
    pub columns: Vec<Column>,
    pub tolerance: Tolerance,
}

/// What a comparison has found so far; diffs of the parts of a table add up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TableDiff {
    pub rows: RowCounts,
    pub cells: CellCounts,
    /// As the columns of the plan.
    pub columns: Vec<ColumnTally>,
    /// In order of key; cells within tolerance too.
    pub differences: Vec<Difference>,
}

/// A stored cell and the recomputed one.
#[derive(Debug, Clone)]
pub struct Pair<'v> {
    pub stored: Value<'v>,
    pub recomputed: Value<'v>,
    /// D5: the stored text was changed as it was read, so it is drift whatever it is compared with.
    pub unsanitized: bool,
}

impl<'v> Pair<'v> {
    pub fn of(stored: Value<'v>, recomputed: Value<'v>) -> Pair<'v> {
        Pair { stored, recomputed, unsanitized: false }
    }

    /// D2, D5
    pub fn class(&self, tolerance: Tolerance) -> CellClass {
        if self.unsanitized { CellClass::Drift } else { classify(&self.stored, &self.recomputed, tolerance) }
    }
}

impl TablePlan {
    /// The columns of `R` that are no part of the key and that `included` names.
    pub fn of<R: Rollup>(tolerance: Tolerance, included: impl Fn(&Column) -> bool) -> Self {
        let columns = R::COLUMNS.iter().filter(|column| compared(column) && included(column)).cloned().collect();
        TablePlan { table: R::TABLE, columns, tolerance }
    }

    /// The group of a column that is compared.
    pub fn group(&self, column: &str) -> Option<Group> {
        self.columns.iter().find(|known| known.name == column).map(|known| known.group)
    }

    pub fn diff(&self) -> TableDiff {
        TableDiff { columns: vec![ColumnTally::default(); self.columns.len()], ..TableDiff::default() }
    }

    /// Compares one row's cells, given in the order of the plan's columns (D2). `unproven`: whether a drifted cell, by its column
    /// and its stored value, rests on evidence that is gone (D6).
    pub fn row<'v>(
        &self,
        key: &RowKey,
        cells: impl Iterator<Item = Pair<'v>>,
        unproven: impl Fn(&str, &Value<'_>) -> bool,
        diff: &mut TableDiff,
    ) {
        let (mut has_drift, mut has_unproven) = (false, false);
        for ((column, tally), pair) in self.columns.iter().zip(&mut diff.columns).zip(cells) {
            let class = match pair.class(self.tolerance) {
                CellClass::Equal => {
                    diff.cells.equal += 1;
                    continue;
                }
                CellClass::Within => Class::Within,
                CellClass::Drift if !pair.unsanitized && unproven(&column.name, &pair.stored) => Class::Unproven,
                CellClass::Drift => Class::Drift,
            };
            let difference = Difference {
                table: self.table,
                key: key.clone(),
                column: Some(column.name.to_string()),
                class,
                stored: pair.stored.into_owned(),
                recomputed: pair.recomputed.into_owned(),
                cause: None,
            };
            let (cells, of_column) = match class {
                Class::Drift => (&mut diff.cells.drift, &mut tally.drift),
                Class::Unproven => (&mut diff.cells.unproven, &mut tally.unproven),
                _ => (&mut diff.cells.within, &mut tally.within),
            };
            *cells += 1;
            *of_column += 1;
            has_drift |= class == Class::Drift;
            has_unproven |= class == Class::Unproven;
            if class == Class::Drift {
                tally.max_abs_diff = tally.max_abs_diff.max(difference.delta().map_or(0.0, f64::abs));
            }
            diff.differences.push(difference);
        }
        match (has_drift, has_unproven) {
            (true, _) => diff.rows.drift += 1,
            (false, true) => diff.rows.unproven += 1,
            (false, false) => diff.rows.matching += 1,
        }
    }

    /// A row that only one side has.
    pub fn lone(&self, key: RowKey, class: Class, diff: &mut TableDiff) {
        match class {
            Class::Missing => diff.rows.missing += 1,
            Class::Extra => diff.rows.extra += 1,
            Class::Within | Class::Drift | Class::Unproven | Class::Habit => {
                unreachable!("invariant: only a row of one side alone is counted here")
            }
        }
        let (stored, recomputed) = (Value::Null, Value::Null);
        diff.differences.push(Difference { table: self.table, key, column: None, class, stored, recomputed, cause: None });
    }

    /// Compares whole tables by key. `unproven`: whether a drifted cell of the row and column rests on evidence that is gone (D6).
    pub fn table<'r, R: Rollup + 'r>(
        &self,
        stored: impl Iterator<Item = &'r R>,
        recomputed: impl Iterator<Item = &'r R>,
        key: impl Fn(&R) -> RowKey,
        unproven: impl Fn(&RowKey, &str) -> bool,
    ) -> Result<TableDiff> {
        let indexes: Vec<usize> = self.columns.iter().map(|column| index_of::<R>(column)).collect();
        let mut diff = self.diff();
        for (key, (stored, recomputed)) in join(self.table, stored, recomputed, key)? {
            match (stored, recomputed) {
                (Some(a), Some(b)) => {
                    let pairs = indexes.iter().map(|&i| Pair::of(a.value(i), b.value(i)));
                    self.row(&key, pairs, |column, _| unproven(&key, column), &mut diff);
                }
                (None, _) => self.lone(key, Class::Missing, &mut diff),
                (_, None) => self.lone(key, Class::Extra, &mut diff),
            }
        }
        Ok(diff)
    }
}

/// Whether a column is compared at all: it is no part of the key.
pub fn compared(column: &Column) -> bool {
    column.group != Group::Key
}

/// Where a column stands in [`Rollup::COLUMNS`].
pub fn index_of<R: Rollup>(column: &Column) -> usize {
    let index = R::COLUMNS.iter().position(|known| known.name == column.name);
    index.expect("invariant: a planned column is one of its table's")
}

/// Of each key the stored row and the recomputed one.
type Joined<'r, R> = BTreeMap<RowKey, (Option<&'r R>, Option<&'r R>)>;

fn join<'r, R>(
    table: &str,
    stored: impl Iterator<Item = &'r R>,
    recomputed: impl Iterator<Item = &'r R>,
    key: impl Fn(&R) -> RowKey,
) -> Result<Joined<'r, R>> {
    let mut joined: Joined<'r, R> = BTreeMap::new();
    for row in stored {
        let key = key(row);
        if joined.insert(key.clone(), (Some(row), None)).is_some() {
            return Err(repeated(table, &key));
        }
    }
    for row in recomputed {
        joined.entry(key(row)).or_default().1 = Some(row);
    }
    Ok(joined)
}

/// D1's keys are unique in the stored tables; where they are not, no comparison means anything.
pub fn repeated(table: &str, key: &RowKey) -> Error {
    Error::new(ErrorKind::Data, format!("comparing {table}"), format!("two stored rows have the key {key:#}; expected one"))
        .hint("the table has lost its unique constraint: remove the surplus rows and restore it")
}

impl TableDiff {
    /// Adds the diff of another part of the same table.
    pub fn add(&mut self, other: TableDiff) {
        self.rows.matching += other.rows.matching;
        self.rows.drift += other.rows.drift;
        self.rows.unproven += other.rows.unproven;
        self.rows.habit += other.rows.habit;
        self.rows.missing += other.rows.missing;
        self.rows.extra += other.rows.extra;
        self.cells.equal += other.cells.equal;
        self.cells.within += other.cells.within;
        self.cells.drift += other.cells.drift;
        self.cells.unproven += other.cells.unproven;
        self.cells.habit += other.cells.habit;
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            mine.drift += theirs.drift;
            mine.unproven += theirs.unproven;
            mine.within += theirs.within;
            mine.habit += theirs.habit;
            mine.max_abs_diff = mine.max_abs_diff.max(theirs.max_abs_diff);
        }
        self.differences.extend(other.differences);
    }

    /// Takes the drifted cells of habit out of the drift, and rows without any other drift with them.
    pub fn set_habits_apart(&mut self, plan: &TablePlan, is_habit: impl Fn(&Difference) -> bool) {
        for row in self.differences.chunk_by_mut(|a, b| a.key == b.key) {
            let drifted = row.iter().filter(|cell| cell.class == Class::Drift && cell.column.is_some()).count();
            let mut habits = 0;
            for cell in row.iter_mut().filter(|cell| cell.class == Class::Drift) {
                if !is_habit(cell) {
                    continue;
                }
                cell.class = Class::Habit;
                habits += 1;
                let of_column = plan.columns.iter().position(|column| Some(column.name.as_ref()) == cell.column.as_deref());
                if let Some(tally) = of_column.and_then(|at| self.columns.get_mut(at)) {
                    tally.drift -= 1;
                    tally.habit += 1;
                }
            }
            self.cells.drift -= habits;
            self.cells.habit += habits;
            if habits > 0 && habits == drifted as u64 {
                let unproven = row.iter().any(|cell| cell.class == Class::Unproven);
                self.rows.drift -= 1;
                *(if unproven { &mut self.rows.unproven } else { &mut self.rows.habit }) += 1;
            }
        }
        for (at, tally) in self.columns.iter_mut().enumerate() {
            let of_column = |cell: &&Difference| cell.column.as_deref() == Some(plan.columns[at].name.as_ref());
            if tally.habit == 0 {
                continue;
            }
            let drifted = self.differences.iter().filter(|cell| cell.class == Class::Drift).filter(of_column);
            tally.max_abs_diff = drifted.filter_map(Difference::delta).map(f64::abs).fold(0.0, f64::max);
        }
    }

    pub fn tally(&self, plan: &TablePlan) -> TableTally {
        let columns = plan.columns.iter().map(|column| column.name.to_string()).zip(self.columns.iter().copied());
        TableTally { rows: self.rows, cells: self.cells, columns: columns.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rollups::MinerStat;

    fn miner(uid: i32, rank: i32, score: f64) -> MinerStat {
        MinerStat { miner_uid: Some(uid), miner_rank: Some(rank), avg_forecast_score: Some(score), ..MinerStat::default() }
    }

    /// `miner_rank` and `avg_forecast_score`, in this order.
    fn plan() -> TablePlan {
        let wanted = |column: &Column| column.name == "miner_rank" || column.name == "avg_forecast_score";
        TablePlan::of::<MinerStat>(Tolerance::default(), wanted)
    }

    fn diff(stored: &[MinerStat], recomputed: &[MinerStat], unproven: impl Fn(i32, &str) -> bool) -> TableDiff {
        let key = |row: &MinerStat| RowKey { miner_uid: row.miner_uid, ..RowKey::default() };
        let gone = |key: &RowKey, column: &str| unproven(key.miner_uid.unwrap(), column);
        plan().table(stored.iter(), recomputed.iter(), key, gone).unwrap()
    }

    #[test]
    fn d1_the_key_is_never_compared() {
        let all = TablePlan::of::<MinerStat>(Tolerance::default(), |_| true);
        assert_eq!(all.columns.len(), MinerStat::COLUMNS.len() - 1);
        assert!(all.columns.iter().all(|column| column.name != "miner_uid"));
        let plan = plan();
        assert_eq!(plan.columns.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["miner_rank", "avg_forecast_score"]);
        let groups = ["miner_rank", "avg_forecast_score", "avg_day1_score", "miner_uid"].map(|column| plan.group(column));
        assert_eq!(groups, [Some(Group::Ranks), Some(Group::Scores), None, None]);
    }

    #[test]
    fn d2_cells_and_rows_are_counted_by_class() {
        let stored = [miner(1, 1, 0.5), miner(2, 1, 0.5), miner(3, 1, 0.5), miner(4, 1, 0.5), miner(6, 1, 0.5)];
        let right = [miner(1, 1, 0.5), miner(2, 1, 0.75), miner(3, 1, 0.5 + 1e-12), miner(4, 2, 0.5), miner(5, 1, 0.5)];
        let found = diff(&stored, &right, |uid, column| uid == 4 && column == "miner_rank");
        let rows = RowCounts { matching: 2, drift: 1, unproven: 1, habit: 0, accepted: 0, missing: 1, extra: 1 };
        assert_eq!(found.rows, rows);
        assert_eq!(found.cells, CellCounts { equal: 5, within: 1, drift: 1, unproven: 1, habit: 0, accepted: 0 });
        assert_eq!(found.columns[0], ColumnTally { unproven: 1, ..ColumnTally::default() });
        assert_eq!(found.columns[1], ColumnTally { within: 1, drift: 1, max_abs_diff: 0.25, ..ColumnTally::default() });
        let classes: Vec<_> = found.differences.iter().map(|cell| (cell.key.miner_uid.unwrap(), cell.class)).collect();
        let expected = [(2, Class::Drift), (3, Class::Within), (4, Class::Unproven), (5, Class::Missing), (6, Class::Extra)];
        assert_eq!(classes, expected);

        let mut twice = found.clone();
        twice.add(found);
        assert_eq!(twice.rows, RowCounts { matching: 4, drift: 2, unproven: 2, habit: 0, accepted: 0, missing: 2, extra: 2 });
        assert_eq!(twice.cells, CellCounts { equal: 10, within: 2, drift: 2, unproven: 2, habit: 0, accepted: 0 });
        assert_eq!(twice.columns[0], ColumnTally { unproven: 2, ..ColumnTally::default() });
        assert_eq!(twice.columns[1], ColumnTally { within: 2, drift: 2, max_abs_diff: 0.25, ..ColumnTally::default() });
        assert_eq!(twice.differences.len(), 10);
    }

    #[test]
    fn habits_are_counted_apart_and_take_their_rows_with_them() {
        let stored = [1, 2, 3, 4, 5].map(|uid| miner(uid, 1, 0.5));
        let right = [miner(1, 9, 0.5), miner(2, 9, 0.75), miner(3, 9, 0.625), miner(4, 1, 0.5), miner(5, 1, 0.625)];
        let mut found = diff(&stored, &right, |uid, column| [3, 5].contains(&uid) && column == "avg_forecast_score");
        found.set_habits_apart(&plan(), |cell| cell.column.as_deref() == Some("miner_rank"));
        assert_eq!(found.rows, RowCounts { matching: 1, drift: 1, unproven: 2, habit: 1, accepted: 0, missing: 0, extra: 0 });
        assert_eq!(found.cells, CellCounts { equal: 4, within: 0, drift: 1, unproven: 2, habit: 3, accepted: 0 });
        assert_eq!(found.columns[0], ColumnTally { habit: 3, ..ColumnTally::default() }, "no drift is left in it");
        assert_eq!(found.columns[1], ColumnTally { drift: 1, unproven: 2, max_abs_diff: 0.25, ..ColumnTally::default() });
        let habits = found.differences.iter().filter(|cell| cell.class == Class::Habit).count();
        assert_eq!(habits, 3);
        let (mut sum, tally) = (plan().diff(), found.clone());
        sum.add(tally);
        assert_eq!((sum.rows, sum.cells, sum.columns[0]), (found.rows, found.cells, found.columns[0]));
    }

    #[test]
    fn a_key_that_is_stored_twice_is_an_error() {
        let stored = [miner(1, 1, 0.5), miner(1, 1, 0.5)];
        let key = |row: &MinerStat| RowKey { miner_uid: row.miner_uid, ..RowKey::default() };
        let told = plan().table(stored.iter(), [].iter(), key, |_, _| false).unwrap_err().to_string();
        assert!(told.contains("two stored rows have the key"), "{told}");
    }
}
