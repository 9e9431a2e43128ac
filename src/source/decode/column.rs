//! One column of a batch while it is built, from values in PostgreSQL's binary format.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer};

use super::errors::ErrorCells;
use super::interner::Interner;
use crate::model::columns::Type;
use crate::model::evidence::Wire;
use crate::model::sanitize::stored_json;
use crate::postgres::wire::EPOCH_MICROS;

/// A value that breaks its column's contract.
#[derive(Debug)]
pub struct Mismatch {
    pub found: String,
    pub expected: String,
}

/// A column under construction; some become two columns.
#[derive(Debug)]
pub struct Builder {
    pub(super) values: Values,
    pub(super) nulls: Missing,
    pub(super) nullable: bool,
}

#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Time(Vec<i64>),
    Coded { codes: Vec<i32>, interner: Interner },
    Json(Texts),
    Error(ErrorCells),
    Sanitized { text: Texts, changed: Vec<bool> },
    ErrorObject { text: Texts, changed: Vec<bool> },
}

impl Builder {
    pub fn new(wire: Wire, nullable: bool) -> Builder {
        let values = match wire {
            Wire::Plain(Type::Bool) => Values::Bool(Vec::new()),
            Wire::Plain(Type::Int32) => Values::Int32(Vec::new()),
            Wire::Plain(Type::Int64) | Wire::Id => Values::Int64(Vec::new()),
            Wire::Plain(Type::Float64) => Values::Float64(Vec::new()),
            Wire::Plain(Type::Time) => Values::Time(Vec::new()),
            Wire::Plain(Type::Text) => Values::Coded { codes: Vec::new(), interner: Interner::default() },
            Wire::Plain(Type::Json) => Values::Json(Texts::default()),
            Wire::Error => Values::Error(ErrorCells::default()),
            Wire::Sanitized => Values::Sanitized { text: Texts::default(), changed: Vec::new() },
            Wire::ErrorObject => Values::ErrorObject { text: Texts::default(), changed: Vec::new() },
        };
        Builder { values, nulls: Missing::default(), nullable }
    }

    /// Reserves room for this many rows.
    pub fn reserve(&mut self, rows: usize) {
        match &mut self.values {
            Values::Int32(values) => values.reserve(rows),
            Values::Int64(values) | Values::Time(values) => values.reserve(rows),
            Values::Float64(values) => values.reserve(rows),
            Values::Coded { codes, .. } => codes.reserve(rows),
            // Few of the others come in large numbers.
            _ => {}
        }
    }

    /// What values of this column are, for messages.
    pub fn expected(&self) -> &'static str {
        match self.values {
            Values::Bool(_) => "boolean (1 byte)",
            Values::Int32(_) => "integer (2 or 4 bytes)",
            Values::Int64(_) => "integer (2, 4 or 8 bytes)",
            Values::Float64(_) => "double precision (8 bytes)",
            Values::Time(_) => "timestamp with time zone (8 bytes)",
            Values::Coded { .. } | Values::Sanitized { .. } => "text in UTF-8",
            Values::Json(_) | Values::Error(_) | Values::ErrorObject { .. } => "JSON as text in UTF-8",
        }
    }

    /// True where no value of this length can be right, so that there is no need to wait for its bytes.
    pub fn refuses_length(&self, length: usize) -> bool {
        !match self.values {
            Values::Bool(_) => length == 1,
            Values::Int32(_) => matches!(length, 2 | 4),
            Values::Int64(_) => matches!(length, 2 | 4 | 8),
            Values::Float64(_) | Values::Time(_) => length == 8,
            _ => true,
        }
    }

    /// False where the column takes no NULL.
    pub fn push_null(&mut self) -> bool {
        if !self.nullable {
            return false;
        }
        self.nulls.add(self.len());
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) | Values::Time(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Coded { codes, .. } => codes.push(0),
            Values::Json(texts) => texts.push_empty(),
            Values::Error(cells) => cells.push_none(),
            Values::Sanitized { text, changed } | Values::ErrorObject { text, changed } => {
                text.push_empty();
                changed.push(false);
            }
        }
        true
    }

    /// Appends a value that is not NULL, of a length that [`Self::refuses_length`] lets pass.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        match &mut self.values {
            Values::Bool(values) => match bytes {
                [byte @ (0 | 1)] => values.push(*byte == 1),
                _ => return Err(mismatch(format!("{bytes:?}"), "boolean, 0 or 1")),
            },
            // A value never fails to fit: the lengths were checked, and `int32` is for those of at most four bytes.
            Values::Int32(values) => values.push(integer(bytes) as i32),
            Values::Int64(values) => values.push(integer(bytes)),
            Values::Float64(values) => values.push(f64::from_bits(integer(bytes) as u64)),
            Values::Time(values) => values.push(unix_micros(integer(bytes))?),
            Values::Coded { codes, interner } => codes.push(interner.code(bytes).map_err(not_utf8)?),
            Values::Error(cells) => cells.push(utf8(bytes)?)?,
            Values::Json(texts) => match stored_json(utf8(bytes)?).0 {
                Some(json) => texts.push(&json)?,
                None => return self.push_none(),
            },
            Values::Sanitized { text, changed } => {
                let original = utf8(bytes)?;
                let sanitized = crate::model::sanitize::sanitize(original);
                text.push(&sanitized)?;
                changed.push(sanitized != original);
            }
            Values::ErrorObject { text, changed } => match stored_json(utf8(bytes)?) {
                (Some(json), unsanitized) => {
                    text.push(&json)?;
                    changed.push(unsanitized);
                }
                (None, _) => return self.push_none(),
            },
        }
        Ok(())
    }

    /// JSON null: no value.
    fn push_none(&mut self) -> Result<(), Mismatch> {
        if self.push_null() { Ok(()) } else { Err(mismatch("JSON null", "a value, never NULL")) }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Bool(values) => values.len(),
            Values::Int32(values) => values.len(),
            Values::Int64(values) | Values::Time(values) => values.len(),
            Values::Float64(values) => values.len(),
            Values::Coded { codes, .. } => codes.len(),
            Values::Json(texts) => texts.len(),
            Values::Error(cells) => cells.len(),
            Values::Sanitized { changed, .. } | Values::ErrorObject { changed, .. } => changed.len(),
        }
    }

    /// Cuts off all rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int32(values) => values.truncate(rows),
            Values::Int64(values) | Values::Time(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Coded { codes, .. } => codes.truncate(rows),
            Values::Json(texts) => texts.truncate(rows),
            Values::Error(cells) => cells.truncate(rows),
            Values::Sanitized { text, changed } | Values::ErrorObject { text, changed } => {
                text.truncate(rows);
                changed.truncate(rows);
            }
        }
    }

    /// The rows as arrays, in the order of [`Wire::fields`]; the builder is empty after that. Dictionaries go on growing.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        use std::mem::take;
        let nulls = take(&mut self.nulls).finish(self.len());
        match &mut self.values {
            Values::Bool(values) => vec![Arc::new(BooleanArray::new(take(values).into(), nulls))],
            Values::Int32(values) => vec![Arc::new(Int32Array::new(take(values).into(), nulls))],
            Values::Int64(values) => vec![Arc::new(Int64Array::new(take(values).into(), nulls))],
            Values::Float64(values) => vec![Arc::new(Float64Array::new(take(values).into(), nulls))],
            Values::Time(values) => {
                let array = TimestampMicrosecondArray::new(take(values).into(), nulls);
                vec![Arc::new(array.with_timezone("UTC"))]
            }
            Values::Coded { codes, interner } => {
                let codes = Int32Array::new(take(codes).into(), nulls);
                vec![Arc::new(DictionaryArray::new(codes, interner.values()))]
            }
            Values::Json(texts) => vec![take(texts).finish(nulls)],
            Values::Error(cells) => take(cells).finish(),
            Values::Sanitized { text, changed } | Values::ErrorObject { text, changed } => {
                vec![take(text).finish(nulls), Arc::new(BooleanArray::from(take(changed)))]
            }
        }
    }
}

/// The rows that are NULL, a bit each: a column can be NULL in millions of rows. It reaches to the last of them.
#[derive(Debug)]
pub struct Missing {
    valid: BooleanBufferBuilder,
}

impl Default for Missing {
    fn default() -> Self {
        Missing { valid: BooleanBufferBuilder::new(0) }
    }
}

impl Missing {
    /// `row` is beyond all rows that were added before.
    pub fn add(&mut self, row: usize) {
        self.valid.append_n(row - self.valid.len(), true);
        self.valid.append(false);
    }

    /// Cuts off all rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
    }

    /// Of this many rows those that are not NULL; `None` where all are.
    pub fn finish(mut self, rows: usize) -> Option<NullBuffer> {
        if self.valid.is_empty() {
            return None;
        }
        self.valid.append_n(rows - self.valid.len(), true);
        Some(NullBuffer::new(self.valid.build())).filter(|nulls| nulls.null_count() > 0)
    }
}

/// A big-endian integer of 2, 4 or 8 bytes.
#[inline]
pub(super) fn integer(bytes: &[u8]) -> i64 {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        i32::from_be_bytes(bytes).into()
    } else if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        i64::from_be_bytes(bytes)
    } else {
        bytes.try_into().map_or(0, i16::from_be_bytes).into()
    }
}

/// Microseconds since 1970 from those since 2000. The ends of the range are the infinities, here and there.
#[inline]
pub(super) fn unix_micros(micros: i64) -> Result<i64, Mismatch> {
    if micros == i64::MAX || micros == i64::MIN {
        return Ok(micros);
    }
    match micros.checked_add(EPOCH_MICROS) {
        Some(unix) if unix != i64::MAX => Ok(unix),
        _ => Err(mismatch(format!("a time {micros} µs after 2000-01-01"), "a time before the year 294247, or infinity")),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Mismatch> {
    std::str::from_utf8(bytes).map_err(not_utf8)
}

#[cold]
pub(super) fn not_utf8(error: std::str::Utf8Error) -> Mismatch {
    mismatch(format!("text that is not UTF-8 ({error})"), "text in UTF-8")
}

#[cold]
pub fn mismatch(found: impl Into<String>, expected: impl Into<String>) -> Mismatch {
    Mismatch { found: found.into(), expected: expected.into() }
}

/// Texts one after the other, as Arrow keeps them.
#[derive(Debug)]
pub struct Texts {
    bytes: String,
    /// Where each text begins, and where the last one ends.
    offsets: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Texts { bytes: String::new(), offsets: vec![0] }
    }
}

impl Texts {
    pub fn push(&mut self, text: &str) -> Result<(), Mismatch> {
        match i32::try_from(self.bytes.len() + text.len()) {
            Ok(end) => {
                self.bytes.push_str(text);
                self.offsets.push(end);
                Ok(())
            }
            Err(_) => Err(mismatch("more than 2 GiB of text up to here", "less text in one column")),
        }
    }

    pub fn push_empty(&mut self) {
        self.offsets.push(self.end());
    }

    fn end(&self) -> i32 {
        *self.offsets.last().expect("invariant: there is an offset before the first text")
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.end() as usize);
    }

    pub fn finish(self, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(StringArray::new(OffsetBuffer::new(self.offsets.into()), self.bytes.into_bytes().into(), nulls))
    }
}

/// Optional texts, for the parts of an error.
#[derive(Debug, Default)]
pub struct OptionalTexts {
    texts: Texts,
    nulls: Missing,
}

impl OptionalTexts {
    pub fn push(&mut self, text: Option<&str>) -> Result<(), Mismatch> {
        match text {
            Some(text) => self.texts.push(text),
            None => {
                self.nulls.add(self.texts.len());
                self.texts.push_empty();
                Ok(())
            }
        }
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn truncate(&mut self, rows: usize) {
        self.texts.truncate(rows);
        self.nulls.truncate(rows);
    }

    pub fn finish(self) -> ArrayRef {
        let nulls = self.nulls.finish(self.texts.len());
        self.texts.finish(nulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_missing_are_cut_off_to_the_row() {
        let missing = [0, 5, 63, 64, 65, 127, 128, 200];
        for rows in 0..260 {
            let mut nulls = Missing::default();
            missing.iter().for_each(|&row| nulls.add(row));
            nulls.truncate(rows);
            let (expected, found) = (missing.iter().filter(|row| **row < rows), nulls.finish(260));
            let found: Vec<_> = (0..260).filter(|row| found.as_ref().is_some_and(|valid| valid.is_null(*row))).collect();
            assert_eq!(found, expected.copied().collect::<Vec<_>>(), "cut to {rows}");
        }
    }

    #[test]
    fn no_row_that_is_missing_is_no_mask() {
        let mut nulls = Missing::default();
        nulls.add(70);
        nulls.truncate(70);
        assert!(nulls.finish(80).is_none());
        assert!(Missing::default().finish(80).is_none());
    }

    #[test]
    fn times_move_from_one_epoch_to_the_other() {
        assert_eq!(unix_micros(0).unwrap(), EPOCH_MICROS);
        assert_eq!(unix_micros(-EPOCH_MICROS).unwrap(), 0);
        assert_eq!(unix_micros(i64::MAX).unwrap(), i64::MAX);
        assert_eq!(unix_micros(i64::MIN).unwrap(), i64::MIN);
        assert!(unix_micros(i64::MAX - EPOCH_MICROS - 1).is_ok());
        assert!(unix_micros(i64::MAX - EPOCH_MICROS).is_err(), "would read as infinity");
        assert!(unix_micros(i64::MAX - 1).is_err());
    }

    #[test]
    fn integers_come_in_three_lengths() {
        assert_eq!(integer(&(-2i16).to_be_bytes()), -2);
        assert_eq!(integer(&i32::MIN.to_be_bytes()), i64::from(i32::MIN));
        assert_eq!(integer(&i64::MAX.to_be_bytes()), i64::MAX);
    }
}
