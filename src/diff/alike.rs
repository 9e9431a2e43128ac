//! Stored rows, still in columns, that equal the recomputed ones bit by bit: nearly all of them, and none has to be made a row.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayAccessor, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow_select::filter::filter_record_batch;

use crate::error::{Context, ErrorKind, Result};
use crate::model::columns::{Column, Type};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::rows::{ERROR_UNSANITIZED, MESSAGE_UNSANITIZED, cells_of};
use crate::model::time::Micros;
use crate::model::value::{Field, Value};

use super::stats::{CellIndex, StatPlan};
use super::table::TableDiff;

/// A stored row of a batch, and the recomputed row of the same miner (D1).
type Pair<'r> = (usize, &'r ForecastStat);

impl StatPlan {
    /// Takes the rows out of `recomputed` to which a stored row of the unit is equal in every cell, compared or not (D2), and gives
    /// them and the other stored rows.
    pub fn take_alike<'r>(
        &self,
        stored: &RecordBatch,
        recomputed: &mut Vec<&'r ForecastStat>,
    ) -> Result<(Vec<&'r ForecastStat>, RecordBatch)> {
        let miners = cells_of(stored, ForecastStat::TABLE, "miner_uid", Type::Int32)?.as_primitive::<Int32Type>();
        let mut pairs = pairs(miners, recomputed);
        for name in [MESSAGE_UNSANITIZED, ERROR_UNSANITIZED] {
            keep_equal(cells_of(stored, ForecastStat::TABLE, name, Type::Bool)?, Type::Bool, &mut pairs, |_| Value::Bool(false));
        }
        for (_, cell) in &self.all {
            if let CellIndex::Column(index, _) = *cell {
                let Column { name, kind, .. } = &ForecastStat::COLUMNS[index];
                let cells = cells_of(stored, ForecastStat::TABLE, name, *kind)?;
                keep_equal(cells, *kind, &mut pairs, |row| row.value(index));
            }
        }
        for &(lead, _, at) in &self.wide {
            let cells = cells_of(stored, ForecastStat::TABLE, &Column::wide(lead).name, Type::Float64)?;
            keep_equal(cells, Type::Float64, &mut pairs, |row| row.wide[at].value());
        }
        recomputed.retain(|row| pairs.binary_search_by_key(&row.miner_uid, |(_, alike)| alike.miner_uid).is_err());
        let mut others = vec![true; stored.num_rows()];
        pairs.iter().for_each(|(row, _)| others[*row] = false);
        let others = filter_record_batch(stored, &BooleanArray::from(others));
        let others = others.doing(ErrorKind::Data, || format!("comparing rows of {}", ForecastStat::TABLE))?;
        Ok((pairs.into_iter().map(|(_, row)| row).collect(), others))
    }

    /// The diff of this many rows of which every cell is equal.
    pub fn alike(&self, rows: usize) -> TableDiff {
        let mut diff = self.table.diff();
        diff.rows.matching = rows as u64;
        diff.cells.equal = (rows * self.table.columns.len()) as u64;
        diff
    }
}

/// In order of miner. None where a stored row has no miner, or a miner has several rows, which is an error of its own.
fn pairs<'r>(miners: &Int32Array, recomputed: &[&'r ForecastStat]) -> Vec<Pair<'r>> {
    let mut places: Vec<(i32, usize)> = miners.values().iter().copied().zip(0..).collect();
    places.sort_unstable();
    if miners.null_count() > 0 || !places.is_sorted_by(|(one, _), (next, _)| one < next) {
        return Vec::new();
    }
    let place = |miner: i32| places.binary_search_by_key(&miner, |(miner, _)| *miner).ok().map(|index| places[index].1);
    let pair = |row: &&'r ForecastStat| Some((place(row.miner_uid?)?, *row));
    let mut pairs: Vec<Pair<'r>> = recomputed.iter().filter_map(pair).collect();
    pairs.sort_unstable_by_key(|(_, row)| row.miner_uid);
    pairs
}

/// Keeps the pairs whose stored cell has the very bits of the recomputed one. JSON is compared by value, which is not done here: it
/// is kept where both are NULL.
fn keep_equal<'r>(cells: &dyn Array, kind: Type, pairs: &mut Vec<Pair<'r>>, value: impl Fn(&'r ForecastStat) -> Value<'r>) {
    fn keep<'r, A: ArrayAccessor>(
        cells: A,
        pairs: &mut Vec<Pair<'r>>,
        value: impl Fn(&'r ForecastStat) -> Value<'r>,
        same: impl Fn(A::Item, Value<'r>) -> bool,
    ) {
        pairs.retain(|&(at, row)| match value(row) {
            Value::Null => cells.is_null(at),
            value => cells.is_valid(at) && same(cells.value(at), value),
        });
    }
    match kind {
        Type::Bool => keep(cells.as_boolean(), pairs, value, |a, b| b == Value::Bool(a)),
        Type::Int32 => keep(cells.as_primitive::<Int32Type>(), pairs, value, |a, b| b == Value::Int(a.into())),
        Type::Int64 => keep(cells.as_primitive::<Int64Type>(), pairs, value, |a, b| b == Value::Int(a)),
        Type::Float64 => keep(
            cells.as_primitive::<Float64Type>(),
            pairs,
            value,
            |a, b| matches!(b, Value::Float(b) if a.to_bits() == b.to_bits()),
        ),
        Type::Time => {
            keep(cells.as_primitive::<TimestampMicrosecondType>(), pairs, value, |a, b| b == Value::Time(Micros(a)));
        }
        Type::Text => {
            let same = |a: &str, b| matches!(b, Value::Text(b) if a == b);
            let coded = cells.as_dictionary_opt::<Int32Type>().and_then(|coded| coded.downcast_dict::<StringArray>());
            match coded {
                Some(coded) => keep(coded, pairs, value, same),
                None => keep(cells.as_string::<i32>(), pairs, value, same),
            }
        }
        Type::Json => pairs.retain(|&(at, row)| value(row).is_null() && cells.is_null(at)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, DictionaryArray, UInt32Array};
    use arrow_select::take::take;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::super::unproven::UnitLoss;
    use super::*;
    use crate::model::difference::Tolerance;
    use crate::model::evidence::StoredStat;
    use crate::model::ids::LeadHours;
    use crate::model::rows::{stats_batch, stats_from_batch};

    const LEADS: [LeadHours; 2] = [LeadHours(24), LeadHours(48)];

    fn score() -> impl Strategy<Value = Option<f64>> {
        option::of(select(vec![0.5, 0.5, 0.5, 0.5 + 1e-12, 0.75, 0.0, -0.0, f64::NAN]))
    }

    fn row(miner: i32) -> impl Strategy<Value = StoredStat> {
        let texts = (select(vec!["one", "one", "two"]), option::weighted(0.1, Just(json!({"type": "late"}))));
        let numbers = (option::of(1..3), option::weighted(0.2, Just(Micros(5))), score(), [score(), score()]);
        (texts, numbers, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
            move |((text, error), (rank, retry, combined, wide), message_unsanitized, error_unsanitized)| StoredStat {
                id: miner.into(),
                row: ForecastStat {
                    miner_uid: Some(miner),
                    forecast_run_id: Some("unit".to_owned()),
                    miner_hotkey: Some(text.to_owned()),
                    miner_rank: rank,
                    next_scheduled_retry: retry,
                    forecast_error_msg: error,
                    era5_combined_score: combined,
                    wide: wide.to_vec(),
                    ..ForecastStat::default()
                },
                message_unsanitized,
                error_unsanitized,
            },
        )
    }

    /// Of each miner the stored row, the recomputed one, both (alike at times) or neither.
    fn unit() -> impl Strategy<Value = Vec<(Option<StoredStat>, Option<ForecastStat>)>> {
        let miner = |miner| {
            (option::weighted(0.8, row(miner)), option::weighted(0.8, row(miner)), any::<bool>()).prop_map(
                |(stored, other, alike)| {
                    let recomputed = if alike { stored.clone() } else { other };
                    (stored, recomputed.map(|stored| stored.row))
                },
            )
        };
        (0..9).prop_flat_map(move |miners| (0..miners).map(miner).collect::<Vec<_>>())
    }

    /// Texts as a database's come: in codes, and rows in any order.
    fn coded(batch: &RecordBatch) -> RecordBatch {
        let back: UInt32Array = (0..batch.num_rows() as u32).rev().collect();
        let columns = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let column = take(column, &back, None).unwrap();
                let column: ArrayRef = match column.as_string_opt::<i32>() {
                    Some(texts) => Arc::new(texts.iter().collect::<DictionaryArray<Int32Type>>()),
                    None => column,
                };
                (field.name().clone(), column, true)
            })
            .collect::<Vec<_>>();
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_taken_as_columns_counts_as_rows_do(unit in unit(), narrow in any::<bool>(), is_coded in any::<bool>()) {
            let included = |column: &Column| !narrow || column.name != "era5_score_24h";
            let plan = StatPlan::new(&LEADS, &LEADS, Tolerance::default(), included);
            let stored: Vec<StoredStat> = unit.iter().filter_map(|(stored, _)| stored.clone()).collect();
            let mut recomputed: Vec<&ForecastStat> = unit.iter().filter_map(|(_, recomputed)| recomputed.as_ref()).collect();
            let lost = UnitLoss::default();
            let rows = plan.unit(&stored.iter().collect::<Vec<_>>(), &recomputed, &lost).unwrap();

            let batch = stats_batch(&stored, &LEADS);
            let batch = if is_coded { coded(&batch) } else { batch };
            let (alike, others) = plan.take_alike(&batch, &mut recomputed).unwrap();
            prop_assert_eq!(alike.len() + others.num_rows(), stored.len());
            let others = stats_from_batch(&others, &LEADS).unwrap();
            let mut columns = plan.unit(&others.iter().collect::<Vec<_>>(), &recomputed, &lost).unwrap();
            columns.table.add(plan.alike(alike.len()));
            prop_assert_eq!(format!("{columns:?}"), format!("{rows:?}"));
        }
    }

    #[test]
    fn miners_with_two_stored_rows_are_left_to_be_refused() {
        let stored = |id| StoredStat {
            id,
            row: ForecastStat { miner_uid: Some(3), wide: vec![None; 2], ..ForecastStat::default() },
            message_unsanitized: false,
            error_unsanitized: false,
        };
        let plan = StatPlan::new(&LEADS, &LEADS, Tolerance::default(), |_| true);
        let recomputed = stored(0).row;
        let mut rows = vec![&recomputed];
        let (_, others) = plan.take_alike(&stats_batch(&[stored(1), stored(2)], &LEADS), &mut rows).unwrap();
        assert_eq!((others.num_rows(), rows.len()), (2, 1));
        let (_, others) = plan.take_alike(&stats_batch(&[stored(1)], &LEADS), &mut rows).unwrap();
        assert_eq!((others.num_rows(), rows.len()), (0, 0));
    }
}
