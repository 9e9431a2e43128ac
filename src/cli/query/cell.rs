//! One cell of a result, as text and as JSON.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value as Json;

use crate::error::{Context, ErrorKind, Result};
use crate::model::time::Micros;
use crate::model::value::Value;

/// A column whose cells are asked for one by one.
pub struct Column<'a> {
    array: &'a dyn Array,
    formatter: ArrayFormatter<'a>,
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new();

/// The columns of a batch.
pub fn columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>> {
    let made = batch.columns().iter().map(|array| {
        let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS)?;
        Ok(Column { array: array.as_ref(), formatter })
    });
    made.collect::<std::result::Result<_, arrow_schema::ArrowError>>().doing(ErrorKind::Data, || "writing the result".to_owned())
}

impl Column<'_> {
    /// `None` for NULL.
    pub fn text(&self, row: usize) -> Option<String> {
        if self.array.is_null(row) {
            return None;
        }
        Some(match self.array.data_type() {
            // As short as it can be and still be the same number.
            DataType::Float64 => self.array.as_primitive::<Float64Type>().value(row).to_string(),
            DataType::Float32 => self.array.as_primitive::<Float32Type>().value(row).to_string(),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Micros(self.array.as_primitive::<TimestampMicrosecondType>().value(row)).iso()
            }
            _ => self.formatter.value(row).to_string(),
        })
    }

    /// What is no JSON number is its name as text.
    pub fn json(&self, row: usize) -> Json {
        let Some(text) = self.text(row) else { return Json::Null };
        match self.array.data_type() {
            DataType::Boolean => Json::Bool(self.array.as_boolean().value(row)),
            DataType::Float64 => Value::Float(self.array.as_primitive::<Float64Type>().value(row)).to_json(),
            DataType::Float32 => Value::Float(self.array.as_primitive::<Float32Type>().value(row).into()).to_json(),
            kind if kind.is_integer() => match (text.parse::<i64>(), text.parse::<u64>()) {
                (Ok(whole), _) => Json::from(whole),
                (_, Ok(whole)) => Json::from(whole),
                _ => Json::from(text),
            },
            _ => Json::from(text),
        }
    }
}
