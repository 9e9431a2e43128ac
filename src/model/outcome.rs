//! What a job found: the tallies that every report is made from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::Baselined;
use super::difference::Difference;
use super::filter::ColumnFilter;
use super::finding::{Code, Finding};
use super::job::Narrowing;
use super::time::Micros;
use super::weighing::Weighed;

/// Rows of one table by class (D2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    pub matching: u64,
    pub drift: u64,
    /// No cell drifted, but some cell's evidence is gone (D6).
    pub unproven: u64,
    /// No cell drifted or is unproven, but some is as it is by habit.
    pub habit: u64,
    /// A baseline accepts all that drifted in it, or that it is missing or extra.
    pub accepted: u64,
    pub missing: u64,
    pub extra: u64,
}

impl RowCounts {
    /// All rows that either side has.
    pub fn all(&self) -> u64 {
        self.matching + self.drift + self.unproven + self.habit + self.accepted + self.missing + self.extra
    }
}

/// Cells of one table by class (D2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellCounts {
    pub equal: u64,
    pub within: u64,
    pub drift: u64,
    pub unproven: u64,
    pub habit: u64,
    pub accepted: u64,
}

/// One column's drift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnTally {
    pub within: u64,
    pub drift: u64,
    pub unproven: u64,
    pub habit: u64,
    pub accepted: u64,
    /// Largest `|recomputed - stored|` of two finite numbers, drifted or within.
    pub max_abs_diff: f64,
}

/// One stored rollup table held against its recomputation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableTally {
    pub rows: RowCounts,
    pub cells: CellCounts,
    /// Every compared column, by name.
    pub columns: BTreeMap<String, ColumnTally>,
}

/// Findings of one code that a report has with their rows.
pub const FINDINGS_KEPT: usize = 20;

/// The result of one job, ready to be shown.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub command: &'static str,
    /// The source as the user may see it: never with a password.
    pub source: String,
    pub taken_at: Micros,
    /// The time that rules take for that of the snapshot, where the settings say another than its own.
    pub replay_of: Option<Micros>,
    /// Which part of rows and columns was compared.
    pub narrowing: Narrowing,
    pub filter: ColumnFilter,
    /// Rows read, by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// BLAKE3 over all recomputed rollups, hexadecimal.
    pub digest: String,
    /// The tables that were compared, by name. A table that the source lacks is not here but in `notes`.
    pub tables: BTreeMap<&'static str, TableTally>,
    pub findings: BTreeMap<Code, u64>,
    /// The first of each code, at most 20, in their order.
    pub finding_rows: Vec<Finding>,
    /// All that drifted, is unproven, is missing or is extra, in order of table and key. Cells within tolerance are only counted.
    pub differences: Vec<Difference>,
    /// What weights are set from, held against what was recomputed; `None` where the source is no database, or scores were not compared.
    pub weighed: Option<Weighed>,
    /// What of it a baseline accepts; `None` where none was given.
    pub baseline: Option<Baselined>,
    /// Stages in order, with the time that passed in each.
    pub elapsed: Vec<(&'static str, Duration)>,
    /// What the reader must know: parts that were absent, left out or narrowed.
    pub notes: Vec<String>,
}

impl Outcome {
    /// A job that read nothing and found nothing.
    #[cfg(test)]
    pub fn nothing(command: &'static str) -> Outcome {
        Outcome {
            command,
            source: "nowhere".to_owned(),
            taken_at: Micros(0),
            replay_of: None,
            narrowing: Narrowing::default(),
            filter: ColumnFilter::default(),
            rows: BTreeMap::new(),
            digest: String::new(),
            tables: BTreeMap::new(),
            findings: BTreeMap::new(),
            finding_rows: Vec::new(),
            differences: Vec::new(),
            weighed: None,
            baseline: None,
            elapsed: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Nothing drifted, missing or extra in what was compared. What is unproven (D6) is no drift.
    pub fn in_sync(&self) -> bool {
        self.tables.values().all(|t| t.rows.drift + t.rows.missing + t.rows.extra == 0)
    }
}
