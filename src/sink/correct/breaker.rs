//! The circuit breaker: more change than a night should bring is refused before anything is written.

use crate::error::{Error, ErrorKind, Result};
use crate::model::correction::{Change, Corrections};
use crate::model::difference::Class;
use crate::model::value::Value;
use crate::model::writing::{Guards, MaxAbsDiff};

/// Tables of at most this many rows may change as a whole: the share says nothing there.
const SMALL_TABLE_ROWS: u64 = 100;

/// Refuses corrections of which a table of `rows` stored rows would have too many, or one that goes too far.
pub fn check(guards: &Guards, corrections: &Corrections, rows: impl Fn(&str) -> u64) -> Result<()> {
    let planned = corrections.rows.len() as u64;
    let refused = |detail: String, flag: &str| refused(detail + &unproven(corrections), flag);
    if let Some(max) = guards.max_rows.filter(|max| planned > *max) {
        return Err(refused(format!("{planned} rows would change, more than the {max} of --max-rows"), "--max-rows"));
    }
    let mut tables: Vec<&str> = corrections.rows.iter().map(|row| row.table).collect();
    tables.dedup();
    for table in tables {
        let of_table = || corrections.rows.iter().filter(|row| row.table == table);
        let changed = of_table().count() as u64;
        // New rows are part of the table that they make, so that no share is beyond the whole.
        let inserted = of_table().filter(|row| matches!(row.change, Change::Insert(_))).count() as u64;
        let stored = rows(table) + inserted;
        if stored > SMALL_TABLE_ROWS && changed as f64 > guards.max_fraction * stored as f64 {
            let share = 100.0 * changed as f64 / stored as f64;
            let limit = 100.0 * guards.max_fraction;
            let detail = format!("{table}: {changed} of {stored} rows would change ({share:.1} %), more than {limit} %");
            return Err(refused(detail, "--max-fraction"));
        }
    }
    guards.max_abs_diff.iter().try_for_each(|max| check_distances(max, corrections))
}

/// What the job would clear though nothing speaks against it but the absence of evidence (D6).
fn unproven(corrections: &Corrections) -> String {
    let cells = corrections.rows.iter().flat_map(|row| row.cells()).filter(|cell| cell.class == Class::Unproven).count();
    if cells == 0 { String::new() } else { format!("; {cells} of their cells are unproven, and --clear-unproven clears them") }
}

fn check_distances(max: &MaxAbsDiff, corrections: &Corrections) -> Result<()> {
    for row in corrections.rows.iter().filter(|row| max.table.as_deref().is_none_or(|table| table == row.table)) {
        let Change::Update(cells) = &row.change else { continue };
        for cell in cells.iter().filter(|cell| cell.column == max.column) {
            let moved = distance(&cell.stored, &cell.recomputed);
            if moved > max.limit {
                let (table, column, row) = (row.table, &cell.column, format!("{:#}", row.key));
                let detail = format!("{table}.{column} of {row} would move by {moved}, more than {}", max.limit);
                return Err(refused(detail, "--max-abs-diff"));
            }
        }
    }
    Ok(())
}

/// How far two numbers are apart; a number that is not finite is infinitely far from any other.
fn distance(stored: &Value<'_>, recomputed: &Value<'_>) -> f64 {
    let number = |value: &Value<'_>| match value {
        Value::Float(x) => Some(*x),
        Value::Int(x) => Some(*x as f64),
        _ => None,
    };
    match (number(stored), number(recomputed)) {
        (Some(a), Some(b)) if a.is_finite() && b.is_finite() => (b - a).abs(),
        (Some(_), Some(_)) => f64::INFINITY,
        _ => 0.0,
    }
}

fn refused(detail: String, flag: &str) -> Error {
    Error::new(ErrorKind::Refused, "correcting the stored rollups", detail)
        .hint(format!("nothing was written; where this many are right, pass a larger {flag}"))
}

#[cfg(test)]
mod tests {
    use crate::model::correction::{Cell, Correction};
    use crate::model::difference::Class;
    use crate::model::difference::RowKey;
    use crate::model::rollups::{MinerStat, Rollup};

    use super::*;

    fn corrections(rows: i32, to: f64) -> Corrections {
        let row = |miner| Correction {
            table: MinerStat::TABLE,
            key: RowKey { miner_uid: Some(miner), ..RowKey::default() },
            change: Change::Update(vec![Cell {
                column: "avg_era5_score".to_owned(),
                class: Class::Drift,
                stored: Value::Float(0.5),
                recomputed: Value::Float(to),
            }]),
        };
        Corrections { rows: (0..rows).map(row).collect(), ..Corrections::default() }
    }

    fn refusal(guards: &Guards, corrections: &Corrections, stored: u64) -> Option<String> {
        let error = check(guards, corrections, |_| stored).err()?;
        assert_eq!(error.exit_status(), 3);
        Some(format!("{error}; {}", error.hint_text().unwrap()))
    }

    #[test]
    fn a_share_is_refused_where_the_table_is_large_enough() {
        let guards = Guards::default();
        assert_eq!(refusal(&guards, &corrections(20, 0.6), 101), None);
        assert_eq!(refusal(&guards, &corrections(100, 0.6), 100), None, "a small table");
        insta::assert_snapshot!(refusal(&guards, &corrections(21, 0.6), 101).unwrap(), @"correcting the stored rollups: miner_stats: 21 of 101 rows would change (20.8 %), more than 20 %; nothing was written; where this many are right, pass a larger --max-fraction");
        assert_eq!(refusal(&Guards { max_fraction: 1.0, ..guards }, &corrections(101, 0.6), 101), None);
    }

    #[test]
    fn new_rows_count_in_the_share() {
        let mut all = corrections(44, 0.6);
        let insert = |miner| Correction {
            table: MinerStat::TABLE,
            key: RowKey { miner_uid: Some(miner), ..RowKey::default() },
            change: Change::Insert(Vec::new()),
        };
        all.rows.extend((44..144).map(insert));
        let guards = Guards { max_fraction: 1.0, ..Guards::default() };
        assert_eq!(refusal(&guards, &all, 139), None, "144 rows of 139 and 100 new ones");
        let guards = Guards { max_fraction: 0.6, ..guards };
        assert!(refusal(&guards, &all, 139).unwrap().contains("144 of 239 rows would change (60.3 %)"));
    }

    #[test]
    fn unproven_cells_are_named() {
        let mut all = corrections(4, 0.6);
        let Change::Update(cells) = &mut all.rows[0].change else { panic!("an update") };
        cells[0].class = Class::Unproven;
        let guards = Guards { max_rows: Some(3), ..Guards::default() };
        let told = refusal(&guards, &all, 9).unwrap();
        assert!(told.contains("--max-rows; 1 of their cells are unproven, and --clear-unproven clears them"), "{told}");
    }

    #[test]
    fn rows_are_counted() {
        let guards = Guards { max_rows: Some(3), ..Guards::default() };
        assert_eq!(refusal(&guards, &corrections(3, 0.6), 9), None);
        assert!(refusal(&guards, &corrections(4, 0.6), 9).unwrap().contains("pass a larger --max-rows"));
    }

    #[test]
    fn a_value_may_move_so_far() {
        let max = |table: Option<&str>| MaxAbsDiff {
            table: table.map(str::to_owned),
            column: "avg_era5_score".to_owned(),
            limit: 0.25,
        };
        let guards = |table| Guards { max_abs_diff: vec![max(table)], ..Guards::default() };
        assert_eq!(refusal(&guards(None), &corrections(1, 0.75), 9), None);
        insta::assert_snapshot!(refusal(&guards(None), &corrections(1, 0.875), 9).unwrap(), @"correcting the stored rollups: miner_stats.avg_era5_score of miner_uid 0 would move by 0.375, more than 0.25; nothing was written; where this many are right, pass a larger --max-abs-diff");
        assert!(refusal(&guards(None), &corrections(1, f64::NAN), 9).is_some());
        assert_eq!(refusal(&guards(Some("weather_forecast_stats")), &corrections(1, 9.0), 9), None);
    }
}
