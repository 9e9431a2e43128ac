//! What a job that writes is asked to do, and what it did.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::correction::Selection;
use super::difference::RowKey;

/// How corrections are applied.
#[derive(Debug, Clone, Default)]
pub struct Correcting {
    pub selection: Selection,
    pub guards: Guards,
    /// Runs younger than this are left alone, by the time of their initialisation.
    pub min_age: Duration,
    /// What goes into `validator_hotkey` of a new row; none: that of the newest stored row.
    pub validator_hotkey: Option<String>,
    /// What becomes of `updated_at` (D7).
    pub updated_at: UpdatedAt,
    /// Take the validator's pause lock, so that it starts nothing while the job is at work.
    pub pause_validator: bool,
    /// For the record: `reconcile` or `apply`.
    pub command: &'static str,
}

/// How a job is taken back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undoing {
    /// What becomes of `updated_at` where it was written since; else it is put back.
    pub updated_at: UpdatedAt,
    pub pause_validator: bool,
}

/// D7: what a correction makes of `updated_at`, by which the validator's readers order rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpdatedAt {
    /// It moves only in rows that have the greatest of their miner and hotkey: who is greatest stays the same.
    #[default]
    Ordered,
    /// It moves in every row that changes.
    Now,
    /// It never moves.
    Keep,
}

impl UpdatedAt {
    pub const ALL: [UpdatedAt; 3] = [UpdatedAt::Ordered, UpdatedAt::Now, UpdatedAt::Keep];

    /// The name, as it is set and shown.
    pub fn name(self) -> &'static str {
        match self {
            UpdatedAt::Ordered => "ordered",
            UpdatedAt::Now => "now",
            UpdatedAt::Keep => "keep",
        }
    }
}

/// What may change at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Guards {
    /// Rows of all tables together.
    pub max_rows: Option<u64>,
    /// Share of a table's rows, for tables of more than 100 rows.
    pub max_fraction: f64,
    pub max_abs_diff: Vec<MaxAbsDiff>,
}

impl Default for Guards {
    fn default() -> Self {
        Guards { max_rows: None, max_fraction: 0.2, max_abs_diff: Vec::new() }
    }
}

/// How far a column's value may move: `COLUMN=X`, or `TABLE.COLUMN=X`.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxAbsDiff {
    pub table: Option<String>,
    pub column: String,
    pub limit: f64,
}

/// What was written, and what was not.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// None where there was nothing to do.
    pub job: Option<String>,
    pub tables: BTreeMap<String, TableCounts>,
    /// Rows and cells that stay as they are, for another night.
    pub left: Vec<Left>,
    /// Rows without evidence that nobody asked to delete.
    pub extra: u64,
    /// Cells that were cleared though their evidence is gone (D6), since that was asked for.
    pub cleared: u64,
    pub notes: Vec<String>,
    pub attempts: u32,
    pub elapsed: Duration,
    /// Something could not be corrected at all; a note says what.
    pub incomplete: bool,
    /// The earlier job that has done this already; then nothing was written.
    pub done_by: Option<String>,
}

impl Applied {
    /// Whether everything that was found is corrected.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.extra == 0 && !self.incomplete
    }
}

/// One table's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounts {
    pub updated: u64,
    pub inserted: u64,
    pub deleted: u64,
    pub cells: u64,
    pub skipped: u64,
    pub skipped_cells: u64,
    /// Rows that are now newer, by `updated_at`, than every row was before: the validator's web sync will pick them up.
    #[serde(default)]
    pub picked_up: u64,
    /// Changed or new rows that are not: what the web shows of them stays as it is.
    #[serde(default)]
    pub not_picked_up: u64,
}

/// A row, or a cell of a row, that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub table: String,
    pub key: RowKey,
    pub column: Option<String>,
    pub reason: String,
}

impl Left {
    /// The reason in words.
    pub fn why(&self) -> &'static str {
        match self.reason.as_str() {
            "evidence" => "its scores or steps have changed since the snapshot",
            "changed" => "its stored value is no longer the one in the diff",
            "busy" => "another session holds it",
            "in_flight" => "its run is under way",
            "young" => "its run is younger than --min-age",
            "gone" => "the row is no longer there",
            "exists" => "the row is there by now",
            "unregistered" => "its miner is not in node_table",
            _ => "it was left",
        }
    }
}

/// A job, as it wrote itself down.
#[derive(Debug, Clone, Serialize)]
pub struct JobLine {
    pub id: String,
    pub command: String,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub source: String,
    pub snapshot_at: Option<String>,
    pub digest: Option<String>,
    pub settings: Json,
    pub counts: Json,
    pub outcome: Option<String>,
    pub undoes: Option<String>,
    pub undone_by: Option<String>,
}

impl JobLine {
    /// Whether it changed steps, and no rollups.
    pub fn is_of_steps(&self) -> bool {
        self.command.starts_with("steps ")
    }
}

/// What a job changed in one column of a table, or its whole rows.
#[derive(Debug, Clone, Serialize)]
pub struct JobCells {
    pub table: String,
    pub column: Option<String>,
    pub cells: i64,
    /// One of them.
    pub key: String,
    pub before: Option<String>,
    pub after: Option<String>,
}
