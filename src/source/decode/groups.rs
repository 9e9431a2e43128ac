//! Groups: many rows in one tuple, as the server packs them with `string_agg`.
//!
//! What all rows of a group share (its key) travels once; of each other column the values of all rows stand one behind the
//! other: numbers and times in their binary form, texts with a [`SEPARATOR`] between them. For the server that is less work
//! than a tuple for each row, and a third of the bytes; for us it is one message for a few hundred rows.
//!
//! Aggregates pass over NULL, so a marker stands for it, and the number of values that are not NULL comes along. Where a
//! marker or a separator could as well be a value, the group is *ambiguous*: nothing is guessed, and the caller reads the
//! rows one by one instead.

use super::Decoder;
use super::column::{Builder, Mismatch, Values, integer, mismatch, not_utf8, unix_micros};
use super::interner::Interner;
use crate::error::Result;

/// Between two texts.
pub const SEPARATOR: u8 = 1;
/// In place of a text that is NULL.
pub const MISSING_TEXT: u8 = 2;
/// In place of an integer that is NULL. A double that is NULL is the usual NaN.
pub const MISSING_INT: i32 = i32::MIN;
const MISSING_FLOAT: u64 = 0x7ff8_0000_0000_0000;

/// The columns that make the groups: a miner's rows of one response in a run.
pub fn is_key(column: &str) -> bool {
    ["response_id", "run_id", "miner_uid", "miner_hotkey"].contains(&column)
}

/// The values of a column, taken out of a group.
enum Unpacked {
    Whole,
    /// A value and a NULL, or a value and a separator, look alike.
    Ambiguous,
}

impl Decoder {
    /// One group, behind its number of fields; how many bytes it took, or `None` where the slice ends too early.
    pub(super) fn group(&mut self, fields: i16, bytes: &[u8]) -> Result<Option<usize>> {
        let nullable = self.columns.iter().filter(|column| column.nullable).count();
        if usize::try_from(fields) != Ok(1 + self.columns.len() + nullable) {
            return Err(self.error(format!("row {} is not the group of rows that was asked for", self.row())));
        }
        let Some((values, taken)) = split(fields, bytes) else { return Ok(None) };
        if !self.ambiguous {
            self.take_group(&values)?;
        }
        Ok(Some(taken))
    }

    /// True where a group was ambiguous: the batch is not to be used, and the rows are to be read one by one.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The fields: how many rows; then the columns in order, behind each that may be NULL how many values are not.
    fn take_group(&mut self, fields: &[Option<&[u8]>]) -> Result<()> {
        let bytes: usize = fields.iter().flatten().map(|field| field.len()).sum();
        let mut fields = fields.iter().copied();
        let mut next = || fields.next().flatten().unwrap_or_default();
        let rows = integer(next());
        // Each row has at least a byte of its own, so that memory follows what came and not what is claimed.
        let Some(rows) = usize::try_from(rows).ok().filter(|rows| (1..=bytes).contains(rows)) else {
            return Err(self.error(format!("row {} is said to begin a group of {rows} rows", self.row())));
        };
        for index in 0..self.columns.len() {
            let (column, bytes) = (&mut self.columns[index], next());
            let present = if column.nullable { integer(next()) } else { rows as i64 };
            let taken = match is_key(&self.names[index]) {
                true => column.repeat(bytes, rows),
                false => column.unpack(bytes, rows, present),
            };
            match taken {
                Ok(Unpacked::Whole) => {}
                Ok(Unpacked::Ambiguous) => self.ambiguous = true,
                Err(mismatch) => {
                    // The values before the one that does not fit are there already.
                    self.rows = self.columns[index].len();
                    return Err(self.refuse(index, &mismatch));
                }
            }
        }
        self.rows += rows;
        Ok(())
    }
}

/// The fields of a tuple, and how many bytes they took.
fn split(fields: i16, bytes: &[u8]) -> Option<(Vec<Option<&[u8]>>, usize)> {
    let mut rest = bytes;
    let mut values = Vec::with_capacity(fields as usize);
    for _ in 0..fields {
        let (length, after) = rest.split_first_chunk()?;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, after) = after.split_at_checked(length)?;
                values.push(Some(value));
                rest = after;
            }
            Err(_) => {
                values.push(None);
                rest = after;
            }
        }
    }
    Some((values, bytes.len() - rest.len()))
}

impl Builder {
    /// One value, for all rows of a group.
    fn repeat(&mut self, bytes: &[u8], rows: usize) -> std::result::Result<Unpacked, Mismatch> {
        if self.refuses_length(bytes.len()) {
            return Err(mismatch(format!("a value of {} bytes", bytes.len()), self.expected()));
        }
        self.push(bytes)?;
        let more = rows - 1;
        match &mut self.values {
            Values::Int32(values) => repeat_last(values, more),
            Values::Int64(values) => repeat_last(values, more),
            Values::Coded { codes, .. } => repeat_last(codes, more),
            _ => unreachable!("invariant: keys of groups are ids and names"),
        }
        Ok(Unpacked::Whole)
    }

    /// The values of all rows of a group, `present` of them not NULL.
    fn unpack(&mut self, bytes: &[u8], rows: usize, present: i64) -> std::result::Result<Unpacked, Mismatch> {
        let missing = usize::try_from(present).ok().and_then(|present| rows.checked_sub(present));
        let missing = missing.ok_or_else(|| mismatch(format!("{present} values for {rows} rows"), self.expected()))?;
        let before = self.len();
        match &mut self.values {
            Values::Int32(values) => values.extend(words(bytes, rows)?.iter().map(|word| i32::from_be_bytes(*word))),
            Values::Int64(values) => values.extend(words(bytes, rows)?.iter().map(|word| i64::from_be_bytes(*word))),
            Values::Float64(values) => values.extend(words(bytes, rows)?.iter().map(|word| f64::from_be_bytes(*word))),
            Values::Time(values) => {
                for word in words(bytes, rows)? {
                    values.push(unix_micros(i64::from_be_bytes(*word))?);
                }
            }
            Values::Coded { codes, interner } => {
                if !texts(bytes, rows, codes, interner)? {
                    return Ok(Unpacked::Ambiguous);
                }
            }
            _ => unreachable!("invariant: groups have numbers, times and names"),
        }
        match missing {
            0 => Ok(Unpacked::Whole),
            _ => Ok(self.mark_missing(before, missing)),
        }
    }

    /// Makes the markers from row `from` on NULL, where there are just as many as values are missing.
    fn mark_missing(&mut self, from: usize, missing: usize) -> Unpacked {
        let known = self.nulls.len();
        let nulls = &mut self.nulls;
        match &mut self.values {
            Values::Int32(values) => clear(values, from, nulls, |value| *value == MISSING_INT),
            Values::Float64(values) => clear(values, from, nulls, |value| value.to_bits() == MISSING_FLOAT),
            Values::Coded { codes, interner } => {
                let marker = interner.known(&[MISSING_TEXT]);
                clear(codes, from, nulls, |code| Some(*code) == marker);
            }
            _ => unreachable!("invariant: ids and times of groups are never NULL"),
        }
        if self.nulls.len() - known == missing { Unpacked::Whole } else { Unpacked::Ambiguous }
    }
}

fn repeat_last<T: Copy>(values: &mut Vec<T>, more: usize) {
    if let Some(&last) = values.last() {
        values.resize(values.len() + more, last);
    }
}

/// A row that is NULL holds what [`Builder::push_null`] puts there.
fn clear<T: Default>(values: &mut [T], from: usize, nulls: &mut Vec<usize>, is_marker: impl Fn(&T) -> bool) {
    for (row, value) in values.iter_mut().enumerate().skip(from) {
        if is_marker(value) {
            nulls.push(row);
            *value = T::default();
        }
    }
}

/// Values of a fixed width, one for each row.
fn words<const WIDTH: usize>(bytes: &[u8], rows: usize) -> std::result::Result<&[[u8; WIDTH]], Mismatch> {
    match bytes.as_chunks() {
        (words, []) if words.len() == rows => Ok(words),
        (words, _) => Err(mismatch(format!("{} values for {rows} rows", words.len()), "a value in each row, never NULL")),
    }
}

/// The texts between separators; false where there are more of them than rows, so that one has a separator in it.
fn texts(bytes: &[u8], rows: usize, codes: &mut Vec<i32>, interner: &mut Interner) -> std::result::Result<bool, Mismatch> {
    let before = codes.len();
    let mut rest = Some(bytes);
    while let Some(bytes) = rest {
        let code;
        (code, rest) = interner.code_before(bytes, SEPARATOR).map_err(not_utf8)?;
        codes.push(code);
    }
    match codes.len() - before {
        found if found < rows => Err(mismatch(format!("{found} values for {rows} rows"), "a value in each row, never NULL")),
        found => Ok(found == rows),
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
