//! What an operator has looked at and accepts as it is stored: no news until it changes.

use std::collections::BTreeMap;

use super::difference::{Class, Difference, RowKey};
use super::outcome::{Outcome, TableTally};
use super::serial::TableName;
use super::value::canonical_json;

/// What is accepted, each with the reason that was given for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// As the user names the file.
    pub name: String,
    pub accepted: BTreeMap<Accepted, String>,
}

/// A stored cell with its value, or a row that is missing or extra.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accepted {
    pub table: TableName,
    pub key: RowKey,
    /// `None` of a whole row.
    pub column: Option<String>,
    /// [`Class::Missing`] or [`Class::Extra`] of a whole row, else [`Class::Drift`].
    pub class: Class,
    /// The stored value as JSON: another value is news.
    pub stored: String,
}

impl Accepted {
    /// What would accept a difference.
    pub fn of(difference: &Difference) -> Accepted {
        let class = match difference.class {
            Class::Missing | Class::Extra => difference.class,
            Class::Within | Class::Drift | Class::Unproven | Class::Habit => Class::Drift,
        };
        Accepted {
            table: difference.table,
            key: difference.key.clone(),
            column: difference.column.clone(),
            class,
            stored: canonical_json(&difference.stored.to_json()),
        }
    }
}

/// What a comparison has to do with its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Baselined {
    pub name: String,
    /// Differences that are accepted, in order of table and key; no longer among those of the outcome.
    pub accepted: Vec<Difference>,
    /// Entries that no difference has any more. `None` where only a part was compared, which cannot tell.
    pub gone: Option<Vec<Accepted>>,
}

impl Baseline {
    pub fn accepts(&self, difference: &Difference) -> bool {
        difference.is_wrong() && self.accepted.contains_key(&Accepted::of(difference))
    }

    /// Takes what is accepted out of the drift, and rows without any other drift with it.
    pub fn take_from(&self, outcome: &mut Outcome) {
        let differences = std::mem::take(&mut outcome.differences);
        let mut gone = self.accepted.clone();
        for row in differences.chunk_by(|a, b| (a.table, &a.key) == (b.table, &b.key)) {
            // What cannot be checked or is a habit now is still there.
            row.iter().for_each(|found| drop(gone.remove(&Accepted::of(found))));
            let (taken, kept): (Vec<&Difference>, Vec<&Difference>) = row.iter().partition(|found| self.accepts(found));
            if let Some(tally) = outcome.tables.get_mut(row[0].table).filter(|_| !taken.is_empty()) {
                take_row(tally, &taken, &kept);
            }
        }
        let (accepted, left): (Vec<Difference>, Vec<Difference>) = differences.into_iter().partition(|found| self.accepts(found));
        for (table, tally) in &mut outcome.tables {
            for (column, tally) in tally.columns.iter_mut().filter(|(_, tally)| tally.accepted > 0) {
                let drifted = left.iter().filter(|found| found.class == Class::Drift && found.table == *table);
                let of_column = drifted.filter(|found| found.column.as_deref() == Some(column.as_str()));
                tally.max_abs_diff = of_column.filter_map(Difference::delta).map(f64::abs).fold(0.0, f64::max);
            }
        }
        let whole = !outcome.narrowing.is_narrow() && !outcome.filter.is_narrow();
        let gone = gone.into_keys().filter(|entry| outcome.tables.contains_key(entry.table)).collect();
        outcome.differences = left;
        outcome.baseline = Some(Baselined { name: self.name.clone(), accepted, gone: whole.then_some(gone) });
    }
}

/// One row, of which some differences are accepted.
fn take_row(tally: &mut TableTally, taken: &[&Difference], kept: &[&Difference]) {
    let rows = &mut tally.rows;
    for cell in taken {
        match (cell.class, &cell.column) {
            (Class::Missing, _) => rows.missing -= 1,
            (Class::Extra, _) | (_, None) => rows.extra -= 1,
            (_, Some(column)) => {
                tally.cells.drift -= 1;
                tally.cells.accepted += 1;
                if let Some(tally) = tally.columns.get_mut(column) {
                    tally.drift -= 1;
                    tally.accepted += 1;
                }
                continue;
            }
        }
        rows.accepted += 1;
    }
    let has = |class| kept.iter().any(|found| found.class == class);
    if taken[0].column.is_none() || has(Class::Drift) {
        return;
    }
    rows.drift -= 1;
    match (has(Class::Unproven), has(Class::Habit)) {
        (true, _) => rows.unproven += 1,
        (false, true) => rows.habit += 1,
        (false, false) => rows.accepted += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{CellCounts, ColumnTally, RowCounts};
    use crate::model::value::Value;

    const TABLE: &str = "miner_stats";

    fn cell(miner: i32, column: &str, class: Class, stored: f64) -> Difference {
        let key = RowKey { miner_uid: Some(miner), ..RowKey::default() };
        let (stored, recomputed) = (Value::Float(stored), Value::Float(stored + 0.25));
        Difference { table: TABLE, key, column: Some(column.to_owned()), class, stored, recomputed, cause: None }
    }

    fn lone(miner: i32, class: Class) -> Difference {
        Difference { column: None, stored: Value::Null, recomputed: Value::Null, ..cell(miner, "", class, 0.0) }
    }

    /// Six miners: one with two drifted cells, one with a drifted and an unproven one, one with a habit beside, one missing, one extra,
    /// and one in sync.
    fn outcome() -> Outcome {
        let differences = vec![
            cell(1, "avg_day1_score", Class::Drift, 0.5),
            cell(1, "avg_forecast_score", Class::Drift, 0.5),
            cell(2, "avg_day1_score", Class::Drift, 0.5),
            cell(2, "avg_forecast_score", Class::Unproven, 0.5),
            cell(3, "avg_day1_score", Class::Drift, 0.5),
            cell(3, "avg_forecast_score", Class::Habit, 0.5),
            lone(4, Class::Missing),
            lone(5, Class::Extra),
        ];
        let column =
            |drift, unproven, habit| ColumnTally { drift, unproven, habit, max_abs_diff: 0.25, ..ColumnTally::default() };
        let tally = TableTally {
            rows: RowCounts { matching: 1, drift: 3, missing: 1, extra: 1, ..RowCounts::default() },
            cells: CellCounts { equal: 2, drift: 4, unproven: 1, habit: 1, ..CellCounts::default() },
            columns: [("avg_day1_score", column(3, 0, 0)), ("avg_forecast_score", column(1, 1, 1))]
                .map(|(name, tally)| (name.to_owned(), tally))
                .into(),
        };
        Outcome { tables: [(TABLE, tally)].into(), differences, ..Outcome::nothing("reconcile") }
    }

    fn baseline(accepted: &[Difference]) -> Baseline {
        let accepted = accepted.iter().map(|found| (Accepted::of(found), "seen".to_owned())).collect();
        Baseline { name: "baseline.json".to_owned(), accepted }
    }

    #[test]
    fn what_is_accepted_is_no_drift_and_takes_its_row_along() {
        let mut found = outcome();
        let all = found.differences.clone();
        baseline(&all).take_from(&mut found);
        assert!(found.in_sync());
        let tally = &found.tables[TABLE];
        let rows = RowCounts { matching: 1, unproven: 1, habit: 1, accepted: 3, ..RowCounts::default() };
        assert_eq!(tally.rows, rows);
        assert_eq!(tally.rows.all(), 6, "no row is lost");
        assert_eq!(tally.cells, CellCounts { equal: 2, unproven: 1, habit: 1, accepted: 4, ..CellCounts::default() });
        assert_eq!(tally.columns["avg_day1_score"], ColumnTally { accepted: 3, ..ColumnTally::default() });
        let classes: Vec<Class> = found.differences.iter().map(|found| found.class).collect();
        assert_eq!(classes, [Class::Unproven, Class::Habit]);
        let baselined = found.baseline.unwrap();
        assert_eq!((baselined.accepted.len(), baselined.gone), (6, Some(Vec::new())));
    }

    #[test]
    fn another_value_column_row_or_class_is_news() {
        let accepted = [
            cell(1, "avg_day1_score", Class::Drift, 0.5),
            cell(1, "avg_forecast_score", Class::Drift, 0.625),
            cell(9, "avg_day1_score", Class::Drift, 0.5),
            lone(4, Class::Extra),
        ];
        let mut found = outcome();
        baseline(&accepted).take_from(&mut found);
        let tally = &found.tables[TABLE];
        assert_eq!(tally.rows, RowCounts { matching: 1, drift: 3, missing: 1, extra: 1, ..RowCounts::default() });
        assert_eq!((tally.cells.drift, tally.cells.accepted), (3, 1));
        assert_eq!(tally.columns["avg_day1_score"].max_abs_diff, 0.25, "two are left in it");
        assert!(!found.in_sync());
        let mut expected: Vec<Accepted> = accepted[1..].iter().map(Accepted::of).collect();
        expected.sort();
        assert_eq!(found.baseline.unwrap().gone, Some(expected));
    }

    #[test]
    fn where_a_part_was_compared_nothing_is_called_gone() {
        let mut found = outcome();
        found.narrowing.lifetime = false;
        baseline(&[cell(9, "avg_day1_score", Class::Drift, 0.5)]).take_from(&mut found);
        assert_eq!(found.baseline.unwrap().gone, None);
    }
}
