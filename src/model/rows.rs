//! Rollup rows as Arrow batches, and back.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::Value as Json;

use crate::error::{Error, ErrorKind, Result};

use super::columns::{Column, Type};
use super::evidence::StoredStat;
use super::ids::LeadHours;
use super::rollups::{ForecastStat, Rollup};
use super::time::Micros;
use super::value::{Value, canonical_json};

/// The columns that stand beside those of [`ForecastStat`] in a batch of stored rows.
const STORED_ID: &str = "id";
pub const MESSAGE_UNSANITIZED: &str = "last_error_message_unsanitized";
pub const ERROR_UNSANITIZED: &str = "forecast_error_msg_unsanitized";

/// The Arrow schema of these columns; every one may be NULL.
pub fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(fields_of(columns)))
}

fn fields_of(columns: &[Column]) -> Vec<Field> {
    columns.iter().map(|column| Field::new(column.name.as_ref(), column.kind.arrow(), true)).collect()
}

/// The rows as a batch in `schema_of` their columns (without the wide ones), JSON as canonical text.
pub fn batch_of<R: Rollup>(rows: &[R]) -> RecordBatch {
    batch_of_each(rows, |row| row)
}

/// As [`batch_of`], from whatever holds the rows.
pub fn batch_of_each<T, R: Rollup>(rows: &[T], rollup: impl Fn(&T) -> &R) -> RecordBatch {
    batch(schema_of(R::COLUMNS), arrays_of(rows, rollup))
}

/// The arrays of the rollup's columns, from whatever holds the rows.
fn arrays_of<T, R: Rollup>(rows: &[T], rollup: impl Fn(&T) -> &R) -> Vec<ArrayRef> {
    let columns = R::COLUMNS.iter().enumerate();
    columns.map(|(i, column)| array_of(column.kind, rows.iter().map(|row| rollup(row).value(i)))).collect()
}

/// Cells of one type as an array. A cell of another type is a broken invariant: fields and columns are made by one macro.
pub fn array_of<'a>(kind: Type, cells: impl Iterator<Item = Value<'a>>) -> ArrayRef {
    match kind {
        Type::Bool => Arc::new(cells.map(|cell| present(cell, as_bool)).collect::<BooleanArray>()),
        Type::Int32 => Arc::new(cells.map(|cell| present(cell, as_i32)).collect::<Int32Array>()),
        Type::Int64 => Arc::new(cells.map(|cell| present(cell, as_i64)).collect::<Int64Array>()),
        Type::Float64 => Arc::new(cells.map(|cell| present(cell, as_f64)).collect::<Float64Array>()),
        Type::Time => {
            let times = cells.map(|cell| present(cell, as_micros)).collect::<TimestampMicrosecondArray>();
            Arc::new(times.with_timezone("UTC"))
        }
        Type::Text | Type::Json => Arc::new(cells.map(|cell| present(cell, into_text)).collect::<StringArray>()),
    }
}

fn present<T>(cell: Value<'_>, get: impl FnOnce(Value<'_>) -> Option<T>) -> Option<T> {
    if cell.is_null() { None } else { Some(get(cell).expect("a cell of its column's type")) }
}

fn as_bool(cell: Value<'_>) -> Option<bool> {
    if let Value::Bool(x) = cell { Some(x) } else { None }
}

fn as_i32(cell: Value<'_>) -> Option<i32> {
    as_i64(cell).and_then(|x| i32::try_from(x).ok())
}

fn as_i64(cell: Value<'_>) -> Option<i64> {
    if let Value::Int(x) = cell { Some(x) } else { None }
}

fn as_f64(cell: Value<'_>) -> Option<f64> {
    if let Value::Float(x) = cell { Some(x) } else { None }
}

fn as_micros(cell: Value<'_>) -> Option<i64> {
    if let Value::Time(x) = cell { Some(x.0) } else { None }
}

fn into_text(cell: Value<'_>) -> Option<String> {
    match cell {
        Value::Text(x) => Some(x.into_owned()),
        Value::Json(x) => Some(canonical_json(&x)),
        _ => None,
    }
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).expect("columns of one length, each in the type of its field")
}

/// The rows of a batch that has the rollup's columns, in any order and among others. Text may be a dictionary.
pub fn rows_from_batch<R: Rollup>(batch: &RecordBatch) -> Result<Vec<R>> {
    let mut rows = vec![R::default(); batch.num_rows()];
    fill_rows(batch, &mut rows, |row| row)?;
    Ok(rows)
}

fn fill_rows<T, R: Rollup>(batch: &RecordBatch, rows: &mut [T], rollup: impl Fn(&mut T) -> &mut R) -> Result<()> {
    for (index, column) in R::COLUMNS.iter().enumerate() {
        let cells = CellColumn::of(batch, R::TABLE, &column.name, column.kind)?;
        for (i, row) in rows.iter_mut().enumerate() {
            // JSON null is no value, wherever it is stored.
            let cell = cells.get(i);
            let set = rollup(row).set(index, if matches!(&cell, Value::Json(x) if x.is_null()) { Value::Null } else { cell });
            assert!(set, "a cell of its column's type");
        }
    }
    Ok(())
}

/// JSON text as a value, whatever the text: what is beyond our JSON (`1e999`, very deep nesting) stays as a string.
pub fn parse_json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned()))
}

/// The schema of a batch of stored `weather_forecast_stats`: id, the rollup's columns, the wide columns, the two marks of D5.
pub fn stats_schema(wide_leads: &[LeadHours]) -> SchemaRef {
    let mut fields = vec![Field::new(STORED_ID, DataType::Int64, false)];
    fields.extend(fields_of(ForecastStat::COLUMNS));
    fields.extend(fields_of(&wide_leads.iter().map(|lead| Column::wide(*lead)).collect::<Vec<_>>()));
    fields.extend([MESSAGE_UNSANITIZED, ERROR_UNSANITIZED].map(|name| Field::new(name, DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}

/// Stored rows as a batch in `stats_schema`.
pub fn stats_batch(rows: &[StoredStat], wide_leads: &[LeadHours]) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(rows.iter().map(|row| row.id).collect::<Int64Array>())];
    columns.extend(arrays_of(rows, |stored| &stored.row));
    let wide = |i: usize| rows.iter().map(|stored| stored.row.wide.get(i).copied().flatten()).collect::<Float64Array>();
    columns.extend((0..wide_leads.len()).map(|i| Arc::new(wide(i)) as ArrayRef));
    let marks = |mark: fn(&StoredStat) -> bool| BooleanArray::from(rows.iter().map(mark).collect::<Vec<_>>());
    columns.push(Arc::new(marks(|row| row.message_unsanitized)));
    columns.push(Arc::new(marks(|row| row.error_unsanitized)));
    batch(stats_schema(wide_leads), columns)
}

/// The stored rows of a batch that has the columns of [`stats_schema`].
pub fn stats_from_batch(batch: &RecordBatch, wide_leads: &[LeadHours]) -> Result<Vec<StoredStat>> {
    let id = CellColumn::of(batch, ForecastStat::TABLE, STORED_ID, Type::Int64)?;
    let message = CellColumn::of(batch, ForecastStat::TABLE, MESSAGE_UNSANITIZED, Type::Bool)?;
    let error = CellColumn::of(batch, ForecastStat::TABLE, ERROR_UNSANITIZED, Type::Bool)?;
    let wide = |lead: &LeadHours| CellColumn::of(batch, ForecastStat::TABLE, &Column::wide(*lead).name, Type::Float64);
    let wide = wide_leads.iter().map(wide).collect::<Result<Vec<_>>>()?;
    let stored = |i: usize| StoredStat {
        id: as_i64(id.get(i)).unwrap_or_default(),
        row: ForecastStat { wide: wide.iter().map(|cells| as_f64(cells.get(i))).collect(), ..ForecastStat::default() },
        message_unsanitized: as_bool(message.get(i)).unwrap_or_default(),
        error_unsanitized: as_bool(error.get(i)).unwrap_or_default(),
    };
    let mut rows: Vec<StoredStat> = (0..batch.num_rows()).map(stored).collect();
    fill_rows(batch, &mut rows, |stored| &mut stored.row)?;
    Ok(rows)
}

/// A column of a batch, in the type of its cells. Text may be a dictionary.
pub fn cells_of<'a>(batch: &'a RecordBatch, table: &str, name: &str, kind: Type) -> Result<&'a dyn Array> {
    let refuse = |detail: String| Error::new(ErrorKind::Data, format!("reading rows of {table}"), detail);
    let array = batch.column_by_name(name).ok_or_else(|| refuse(format!("column {name} is missing")))?;
    let found = array.data_type();
    if *found != kind.arrow() && !(is_coded_text(found) && kind.arrow() == DataType::Utf8) {
        return Err(refuse(format!("column {name} is {found}, expected {}", kind.arrow())));
    }
    Ok(array)
}

/// The cells of one column of a batch.
struct CellColumn<'a> {
    array: &'a dyn Array,
    kind: Type,
}

impl<'a> CellColumn<'a> {
    fn of(batch: &'a RecordBatch, table: &str, name: &str, kind: Type) -> Result<CellColumn<'a>> {
        Ok(CellColumn { array: cells_of(batch, table, name, kind)?, kind })
    }

    fn get(&self, row: usize) -> Value<'a> {
        if self.array.is_null(row) {
            return Value::Null;
        }
        match self.kind {
            Type::Bool => Value::Bool(self.array.as_boolean().value(row)),
            Type::Int32 => Value::Int(self.array.as_primitive::<Int32Type>().value(row).into()),
            Type::Int64 => Value::Int(self.array.as_primitive::<Int64Type>().value(row)),
            Type::Float64 => Value::Float(self.array.as_primitive::<Float64Type>().value(row)),
            Type::Time => Value::Time(Micros(self.array.as_primitive::<TimestampMicrosecondType>().value(row))),
            Type::Text => Value::Text(Cow::Borrowed(self.text(row))),
            Type::Json => Value::Json(Cow::Owned(parse_json(self.text(row)))),
        }
    }

    fn text(&self, row: usize) -> &'a str {
        match self.array.as_any_dictionary_opt() {
            Some(_) => {
                let coded = self.array.as_dictionary::<Int32Type>();
                coded.values().as_string::<i32>().value(coded.keys().value(row) as usize)
            }
            None => self.array.as_string::<i32>().value(row),
        }
    }
}

fn is_coded_text(found: &DataType) -> bool {
    *found == DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::rollups::{MinerStat, SubnetStat};

    fn extremes() -> MinerStat {
        MinerStat {
            miner_uid: Some(i32::MIN),
            miner_hotkey: Some("5F…".to_owned()),
            avg_forecast_score: Some(-0.0),
            best_forecast_score: Some(f64::NEG_INFINITY),
            total_inference_time: Some(i64::MAX),
            common_errors: Some(json!({"b": 1, "a": {"z": [1.5, null]}})),
            first_seen: Some(Micros::MIN),
            last_active: Some(Micros::MAX),
            ..MinerStat::default()
        }
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let rows = vec![extremes(), MinerStat::default()];
        let back: Vec<MinerStat> = rows_from_batch(&batch_of(&rows)).unwrap();
        assert_eq!(back, rows);
        assert_eq!(back[0].avg_forecast_score.unwrap().to_bits(), (-0.0f64).to_bits());
        assert_eq!(batch_of::<SubnetStat>(&[]).num_rows(), 0);
    }

    #[test]
    fn json_is_canonical_text() {
        let batch = batch_of(&[extremes()]);
        let text = batch.column_by_name("common_errors").unwrap().as_string::<i32>().value(0);
        assert_eq!(text, r#"{"a":{"z":[1.5,null]},"b":1}"#);
    }

    #[test]
    fn json_beyond_our_numbers_stays_as_text() {
        assert_eq!(parse_json("1e999"), json!("1e999"));
        assert_eq!(parse_json("{\"a\":0.1}"), json!({"a": 0.1}));
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(parse_json(&deep), json!(deep));
    }

    #[test]
    fn stored_rows_come_back_as_they_went() {
        let wide_leads = [LeadHours(24), LeadHours(48)];
        let row = ForecastStat { miner_uid: Some(3), wide: vec![None, Some(f64::NAN)], ..ForecastStat::default() };
        let stored = StoredStat { id: 7, row, message_unsanitized: true, error_unsanitized: false };
        let batch = stats_batch(&[stored], &wide_leads);
        assert_eq!(batch.schema(), stats_schema(&wide_leads));
        let back = stats_from_batch(&batch, &wide_leads).unwrap();
        assert_eq!((back[0].id, back[0].message_unsanitized, back[0].error_unsanitized), (7, true, false));
        assert_eq!((back[0].row.wide[0], back[0].row.wide[1].unwrap().is_nan()), (None, true));
    }

    #[test]
    fn a_batch_with_another_type_is_refused() {
        let batch = batch_of::<SubnetStat>(&[]);
        let error = rows_from_batch::<MinerStat>(&batch).unwrap_err();
        assert_eq!(error.to_string(), "reading rows of miner_stats: column miner_uid is missing");
    }
}
