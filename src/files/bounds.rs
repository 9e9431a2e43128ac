//! How much memory a Parquet file may take when it is decoded. A file of some hundred kilobytes can state, and unpack to,
//! gigabytes: it is refused by what its footer states, before anything is unpacked; and while it is decoded, its size so far
//! is held against the same bound, since a footer can lie.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::take::take;
use parquet::file::metadata::ParquetMetaData;

/// Rows that are decoded at a time.
pub const BATCH_ROWS: usize = 1 << 16;
/// Bytes that any file may unpack to.
const FREE_BYTES: u64 = 256 << 20;
/// Bytes that each byte of a file may unpack to beside that. Rows of our tables take a tenth of their size, and hardly less than a
/// hundredth.
const PER_BYTE: u64 = 128;
/// Bytes of a cell in memory, at least.
const CELL_BYTES: u64 = 4;

/// Why a file is not decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge {
    bytes: u64,
    allowed: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "it unpacks to {} MB, and by its size may have {}", megabytes(self.bytes), megabytes(self.allowed))
    }
}

impl std::error::Error for TooLarge {}

/// What a file may still unpack to.
#[derive(Debug)]
pub struct Room {
    taken: u64,
    allowed: u64,
}

impl Room {
    /// Takes the size of the rows in this schema, which may have plain texts where theirs are coded.
    pub fn take_rows(&mut self, rows: &RecordBatch, wanted: &Schema) -> Result<(), TooLarge> {
        let bytes = rows.columns().iter().zip(wanted.fields()).map(|(column, field)| match field.data_type() {
            DataType::Utf8 => bytes_in_rows(column),
            _ => column.get_array_memory_size(),
        });
        self.take(bytes.fold(0, usize::saturating_add))
    }

    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.taken = self.taken.saturating_add(bytes as u64);
        if self.taken > self.allowed { Err(TooLarge { bytes: self.taken, allowed: self.allowed }) } else { Ok(()) }
    }
}

/// The schema to decode a file with that has this one: texts coded. A text that stands in a file once can be in each row of it, and
/// is to be counted before it is.
pub fn coded(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::new_dictionary(field.name(), DataType::Int32, DataType::Utf8, field.is_nullable())),
        _ => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The rows in this schema, which has plain texts where theirs are coded.
pub fn plain(rows: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |(column, field): (&ArrayRef, &Arc<Field>)| match (field.data_type(), column.as_dictionary_opt::<Int32Type>()) {
        (DataType::Utf8, Some(coded)) => take(coded.values(), coded.keys(), None),
        _ => Ok(column.clone()),
    };
    let columns = rows.columns().iter().zip(wanted.fields()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(wanted.clone(), columns)
}

fn bytes_in_rows(column: &ArrayRef) -> usize {
    let Some(coded) = column.as_dictionary_opt::<Int32Type>() else { return column.get_array_memory_size() };
    let Some(texts) = coded.values().as_string_opt::<i32>() else { return column.get_array_memory_size() };
    let length =
        |code: i32| usize::try_from(code).ok().filter(|code| *code < texts.len()).map_or(0, |code| texts.value(code).len());
    size_of_val(&**coded.keys().values()) + coded.keys().iter().flatten().map(length).fold(0, usize::saturating_add)
}

/// Holds what the footer of a file of this many bytes states against what it may unpack to.
pub fn check_footer(footer: &ParquetMetaData, bytes: u64) -> Result<Room, TooLarge> {
    let sum = |numbers: &mut dyn Iterator<Item = i64>| {
        numbers.fold(0u64, |sum, number| sum.saturating_add(u64::try_from(number).unwrap_or(u64::MAX)))
    };
    let chunks = || footer.row_groups().iter().flat_map(|group| group.columns());
    let stated = sum(&mut chunks().map(|chunk| chunk.uncompressed_size()));
    let cells = sum(&mut chunks().map(|chunk| chunk.num_values()));
    let room = Room { taken: 0, allowed: FREE_BYTES.saturating_add(bytes.saturating_mul(PER_BYTE)) };
    let bytes = stated.max(cells.saturating_mul(CELL_BYTES));
    if bytes > room.allowed { Err(TooLarge { bytes, allowed: room.allowed }) } else { Ok(room) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_adds_up() {
        let mut room = Room { taken: 0, allowed: 10 };
        assert_eq!(room.take(6), Ok(()));
        assert_eq!(room.take(4), Ok(()));
        assert_eq!(room.take(1), Err(TooLarge { bytes: 11, allowed: 10 }));
        assert!(Room { taken: 0, allowed: 10 }.take(usize::MAX).is_err());
    }
}
