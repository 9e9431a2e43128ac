//! Groups: many rows in one tuple, as the server packs them with `string_agg`.
//!
//! What all rows of a group share (its key) travels once; of each other column the values of all rows stand one behind the
//! other: numbers and times in their binary form, texts with a [`SEPARATOR`] between them. For the server that is less work
//! than a tuple for each row, and a third of the bytes; for us it is one message for a few hundred rows.
//!
//! An id and a lead are one number, since for the server each number costs more than its bytes.
//!
//! Aggregates pass over NULL, so a marker stands for it, and the number of all NULLs comes along. Where a marker or a
//! separator could as well be a value, the group is *ambiguous*: nothing is guessed, and the caller reads the rows one by
//! one instead.

use super::column::{Builder, Mismatch, Missing, Values, integer, mismatch, not_utf8, unix_micros};
use super::interner::Interner;
use super::{Decoder, FIELD_BYTES_MAX};
use crate::error::{Error, Result};

/// Between two texts.
pub const SEPARATOR: u8 = 1;
/// In place of a text that is NULL.
pub const MISSING_TEXT: u8 = 2;
/// In place of an integer that is NULL. Not the least, so that it has room beside any id.
pub const MISSING_INT: i32 = i32::MIN + 1;
/// In place of a double that is NULL: no score is the least of all doubles.
pub const MISSING_FLOAT: f64 = f64::MIN;
/// The column whose values come with the ids: `lead × 2^32 + id`.
pub const WITH_ID: &str = "lead_hours";

/// The columns that make the groups: a miner's rows of one response in a run.
pub fn is_key(column: &str) -> bool {
    ["response_id", "run_id", "miner_uid", "miner_hotkey"].contains(&column)
}

impl Decoder {
    /// One group, behind its number of fields; how many bytes it took, or `None` where the slice ends too early.
    pub(super) fn group(&mut self, fields: i16, bytes: &[u8]) -> Result<Option<usize>> {
        // One more, the number of NULLs, and one less, since the leads stand with the ids.
        if usize::try_from(fields) != Ok(self.columns.len()) {
            return Err(self.error(format!("row {} is not the group of rows that was asked for", self.row())));
        }
        let split = split(fields, bytes).map_err(|(index, length)| self.refuse_field(index, length))?;
        let Some((values, taken)) = split else { return Ok(None) };
        if !self.ambiguous {
            self.take_group(&values)?;
        }
        Ok(Some(taken))
    }

    #[cold]
    fn refuse_field(&self, index: usize, length: usize) -> Error {
        let found = format!("field {} of a group with {length} bytes", index + 1);
        self.error(format!("row {}: found {found}, expected at most {FIELD_BYTES_MAX} bytes", self.row()))
    }

    /// True where a group was ambiguous: the batch is not to be used, and the rows are to be read one by one.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The fields: the columns in order, but for [`WITH_ID`]; how many NULLs.
    fn take_group(&mut self, fields: &[Option<&[u8]>]) -> Result<()> {
        let mut fields = fields.iter().map(|field| field.unwrap_or_default());
        let ids = fields.clone().next().unwrap_or_default();
        let rows = ids.len() / size_of::<i64>();
        if rows == 0 {
            return Err(self.error(format!("row {} begins a group without rows", self.row())));
        }
        let mut next = || fields.next().unwrap_or_default();
        let (before, mut separated) = (self.rows, true);
        for index in 0..self.columns.len() {
            let taken = match self.names[index].as_str() {
                WITH_ID => continue,
                "id" => self.take_ids(next(), rows),
                name if is_key(name) => self.columns[index].repeat(next(), rows),
                _ => self.columns[index].unpack(next(), rows).map(|is_separated| separated &= is_separated),
            };
            if let Err(mismatch) = taken {
                // The values before the one that does not fit are there already.
                self.rows = self.columns[index].len();
                return Err(self.refuse(index, &mismatch));
            }
        }
        match integer(next()) {
            _ if !separated => self.ambiguous = true,
            0 => {}
            missing => {
                let nullable = self.columns.iter_mut().filter(|column| column.nullable);
                let marked: usize = nullable.map(|column| column.mark_missing(before)).sum();
                self.ambiguous = usize::try_from(missing) != Ok(marked);
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// Ids, and the leads that come with them.
    fn take_ids(&mut self, bytes: &[u8], rows: usize) -> std::result::Result<(), Mismatch> {
        let values = words(bytes, rows)?.iter().map(|word| i64::from_be_bytes(*word));
        let with_id = self.names.iter().zip(&mut self.columns).find(|(name, _)| *name == WITH_ID);
        let Some(Values::Int32(leads)) = with_id.map(|(_, column)| &mut column.values) else {
            unreachable!("invariant: the large tables have leads");
        };
        // The low half is the id, with its sign; what it took from the high half is given back.
        leads.extend(values.clone().map(|value| (value.wrapping_sub(i64::from(value as i32)) >> 32) as i32));
        let id = self.names.iter().zip(&mut self.columns).find(|(name, _)| *name == "id");
        let Some(Values::Int64(ids)) = id.map(|(_, column)| &mut column.values) else {
            unreachable!("invariant: rows have ids");
        };
        ids.extend(values.map(|value| i64::from(value as i32)));
        Ok(())
    }
}

/// Fields, and how many bytes they took; `None` where the slice ends too early.
type Split<'b> = Option<(Vec<Option<&'b [u8]>>, usize)>;

/// The fields of a tuple; which one has a length that none has.
fn split(fields: i16, bytes: &[u8]) -> std::result::Result<Split<'_>, (usize, usize)> {
    let mut rest = bytes;
    let mut values = Vec::with_capacity(fields as usize);
    for index in 0..fields as usize {
        let Some((length, after)) = rest.split_first_chunk() else { return Ok(None) };
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) if length > FIELD_BYTES_MAX => return Err((index, length)),
            Ok(length) => {
                let Some((value, after)) = after.split_at_checked(length) else { return Ok(None) };
                values.push(Some(value));
                rest = after;
            }
            Err(_) => {
                values.push(None);
                rest = after;
            }
        }
    }
    Ok(Some((values, bytes.len() - rest.len())))
}

impl Builder {
    /// One value, for all rows of a group.
    fn repeat(&mut self, bytes: &[u8], rows: usize) -> std::result::Result<(), Mismatch> {
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
        Ok(())
    }

    /// The values of all rows of a group; false where a separator is part of a text.
    fn unpack(&mut self, bytes: &[u8], rows: usize) -> std::result::Result<bool, Mismatch> {
        match &mut self.values {
            Values::Int32(values) => values.extend(words(bytes, rows)?.iter().map(|word| i32::from_be_bytes(*word))),
            Values::Float64(values) => values.extend(words(bytes, rows)?.iter().map(|word| f64::from_be_bytes(*word))),
            Values::Time(values) => {
                for word in words(bytes, rows)? {
                    values.push(unix_micros(i64::from_be_bytes(*word))?);
                }
            }
            Values::Coded { codes, interner } => return texts(bytes, rows, codes, interner),
            _ => unreachable!("invariant: groups have numbers, times and names"),
        }
        Ok(true)
    }

    /// Makes the markers from row `from` on NULL; says how many there were.
    fn mark_missing(&mut self, from: usize) -> usize {
        let nulls = &mut self.nulls;
        match &mut self.values {
            Values::Int32(values) => clear(values, from, nulls, |value| *value == MISSING_INT),
            Values::Float64(values) => clear(values, from, nulls, |value| *value == MISSING_FLOAT),
            Values::Coded { codes, interner } => {
                interner.known(&[MISSING_TEXT]).map_or(0, |marker| clear(codes, from, nulls, |code| *code == marker))
            }
            _ => unreachable!("invariant: ids and times of groups are never NULL"),
        }
    }
}

fn repeat_last<T: Copy>(values: &mut Vec<T>, more: usize) {
    if let Some(&last) = values.last() {
        values.resize(values.len() + more, last);
    }
}

/// A row that is NULL holds what [`Builder::push_null`] puts there. How many are.
fn clear<T: Default>(values: &mut [T], from: usize, nulls: &mut Missing, is_marker: impl Fn(&T) -> bool) -> usize {
    let mut cleared = 0;
    for (row, value) in values.iter_mut().enumerate().skip(from) {
        if is_marker(value) {
            nulls.add(row);
            *value = T::default();
            cleared += 1;
        }
    }
    cleared
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
    interner.codes_between(bytes, SEPARATOR, codes).map_err(not_utf8)?;
    match codes.len() - before {
        found if found < rows => Err(mismatch(format!("{found} values for {rows} rows"), "a value in each row, never NULL")),
        found => Ok(found == rows),
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
