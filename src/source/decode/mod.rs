//! A push decoder of `COPY … (FORMAT binary)`: bytes in, a batch out, no I/O.
//!
//! A tuple is a row or, where the server packed them, a group of rows (`groups.rs`).
//!
//! It is total: whatever the bytes, it gives a batch or an error that names table, column and row. Input may be split
//! anywhere. A complete tuple is decoded straight out of the pushed slice; only an incomplete last one is carried over.
//! Memory is bounded by the bytes that came, never by a length that they claim.

mod column;
mod errors;
mod groups;
mod interner;

#[cfg(test)]
mod tests;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::{Error, ErrorKind, Result};

use self::column::{Builder, Mismatch};
use super::layout::Layout;

pub use self::groups::{MISSING_FLOAT, MISSING_INT, MISSING_TEXT, SEPARATOR, WITH_ID, is_key};
pub use self::interner::Interner;

const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of the extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 4 + 4;
/// The low half of the flags is for information; of the high half, this server may not set any that we know to handle.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
const END_OF_ROWS: i16 = -1;
/// Longest value of one column. No text that recount reads comes near it; what claims more is damaged.
const VALUE_BYTES_MAX: usize = 64 << 20;
/// Longest field of a group, which has the values of many rows; no message of a server is longer.
const FIELD_BYTES_MAX: usize = 96 << 20;
/// Longest tuple that comes in pieces. A server sends each in one message; what cuts them up beneath it has shorter ones.
const CARRIED_BYTES_MAX: usize = 32 << 20;
/// Longest extension of the header; PostgreSQL sends none.
const EXTENSION_BYTES_MAX: usize = 1 << 16;

/// Where in the stream the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Ended,
}

/// What a tuple is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Rows,
    Groups,
}

/// Decodes the rows of one `COPY`.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    /// What is read, for messages: `weather_miner_scores of run 7`.
    what: String,
    schema: SchemaRef,
    names: Vec<String>,
    columns: Vec<Builder>,
    state: State,
    /// An incomplete header or tuple.
    carried: Vec<u8>,
    /// Complete rows in `columns`.
    rows: usize,
    /// Rows handed out before these.
    rows_before: u64,
    /// A group that does not say which of its values are missing.
    ambiguous: bool,
}

/// What one attempt to decode something gave.
enum Step {
    /// Done, with this many bytes.
    Took(usize),
    /// The slice ends too early.
    NeedsMore,
}

impl Decoder {
    /// `what` names the rows in messages: the table, and of which run.
    pub fn new(layout: &Layout, what: impl Into<String>) -> Decoder {
        Decoder::of_form(Form::Rows, layout, what)
    }

    /// For tuples that are groups of rows.
    pub fn of_groups(layout: &Layout, what: impl Into<String>) -> Decoder {
        Decoder::of_form(Form::Groups, layout, what)
    }

    fn of_form(form: Form, layout: &Layout, what: impl Into<String>) -> Decoder {
        Decoder {
            form,
            what: what.into(),
            schema: layout.schema(),
            names: layout.columns.iter().map(|column| column.name.to_string()).collect(),
            columns: layout.columns.iter().map(|column| Builder::new(column.wire, column.nullable)).collect(),
            state: State::Header,
            carried: Vec::new(),
            rows: 0,
            rows_before: 0,
            ambiguous: false,
        }
    }

    /// Reserves room for this many rows at once.
    pub fn reserve(mut self, rows: usize) -> Decoder {
        self.columns.iter_mut().for_each(|column| column.reserve(rows));
        self
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.carried.is_empty() {
            let taken = self.decode(bytes)?;
            return self.carry(&bytes[taken..]);
        }
        self.carry(bytes)?;
        let mut carried = std::mem::take(&mut self.carried);
        let taken = self.decode(&carried)?;
        carried.drain(..taken);
        self.carried = carried;
        Ok(())
    }

    /// Keeps bytes until the rest of their tuple has come.
    fn carry(&mut self, bytes: &[u8]) -> Result<()> {
        if self.carried.len() + bytes.len() > CARRIED_BYTES_MAX {
            let detail = format!("{} has reached {} MB, and does not end", self.position(), CARRIED_BYTES_MAX >> 20);
            return Err(self.error(detail));
        }
        self.carried.extend_from_slice(bytes);
        Ok(())
    }

    /// Complete rows that no batch has yet.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The complete rows so far as a batch; decoding goes on after them.
    pub fn take_batch(&mut self) -> Result<RecordBatch> {
        self.truncate();
        let arrays = self.columns.iter_mut().flat_map(Builder::finish).collect();
        self.rows_before += self.rows as u64;
        self.rows = 0;
        RecordBatch::try_new(self.schema.clone(), arrays).map_err(|e| self.error(format!("cannot build a batch: {e}")))
    }

    /// The last batch, once the stream has ended.
    pub fn finish(mut self) -> Result<RecordBatch> {
        match self.state {
            State::Ended => self.take_batch(),
            _ => Err(self.error(format!("the data ends before the end-of-data mark, in {}", self.position()))),
        }
    }

    /// Decodes as much as is complete; says how much that was.
    fn decode(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        loop {
            let step = match self.state {
                State::Header => self.header(&bytes[at..])?,
                State::Rows => self.tuple(&bytes[at..])?,
                State::Ended if at < bytes.len() => {
                    return Err(self.error("there is more data after the end-of-data mark".to_owned()));
                }
                State::Ended => return Ok(at),
            };
            match step {
                Step::Took(count) => at += count,
                Step::NeedsMore => return Ok(at),
            }
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Step> {
        let known = SIGNATURE.len().min(bytes.len());
        if bytes[..known] != SIGNATURE[..known] {
            return Err(self.error("the data does not begin with the signature of COPY's binary format".to_owned()));
        }
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(Step::NeedsMore) };
        let flags = u32::from_be_bytes(header[11..15].try_into().expect("four bytes"));
        if flags & CRITICAL_FLAGS != 0 {
            return Err(self.error(format!("the header has flags {flags:#010x}, of which recount knows none")));
        }
        let extension = u32::from_be_bytes(header[15..19].try_into().expect("four bytes")) as usize;
        if extension > EXTENSION_BYTES_MAX {
            return Err(self.error(format!("the header claims an extension of {extension} bytes")));
        }
        if bytes.len() < HEADER_BYTES + extension {
            return Ok(Step::NeedsMore);
        }
        self.state = State::Rows;
        Ok(Step::Took(HEADER_BYTES + extension))
    }

    /// One tuple. What it appended before the slice ended too early, or before an error, is cut off by [`Self::truncate`].
    fn tuple(&mut self, bytes: &[u8]) -> Result<Step> {
        let Some((count, mut rest)) = bytes.split_first_chunk() else { return Ok(Step::NeedsMore) };
        let count = i16::from_be_bytes(*count);
        if count == END_OF_ROWS {
            self.state = State::Ended;
            return Ok(Step::Took(2));
        }
        if self.form == Form::Groups {
            return self.group(count, rest).map(|taken| taken.map_or(Step::NeedsMore, |taken| Step::Took(2 + taken)));
        }
        if usize::try_from(count) != Ok(self.columns.len()) {
            return Err(self.error(format!("row {} has {count} columns, expected {}", self.row(), self.columns.len())));
        }
        for index in 0..self.columns.len() {
            let Some((length, after)) = rest.split_first_chunk() else { return Ok(self.incomplete()) };
            let length = i32::from_be_bytes(*length);
            let column = &mut self.columns[index];
            let Ok(length) = usize::try_from(length) else {
                if length != -1 || !column.push_null() {
                    return Err(self.refuse_missing(index, length));
                }
                rest = after;
                continue;
            };
            if length > VALUE_BYTES_MAX || column.refuses_length(length) {
                return Err(self.refuse_length(index, length));
            }
            let Some((value, after)) = after.split_at_checked(length) else { return Ok(self.incomplete()) };
            if let Err(mismatch) = column.push(value) {
                return Err(self.refuse(index, &mismatch));
            }
            rest = after;
        }
        self.rows += 1;
        Ok(Step::Took(bytes.len() - rest.len()))
    }

    fn incomplete(&mut self) -> Step {
        self.truncate();
        Step::NeedsMore
    }

    /// Cuts every column back to the complete rows.
    fn truncate(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.rows);
        }
    }

    fn row(&self) -> u64 {
        self.rows_before + self.rows as u64 + 1
    }

    fn position(&self) -> String {
        match self.state {
            State::Header => "the header".to_owned(),
            State::Rows | State::Ended => format!("row {}", self.row()),
        }
    }

    #[cold]
    fn refuse(&self, index: usize, mismatch: &Mismatch) -> Error {
        let Mismatch { found, expected } = mismatch;
        self.error(format!("row {}, column {}: found {found}, expected {expected}", self.row(), self.names[index]))
    }

    #[cold]
    fn refuse_missing(&self, index: usize, length: i32) -> Error {
        let expected = self.columns[index].expected();
        let (found, expected) = match length {
            -1 => ("NULL".to_owned(), format!("{expected}, never NULL")),
            _ => (format!("a value of length {length}"), expected.to_owned()),
        };
        self.refuse(index, &Mismatch { found, expected })
    }

    #[cold]
    fn refuse_length(&self, index: usize, length: usize) -> Error {
        let expected = match self.columns[index].refuses_length(length) {
            true => self.columns[index].expected().to_owned(),
            false => format!("at most {VALUE_BYTES_MAX} bytes"),
        };
        self.refuse(index, &Mismatch { found: format!("a value of {length} bytes"), expected })
    }

    #[cold]
    fn error(&self, detail: String) -> Error {
        Error::new(ErrorKind::Data, format!("reading {}", self.what), detail)
    }
}
