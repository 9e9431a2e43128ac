//! Drift by pattern: a column that its writer never fills is one line of a report, however many rows it has.

use polars::prelude::{DataFrame, IntoLazy, PolarsResult, SortMultipleOptions, col, df, len};

use crate::error::{Context, ErrorKind, Result};
use crate::model::difference::Difference;

use super::shape;

/// Differences of one column with one shape.
#[derive(Debug, PartialEq)]
pub struct Pattern<'a> {
    /// See [`shape::column`].
    pub column: &'a str,
    pub shape: String,
    pub count: u64,
    /// The first of them.
    pub example: &'a Difference,
}

/// The patterns, most frequent first; equally frequent ones in order of their examples.
pub fn patterns(differences: &[Difference]) -> Result<Vec<Pattern<'_>>> {
    let groups = group(differences).doing(ErrorKind::Data, || "grouping the differences".to_owned())?;
    groups
        .into_iter()
        .map(|(first, count)| {
            let example = &differences[first];
            Ok(Pattern { column: shape::column(example), shape: shape::shape(example), count, example })
        })
        .collect()
}

/// For each pattern the index of its first difference, and how many there are.
fn group(differences: &[Difference]) -> PolarsResult<Vec<(usize, u64)>> {
    // Not worth the start of polars' threads.
    if differences.is_empty() {
        return Ok(Vec::new());
    }
    let frame: DataFrame = df!(
        "table" => differences.iter().map(|d| d.table).collect::<Vec<_>>(),
        "column" => differences.iter().map(shape::column).collect::<Vec<_>>(),
        "shape" => differences.iter().map(shape::shape).collect::<Vec<_>>(),
        "index" => (0..differences.len() as u64).collect::<Vec<_>>(),
    )?;
    let groups = frame
        .lazy()
        .group_by([col("table"), col("column"), col("shape")])
        .agg([col("index").min().alias("first"), len().alias("count")])
        .sort(["count", "first"], SortMultipleOptions::new().with_order_descending_multi([true, false]))
        .collect()?;
    let first = groups.column("first")?.u64()?.into_no_null_iter();
    let count = groups.column("count")?.u32()?.into_no_null_iter();
    Ok(first.zip(count).map(|(first, count)| (first as usize, u64::from(count))).collect())
}

#[cfg(test)]
mod tests {
    use crate::model::difference::{Class, RowKey};
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
        let found = patterns(&differences).unwrap();
        let lines: Vec<_> = found.iter().map(|p| (p.count, p.column, p.shape.as_str(), p.example)).collect();
        assert_eq!(
            lines,
            [
                (2, "era5_score_*h", "number → NULL", &differences[1]),
                (1, "avg_era5_score", "number → NULL", &differences[0]),
                (1, "avg_rmse", "number ≈ 1e-1 apart", &differences[3]),
            ]
        );
        assert!(patterns(&[]).unwrap().is_empty());
    }
}
