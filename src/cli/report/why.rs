//! What differs and why, in a few lines: by group of columns, worst first, and by what explains it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::cause::Cause;
use crate::model::columns::{Group, Type};
use crate::model::difference::{Class, Difference};
use crate::model::filter::stored_column;
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::shape;
use crate::model::value::Value;

use super::text::grouped;

/// What a difference is about. Worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Scores,
    /// Whole rows, missing or extra.
    Rows,
    Ranks,
    Status,
    Errors,
    Hosting,
    Activity,
}

impl Topic {
    pub const ALL: [Topic; 7] =
        [Topic::Scores, Topic::Rows, Topic::Ranks, Topic::Status, Topic::Errors, Topic::Hosting, Topic::Activity];

    pub fn of(difference: &Difference) -> Topic {
        let Some(name) = difference.column.as_deref() else { return Topic::Rows };
        match stored_column(difference.table, name).map(|column| column.group) {
            Some(Group::Scores) => Topic::Scores,
            Some(Group::Ranks) => Topic::Ranks,
            Some(Group::Status) => Topic::Status,
            Some(Group::Errors) => Topic::Errors,
            Some(Group::Hosting) => Topic::Hosting,
            Some(Group::Activity | Group::Key) | None => Topic::Activity,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Topic::Scores => "scores",
            Topic::Rows => "rows",
            Topic::Ranks => "ranks",
            Topic::Status => "status",
            Topic::Errors => "errors",
            Topic::Hosting => "hosting",
            Topic::Activity => "activity",
        }
    }
}

/// Differences of one group of columns with one explanation.
#[derive(Debug, PartialEq)]
pub struct Reason {
    pub topic: Topic,
    pub why: &'static str,
    /// They are wrong only by what they rest on.
    pub follows: bool,
    pub cells: u64,
    /// Cells by table and column, the most frequent first; all wide columns are one.
    pub columns: Vec<(&'static str, String, u64)>,
}

impl Reason {
    /// `not written: era5_completeness 52; in miner_stats: first_seen 4`. Columns without a table are those of
    /// `weather_forecast_stats`.
    pub fn listed(&self) -> String {
        if self.topic == Topic::Rows {
            let tables = self.columns.iter().map(|(table, _, count)| format!("{table} {}", grouped(*count)));
            return format!("{}: {}", self.why, tables.collect::<Vec<_>>().join(", "));
        }
        let mut text = format!("{}: ", self.why);
        let mut tables: Vec<&str> = self.columns.iter().map(|(table, ..)| *table).collect();
        tables.sort_by_key(|table| *table != ForecastStat::TABLE);
        tables.dedup();
        for (number, table) in tables.into_iter().enumerate() {
            let of_table = self.columns.iter().filter(|(of, ..)| *of == table);
            let columns: Vec<String> = of_table.map(|(_, column, count)| format!("{column} {}", grouped(*count))).collect();
            text += if number > 0 { ", " } else { "" };
            text += &if table == ForecastStat::TABLE { String::new() } else { format!("in {table} ") };
            text += &columns.join(", ");
        }
        text
    }
}

/// The reasons of all that drifted, is missing or is extra: roots by group, then what follows from them.
pub fn reasons(differences: &[Difference]) -> Vec<Reason> {
    type Columns<'d> = BTreeMap<(&'static str, &'d str), u64>;
    let mut lines: BTreeMap<(bool, Topic, &'static str), Columns<'_>> = BTreeMap::new();
    for difference in differences.iter().filter(|difference| difference.is_wrong()) {
        let line = (difference.follows(), Topic::of(difference), why(difference));
        *lines.entry(line).or_default().entry((difference.table, shape::column(difference))).or_default() += 1;
    }
    let mut reasons: Vec<Reason> = lines
        .into_iter()
        .map(|((follows, topic, why), columns)| {
            let cells = columns.values().sum();
            let mut columns: Vec<_> =
                columns.into_iter().map(|((table, column), count)| (table, column.to_owned(), count)).collect();
            columns.sort_by_key(|(_, _, count)| Reverse(*count));
            Reason { topic, why, follows, cells, columns }
        })
        .collect();
    reasons.sort_by_key(|reason| (reason.follows, reason.topic, Reverse(reason.cells)));
    reasons
}

/// The cause, where one was sought, else what the two values say of themselves.
pub fn why(difference: &Difference) -> &'static str {
    let (stored, recomputed) = (&difference.stored, &difference.recomputed);
    match (difference.class, difference.cause) {
        (Class::Missing, _) => return "not stored",
        (Class::Extra, _) => return "without evidence",
        (_, Some(Cause::Unexplained)) | (_, None) => {}
        (_, Some(cause)) => return cause.meaning(),
    }
    // D5: as read, both are the same; what is stored is not.
    if stored == recomputed {
        return "not sanitized";
    }
    let kind = difference.column.as_deref().and_then(|name| stored_column(difference.table, name)).map(|column| column.kind);
    match (stored, recomputed, Topic::of(difference), kind) {
        (Value::Float(x), ..) if !x.is_finite() => "no number",
        (_, _, Topic::Status, Some(Type::Text)) => "another vocabulary",
        (Value::Text(_), _, Topic::Hosting, _) => "another vocabulary",
        (_, _, Topic::Errors, _) => "errors kept or cleared otherwise",
        (_, _, _, Some(Type::Time)) if !stored.is_null() => "another time",
        (_, _, Topic::Activity, Some(Type::Int32 | Type::Int64 | Type::Float64)) => "another number",
        (Value::Null, ..) => "not written",
        (Value::Int(0) | Value::Float(0.0), ..) if difference.cause.is_none() => "not counted",
        (_, Value::Null, ..) => "nothing gives it",
        (Value::Text(_), ..) => "another text",
        (Value::Json(_), ..) => "other keys or values",
        _ if difference.cause.is_some() => Cause::Unexplained.meaning(),
        _ => "another number",
    }
}
