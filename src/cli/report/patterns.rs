//! Drift by pattern: a column that its writer never fills is one line of a report, however many rows it has. What has different causes
//! is no one pattern.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::model::difference::{Class, Difference};
use crate::model::shape;

use super::why::why;

/// Differences of one column with one shape.
#[derive(Debug, PartialEq)]
pub struct Pattern<'a> {
    /// See [`shape::column`].
    pub column: &'a str,
    pub why: &'static str,
    pub shape: String,
    pub count: u64,
    /// The first of them.
    pub example: &'a Difference,
}

/// All patterns of a job.
#[derive(Debug, PartialEq)]
pub struct Patterns<'a> {
    pub drift: Vec<Pattern<'a>>,
    /// D6: of cells that cannot be checked.
    pub unproven: Vec<Pattern<'a>>,
    pub habits: Vec<Pattern<'a>>,
}

impl Patterns<'_> {
    pub fn of(differences: &[Difference]) -> Patterns<'_> {
        let of = |class: Class| differences.iter().filter(move |found| found.class == class);
        let drift = differences.iter().filter(|found| found.is_wrong());
        Patterns { drift: patterns(drift), unproven: patterns(of(Class::Unproven)), habits: patterns(of(Class::Habit)) }
    }
}

/// The patterns, most frequent first; equally frequent ones in order of their examples.
fn patterns<'a>(differences: impl IntoIterator<Item = &'a Difference>) -> Vec<Pattern<'a>> {
    let mut patterns: Vec<Pattern<'_>> = Vec::new();
    let mut known: HashMap<(&str, &str, &str, String), usize> = HashMap::new();
    for difference in differences {
        let (column, why, shape) = (shape::column(difference), why(difference), shape::shape(difference));
        match known.get(&(difference.table, column, why, shape.clone())) {
            Some(&index) => patterns[index].count += 1,
            None => {
                known.insert((difference.table, column, why, shape.clone()), patterns.len());
                patterns.push(Pattern { column, why, shape, count: 1, example: difference });
            }
        }
    }
    // A stable sort: the patterns stand in order of their examples.
    patterns.sort_by_key(|pattern| Reverse(pattern.count));
    patterns
}

#[cfg(test)]
mod tests {
    use crate::model::difference::RowKey;
    use crate::model::value::Value;

    use super::*;

    fn drift(table: &'static str, miner: i32, column: &str, stored: f64, recomputed: Option<f64>) -> Difference {
        Difference {
            table,
            key: RowKey { miner_uid: Some(miner), ..RowKey::default() },
            column: Some(column.to_owned()),
            class: Class::Drift,
            stored: Value::Float(stored),
            recomputed: recomputed.map_or(Value::Null, Value::Float),
            cause: None,
        }
    }

    #[test]
    fn the_most_frequent_pattern_comes_first_with_its_first_example() {
        let differences = [
            drift("miner_stats", 1, "avg_era5_score", 0.5, None),
            drift("weather_forecast_stats", 1, "era5_score_24h", 0.5, None),
            drift("weather_forecast_stats", 1, "era5_score_48h", 0.6, None),
            drift("weather_forecast_stats", 2, "avg_rmse", 2.0, Some(2.5)),
        ];
        let found = patterns(&differences);
        let lines: Vec<_> = found.iter().map(|p| (p.count, p.column, p.shape.as_str(), p.example)).collect();
        assert_eq!(
            lines,
            [
                (2, "era5_score_*h", "number → NULL", &differences[1]),
                (1, "avg_era5_score", "number → NULL", &differences[0]),
                (1, "avg_rmse", "off by about 0.1", &differences[3]),
            ]
        );
        assert!(patterns(&[]).is_empty());
        let mut differences = differences;
        differences[1].class = Class::Unproven;
        let found = Patterns::of(&differences);
        assert_eq!((found.drift.len(), found.unproven.len()), (3, 1));
        assert_eq!(found.unproven[0].example, &differences[1]);
    }
}
