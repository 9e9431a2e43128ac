//! Values that mostly repeat from row to row: in a file once for each stretch of rows (Arrow's run-end encoding), in memory
//! once for each row. Of a score that is two thirds of its bytes, which need not be written, hashed and read.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanBufferBuilder, DictionaryArray, Int32Array, PrimitiveArray, RunArray,
    UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;

type Result<T> = std::result::Result<T, ArrowError>;

/// What the rows of a response, or of one scoring of a lead, have in common.
const REPEATED: [&str; 7] =
    ["response_id", "run_id", "miner_uid", "miner_hotkey", "lead_hours", "calculation_time", "calculated_at"];

/// The schema with its repeated columns as stretches.
pub fn in_stretches(schema: &SchemaRef) -> SchemaRef {
    let encoded = |field: &FieldRef| {
        let stretches = DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", field.data_type().clone(), true)),
        );
        match REPEATED.contains(&field.name().as_str()) {
            true => Arc::new(Field::new(field.name(), stretches, field.is_nullable())),
            false => field.clone(),
        }
    };
    Arc::new(Schema::new(schema.fields().iter().map(encoded).collect::<Vec<_>>()))
}

/// A column as stretches of equal values.
pub fn to_stretches(column: &ArrayRef) -> Result<ArrayRef> {
    let ends = match column.data_type() {
        DataType::Int32 => ends(column.as_primitive::<Int32Type>()),
        DataType::Int64 => ends(column.as_primitive::<Int64Type>()),
        DataType::Timestamp(..) => ends(column.as_primitive::<TimestampMicrosecondType>()),
        DataType::Dictionary(..) => ends(column.as_dictionary::<Int32Type>().keys()),
        other => return Err(unexpected(other)),
    };
    let starts = std::iter::once(0).chain(ends.iter().map(|&end| end as u32)).take(ends.len());
    let values = take(column, &starts.collect::<UInt32Array>(), None)?;
    Ok(Arc::new(RunArray::try_new(&Int32Array::from(ends), &values)?))
}

/// Where each stretch of equal values ends.
fn ends<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>) -> Vec<i32> {
    let values = column.values();
    let same = |row: usize| match (column.is_null(row), column.is_null(row - 1)) {
        (false, false) => values[row] == values[row - 1],
        (missing, before) => missing == before,
    };
    let rows = column.len();
    (1..=rows).filter(|&row| row == rows || !same(row)).map(|row| row as i32).collect()
}

/// A column of stretches, a value for each row.
pub fn to_rows(column: &ArrayRef) -> Result<ArrayRef> {
    let stretches = column.as_run_opt::<Int32Type>().ok_or_else(|| unexpected(column.data_type()))?;
    let (ends, values) = (stretches.run_ends().values(), stretches.values());
    Ok(match values.data_type() {
        DataType::Int32 => Arc::new(rows(values.as_primitive::<Int32Type>(), ends)),
        DataType::Int64 => Arc::new(rows(values.as_primitive::<Int64Type>(), ends)),
        DataType::Timestamp(..) => Arc::new(rows(values.as_primitive::<TimestampMicrosecondType>(), ends)),
        DataType::Dictionary(..) => {
            let coded = values.as_dictionary::<Int32Type>();
            Arc::new(DictionaryArray::try_new(rows(coded.keys(), ends), coded.values().clone())?)
        }
        other => return Err(unexpected(other)),
    })
}

fn rows<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>, ends: &[i32]) -> PrimitiveArray<T> {
    let mut repeated = Vec::with_capacity(ends.last().map_or(0, |&end| end as usize));
    for (value, &end) in values.values().iter().zip(ends) {
        repeated.resize(end as usize, *value);
    }
    let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| {
        let mut valid = BooleanBufferBuilder::new(repeated.len());
        nulls.iter().zip(ends).for_each(|(is_valid, &end)| valid.append_n(end as usize - valid.len(), is_valid));
        NullBuffer::new(valid.finish())
    });
    PrimitiveArray::new(repeated.into(), nulls).with_data_type(values.data_type().clone())
}

fn unexpected(found: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("{found} is no type of a repeated column"))
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;

    use super::*;

    #[test]
    fn stretches_come_back_as_the_rows_that_they_were() {
        let numbers = |values: &[Option<i32>]| Arc::new(Int32Array::from(values.to_vec())) as ArrayRef;
        let texts: DictionaryArray<Int32Type> = vec![Some("a"), Some("a"), None, Some("b")].into_iter().collect();
        let times = TimestampMicrosecondArray::from(vec![5, 5, 9]).with_timezone("UTC");
        let columns: [(ArrayRef, usize); 6] = [
            (numbers(&[]), 0),
            (numbers(&[Some(0), None, None, Some(0), Some(7), Some(7)]), 4),
            (numbers(&[None]), 1),
            (Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3])), 3),
            (Arc::new(texts), 3),
            (Arc::new(times), 2),
        ];
        for (column, stretches) in columns {
            let encoded = to_stretches(&column).unwrap();
            assert_eq!(encoded.as_run::<Int32Type>().values().len(), stretches, "{column:?}");
            assert_eq!(&to_rows(&encoded).unwrap(), &column);
        }
    }

    #[test]
    fn what_is_under_a_null_makes_no_stretch() {
        let nulls = NullBuffer::from(vec![false, false, true]);
        let column: ArrayRef = Arc::new(Int32Array::new(vec![1, 2, 2].into(), Some(nulls)));
        assert_eq!(to_stretches(&column).unwrap().as_run::<Int32Type>().run_ends().values(), &[2, 3]);
    }
}
