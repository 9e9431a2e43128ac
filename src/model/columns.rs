//! What a column of a rollup table is: its name, type, part in comparisons, and the group an operator adopts it by.

use std::borrow::Cow;

use super::ids::LeadHours;

use arrow_schema::{DataType, TimeUnit};

/// Type of a rollup column, with its form in Arrow and Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Float64,
    /// Microseconds, UTC.
    Time,
    Text,
    /// Canonical JSON text.
    Json,
}

impl Type {
    pub fn arrow(self) -> DataType {
        match self {
            Type::Bool => DataType::Boolean,
            Type::Int32 => DataType::Int32,
            Type::Int64 => DataType::Int64,
            Type::Float64 => DataType::Float64,
            Type::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Type::Text | Type::Json => DataType::Utf8,
        }
    }
}

/// Groups of columns that an operator can compare or ignore by one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Part of the key (D1): never compared, always shown.
    Key,
    Scores,
    Ranks,
    Status,
    Errors,
    Hosting,
    Activity,
}

impl Group {
    pub const NAMED: [(&'static str, Group); 6] = [
        ("scores", Group::Scores),
        ("ranks", Group::Ranks),
        ("status", Group::Status),
        ("errors", Group::Errors),
        ("hosting", Group::Hosting),
        ("activity", Group::Activity),
    ];
}

/// A column of a rollup table. Insert-only columns (D4) are not in the model: they are never recomputed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: Cow<'static, str>,
    pub kind: Type,
    pub group: Group,
}

impl Column {
    pub const fn new(name: &'static str, kind: Type, group: Group) -> Self {
        Column { name: Cow::Borrowed(name), kind, group }
    }

    /// `era5_score_{lead}h`, a wide column of Phase 0.
    pub fn wide(lead: LeadHours) -> Self {
        Column { name: Cow::Owned(format!("era5_score_{lead}h")), kind: Type::Float64, group: Group::Scores }
    }
}

/// The lead of a wide column, by the column's name. `era5_score_024h` is not how one is written: that is an extra column.
pub fn wide_lead(column: &str) -> Option<LeadHours> {
    let digits = column.strip_prefix("era5_score_")?.strip_suffix('h')?;
    let lead: i32 = digits.parse().ok().filter(|lead| *lead > 0)?;
    (lead.to_string() == digits).then_some(LeadHours(lead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_columns_are_those_that_are_written_so() {
        assert_eq!(wide_lead("era5_score_24h"), Some(LeadHours(24)));
        let others = ["024h", "h", "0h", "-6h", "24", "+6h", "xh"].map(|end| format!("era5_score_{end}"));
        for other in others.iter().map(String::as_str).chain(["era5_combined_score"]) {
            assert_eq!(wide_lead(other), None, "{other}");
        }
    }
}
