//! What a comparison says (D): classes of cells and rows, and the differences themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::serial::{self, TableName};
use super::value::Value;

/// D2, for a cell. The order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CellClass {
    Equal,
    Within,
    Drift,
}

/// D2 and D6, for what is not equal: a cell, or a whole row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// A cell within tolerance.
    Within,
    /// A drifted cell.
    Drift,
    /// A drifted cell whose evidence is gone (D6): it is reported on its own, and corrected only where that is asked for.
    Unproven,
    /// A drifted cell that the validator's own code stores so by habit (`model/habit.rs`): no news, and corrected only where that is
    /// asked for.
    Habit,
    /// A row recomputed, not stored.
    Missing,
    /// A row stored, without evidence left.
    Extra,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Within => "within",
            Class::Drift => "drift",
            Class::Unproven => "unproven",
            Class::Habit => "habit",
            Class::Missing => "missing",
            Class::Extra => "extra",
        }
    }
}

/// D2: `|a-b| ≤ atol` or `|a-b| ≤ rtol*max(|a|,|b|)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub atol: f64,
    pub rtol: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance { atol: 1e-9, rtol: 1e-9 }
    }
}

impl Tolerance {
    /// D2: whether two finite numbers are close enough to count as the same.
    pub fn allows(self, a: f64, b: f64) -> bool {
        let difference = (a - b).abs();
        a.is_finite() && b.is_finite() && (difference <= self.atol || difference <= self.rtol * a.abs().max(b.abs()))
    }
}

/// The key of a rollup row in its table (D1); what a table's key does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    pub miner_uid: Option<i32>,
    pub forecast_run_id: Option<String>,
    pub scope: Option<String>,
    /// `weather_subnet_stats`: part of the key. `weather_forecast_stats`: the recomputed row's run, else the stored one's.
    pub run_id: Option<i32>,
}

impl fmt::Display for RowKey {
    /// As reports name a row, `run 7, miner 12`; as `{:#}` with the columns' names, to look it up by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = if f.alternate() {
            [
                self.miner_uid.map(|uid| format!("miner_uid {uid}")),
                self.forecast_run_id.as_ref().map(|id| format!("forecast_run_id {id}")),
                self.scope.as_ref().map(|scope| format!("scope {scope}")),
                self.run_id.map(|run| format!("run_id {run}")),
            ]
        } else {
            [
                self.scope.clone().filter(|scope| scope != "run"),
                self.run_id.map(|run| format!("run {run}")),
                self.forecast_run_id.clone().filter(|_| self.run_id.is_none()),
                self.miner_uid.map(|miner| format!("miner {miner}")),
            ]
        };
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// One difference: a cell, or a row (then `column` is `None` and both values NULL).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    #[serde(with = "serial::table")]
    pub table: TableName,
    pub key: RowKey,
    pub column: Option<String>,
    pub class: Class,
    pub stored: Value<'static>,
    pub recomputed: Value<'static>,
    /// Of a drifted cell for which one was sought: those of scores, and those that follow from others.
    pub cause: Option<Cause>,
}

impl Difference {
    /// Whether it makes a comparison fail: what is within tolerance, unproven or a habit does not.
    pub fn is_wrong(&self) -> bool {
        matches!(self.class, Class::Drift | Class::Missing | Class::Extra)
    }

    /// Whether the cell is wrong only because others are.
    pub fn follows(&self) -> bool {
        self.cause == Some(Cause::Follows)
    }

    /// `recomputed - stored` of two finite numbers.
    pub fn delta(&self) -> Option<f64> {
        let number = |value: &Value<'_>| match value {
            Value::Float(x) if x.is_finite() => Some(*x),
            Value::Int(x) => Some(*x as f64),
            _ => None,
        };
        Some(number(&self.recomputed)? - number(&self.stored)?)
    }
}
