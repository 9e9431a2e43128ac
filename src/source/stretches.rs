//! Values that mostly repeat from row to row, or count on: in a file once for each stretch of rows (Arrow's run-end encoding), in
//! memory once for each row, where rows are asked for. Of a score that is four fifths of its bytes, which need not be written,
//! hashed and read.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, PrimitiveArray, RunArray, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::take::take;

use crate::model::evidence::ID_LESS_ROW;

type Result<T> = std::result::Result<T, ArrowError>;

const ID: &str = "id";
/// What the rows of a response, or of one scoring of a lead, have in common.
const REPEATED: [&str; 7] =
    ["response_id", "run_id", "miner_uid", "miner_hotkey", "lead_hours", "calculation_time", "calculated_at"];

/// The schema with its repeated columns as stretches, and ids too where these count on.
pub fn in_stretches(schema: &SchemaRef, ids_count_on: bool) -> SchemaRef {
    let encoded = |field: &FieldRef| {
        let stretches = DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", field.data_type().clone(), true)),
        );
        match field.name().as_str() {
            ID if ids_count_on => Arc::new(Field::new(ID_LESS_ROW, stretches, false)),
            name if REPEATED.contains(&name) => Arc::new(Field::new(name, stretches, field.is_nullable())),
            _ => field.clone(),
        }
    };
    Arc::new(Schema::new(schema.fields().iter().map(encoded).collect::<Vec<_>>()))
}

/// A column of rows as that field has it, which may be stretches.
pub fn encoded(field: &Field, column: ArrayRef) -> Result<ArrayRef> {
    match field.data_type() {
        DataType::RunEndEncoded(..) if field.name() == ID_LESS_ROW => {
            let ids = column.as_primitive::<Int64Type>().values().iter().zip(0..);
            to_stretches(&(Arc::new(ids.map(|(id, row)| id.wrapping_sub(row)).collect::<Int64Array>()) as ArrayRef))
        }
        DataType::RunEndEncoded(..) => to_stretches(&column),
        _ => Ok(column),
    }
}

/// The column of a field as rows.
pub fn decoded(field: &Field, column: &ArrayRef) -> Result<ArrayRef> {
    match field.data_type() {
        DataType::RunEndEncoded(..) if field.name() == ID_LESS_ROW => {
            let rows = to_rows(column)?;
            let ids = rows.as_primitive::<Int64Type>().values().iter().zip(0..);
            Ok(Arc::new(ids.map(|(id, row)| id.wrapping_add(row)).collect::<Int64Array>()))
        }
        DataType::RunEndEncoded(..) => to_rows(column),
        _ => Ok(column.clone()),
    }
}

/// A column as stretches of equal values.
fn to_stretches(column: &ArrayRef) -> Result<ArrayRef> {
    let ends = match column.data_type() {
        DataType::Int32 => ends(column.as_primitive::<Int32Type>()),
        DataType::Int64 => ends(column.as_primitive::<Int64Type>()),
        DataType::Timestamp(..) => ends(column.as_primitive::<TimestampMicrosecondType>()),
        DataType::Dictionary(..) => ends(column.as_dictionary::<Int32Type>().keys()),
        other => return Err(unexpected(other)),
    };
    let starts = std::iter::once(0).chain(ends.iter().map(|&end| end as u32)).take(ends.len());
    let starts = starts.collect::<UInt32Array>();
    let values: ArrayRef = match column.as_dictionary_opt::<Int32Type>() {
        // `take` of no rows gives an empty dictionary. The writer of a file must be given the whole one with every batch, or it
        // finds that the dictionary was replaced, which an IPC file cannot express.
        Some(coded) => {
            let codes = take(coded.keys(), &starts, None)?;
            Arc::new(DictionaryArray::try_new(codes.as_primitive::<Int32Type>().clone(), coded.values().clone())?)
        }
        None => take(column, &starts, None)?,
    };
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

/// Whether the stretches of a column end where its rows do. Nothing else bounds how many rows they stand for.
pub fn check_stretches(column: &ArrayRef) -> Result<()> {
    let Some(stretches) = column.as_run_opt::<Int32Type>() else { return Ok(()) };
    let ends = stretches.run_ends().values();
    let ascend = ends.first().is_none_or(|&first| first > 0) && ends.is_sorted_by(|a, b| a < b);
    let end = ends.last().map_or(0, |&end| end as usize);
    if ascend && end == stretches.len() && ends.len() == stretches.values().len() {
        return Ok(());
    }
    Err(ArrowError::ParseError(format!("a column of {} rows has stretches up to row {end}", stretches.len())))
}

/// A column of stretches, a value for each row.
fn to_rows(column: &ArrayRef) -> Result<ArrayRef> {
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
    use arrow_array::TimestampMicrosecondArray;

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
            (Arc::new(arrow_array::Int64Array::from(vec![1, 2, 3])), 3),
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
    fn no_rows_keep_their_dictionary() {
        let texts: DictionaryArray<Int32Type> = vec![Some("a"), Some("b")].into_iter().collect();
        let none: ArrayRef = Arc::new(texts.slice(0, 0));
        let encoded = to_stretches(&none).unwrap();
        let values = encoded.as_run::<Int32Type>().values();
        assert_eq!((encoded.len(), values.as_dictionary::<Int32Type>().values().len()), (0, 2));
    }

    #[test]
    fn ids_that_count_on_are_one_stretch() {
        let schema = Arc::new(Schema::new(vec![Field::new(ID, DataType::Int64, false)]));
        let schema = in_stretches(&schema, true);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9, 3, 4, i64::MIN, i64::MAX, i64::MIN]));
        let column = encoded(schema.field(0), ids.clone()).unwrap();
        assert_eq!(column.as_run::<Int32Type>().run_ends().values(), &[3, 5, 6, 8]);
        assert_eq!(column.data_type(), schema.field(0).data_type());
        assert_eq!(&decoded(schema.field(0), &column).unwrap(), &ids);
    }

    #[test]
    fn what_is_under_a_null_makes_no_stretch() {
        let nulls = NullBuffer::from(vec![false, false, true]);
        let column: ArrayRef = Arc::new(Int32Array::new(vec![1, 2, 2].into(), Some(nulls)));
        assert_eq!(to_stretches(&column).unwrap().as_run::<Int32Type>().run_ends().values(), &[2, 3]);
    }
}
