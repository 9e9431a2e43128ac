//! `weather_forecast_stats`, unit by unit: wide columns, places (D1), sanitized errors (D5), and the findings of stored rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::columns::Column;
use crate::model::difference::{Class, RowKey, Tolerance};
use crate::model::evidence::StoredStat;
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::unproven::{Loss, RunMiner};
use crate::model::value::{Field, Value};

use super::table::{Pair, TableDiff, TablePlan, compared, index_of, repeated};
use super::unproven::UnitLoss;

/// Where a compared cell is found in a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum CellIndex {
    /// Index in [`Rollup::COLUMNS`], and what of the stored cell E1 may have changed.
    Column(usize, Text),
    /// Index among the stored wide columns and among the expected leads.
    Wide(usize, usize),
}

impl CellIndex {
    pub(super) fn pair<'v>(self, stored: &'v StoredStat, recomputed: &'v ForecastStat) -> Pair<'v> {
        match self {
            CellIndex::Column(index, text) => Pair {
                stored: stored.row.value(index),
                recomputed: recomputed.value(index),
                unsanitized: unsanitized(stored, text),
            },
            CellIndex::Wide(a, b) => Pair::of(stored.row.wide[a].value(), recomputed.wide[b].value()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Text {
    Plain,
    Message,
    Error,
}

/// How stored rollup rows of runs are compared.
#[derive(Debug, Clone)]
pub struct StatPlan {
    pub table: TablePlan,
    pub(super) cells: Vec<CellIndex>,
    /// Every column that can be compared, whether it is or not (D6).
    pub(super) all: Vec<(Column, CellIndex)>,
    /// Stored wide columns of expected leads: lead, index when stored, index when recomputed.
    pub(super) wide: Vec<(LeadHours, usize, usize)>,
}

/// The diff of some units, with the findings that stored rows give.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StatDiff {
    pub table: TableDiff,
    pub findings: Vec<Finding>,
    /// D6: whose evidence is gone, also where it is not compared.
    pub losses: Vec<(RunMiner, Loss)>,
}

impl StatPlan {
    /// `stored` are the leads that have a wide column, `expected` those of the settings; a column for a lead that is not
    /// expected is not compared.
    pub fn new(stored: &[LeadHours], expected: &[LeadHours], tolerance: Tolerance, included: impl Fn(&Column) -> bool) -> Self {
        let wide: Vec<_> =
            stored.iter().enumerate().filter_map(|(at, lead)| Some((*lead, at, expected.binary_search(lead).ok()?))).collect();
        let fixed = ForecastStat::COLUMNS.iter().filter(|column| compared(column));
        let fixed = fixed.map(|column| (column.clone(), CellIndex::Column(index_of::<ForecastStat>(column), text(column))));
        let wide_cells = wide.iter().map(|&(lead, a, b)| (Column::wide(lead), CellIndex::Wide(a, b)));
        let all: Vec<_> = fixed.chain(wide_cells).collect();
        let (columns, cells) = all.iter().filter(|(column, _)| included(column)).cloned().unzip();
        StatPlan { table: TablePlan { table: ForecastStat::TABLE, columns, tolerance }, cells, all, wide }
    }

    /// Compares the rows of one unit that have the place with the stored rows of the same `forecast_run_id`.
    /// `lost` is what [`StatPlan::losses`] gave for the whole unit.
    pub fn unit(&self, stored: &[&StoredStat], recomputed: &[&ForecastStat], lost: &UnitLoss) -> Result<StatDiff> {
        let mut rows: BTreeMap<Option<i32>, (Option<&StoredStat>, Option<&ForecastStat>)> = BTreeMap::new();
        for row in stored {
            if rows.insert(row.row.miner_uid, (Some(row), None)).is_some() {
                return Err(repeated(ForecastStat::TABLE, &key(&row.row)));
            }
        }
        for row in recomputed {
            rows.entry(row.miner_uid).or_default().1 = Some(row);
        }
        let losses = lost.rows.iter().map(|(whose, row)| (*whose, row.loss)).collect();
        let mut diff = StatDiff { table: self.table.diff(), losses, ..StatDiff::default() };
        for (stored, recomputed) in rows.into_values() {
            if let Some(stored) = stored {
                self.check(stored, recomputed, &mut diff.findings);
            }
            match (stored, recomputed) {
                (Some(a), Some(b)) => self.row(a, b, lost, &mut diff.table),
                (Some(a), None) => self.table.lone(key(&a.row), Class::Extra, &mut diff.table),
                (None, Some(b)) => self.table.lone(key(b), Class::Missing, &mut diff.table),
                (None, None) => unreachable!("invariant: a joined row comes from one side at least"),
            }
        }
        Ok(diff)
    }

    /// Stored rows of no unit: all are extra.
    pub fn strays(&self, stored: &[StoredStat]) -> StatDiff {
        let mut diff = StatDiff { table: self.table.diff(), ..StatDiff::default() };
        for row in stored {
            self.check(row, None, &mut diff.findings);
            self.table.lone(key(&row.row), Class::Extra, &mut diff.table);
        }
        diff
    }

    fn row(&self, stored: &StoredStat, recomputed: &ForecastStat, lost: &UnitLoss, diff: &mut TableDiff) {
        let cells = self.cells.iter().map(|cell| cell.pair(stored, recomputed));
        let whose = recomputed.run_id.zip(recomputed.miner_uid);
        // NaN and infinities are never outputs (A6): such a cell is wrong whatever its evidence was.
        let unproven = |column: &str, stored: &Value<'_>| {
            !matches!(stored, Value::Float(x) if !x.is_finite()) && whose.is_some_and(|whose| lost.covers(whose, column))
        };
        self.table.row(&key(recomputed), cells, unproven, diff);
    }

    /// Section 8: `wide_without_narrow`, `unsanitized_error`.
    fn check(&self, stored: &StoredStat, recomputed: Option<&ForecastStat>, findings: &mut Vec<Finding>) {
        let run = recomputed.map_or(stored.row.run_id, |row| row.run_id);
        let finding = |code, lead| Finding {
            code,
            run: run.map(RunId),
            miner: stored.row.miner_uid.map(MinerUid),
            lead,
            table: ForecastStat::TABLE,
            row_id: Some(stored.id),
            detail: String::new(),
        };
        for &(lead, a, b) in &self.wide {
            if stored.row.wide[a].is_some() && recomputed.is_none_or(|row| row.wide[b].is_none()) {
                findings.push(finding(Code::WideWithoutNarrow, Some(lead)));
            }
        }
        if stored.message_unsanitized || stored.error_unsanitized {
            findings.push(finding(Code::UnsanitizedError, None));
        }
    }
}

fn key(row: &ForecastStat) -> RowKey {
    RowKey { miner_uid: row.miner_uid, forecast_run_id: row.forecast_run_id.clone(), scope: None, run_id: row.run_id }
}

fn text(column: &Column) -> Text {
    match column.name.as_ref() {
        "last_error_message" => Text::Message,
        "forecast_error_msg" => Text::Error,
        _ => Text::Plain,
    }
}

/// D5
fn unsanitized(stored: &StoredStat, text: Text) -> bool {
    match text {
        Text::Plain => false,
        Text::Message => stored.message_unsanitized,
        Text::Error => stored.error_unsanitized,
    }
}
