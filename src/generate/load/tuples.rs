//! Rows in the binary format of COPY … FROM STDIN.

use crate::model::columns::Type;
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::postgres::wire::EPOCH_MICROS;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The stream of one COPY, in parts.
#[derive(Debug)]
pub struct Tuples {
    bytes: Vec<u8>,
}

impl Tuples {
    pub fn new() -> Self {
        let mut bytes = SIGNATURE.to_vec();
        // No flags, no header extension.
        bytes.extend([0; 8]);
        Tuples { bytes }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What there is so far; the stream goes on after it.
    pub fn part(&self) -> &[u8] {
        &self.bytes
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a row of this many fields.
    pub fn row(&mut self, fields: usize) {
        self.bytes.extend((fields as i16).to_be_bytes());
    }

    pub fn end(&mut self) {
        self.bytes.extend((-1_i16).to_be_bytes());
    }

    pub fn null(&mut self) {
        self.bytes.extend((-1_i32).to_be_bytes());
    }

    pub fn bool(&mut self, value: Option<bool>) {
        self.fixed(value.map(|x| [u8::from(x)]));
    }

    pub fn int4(&mut self, value: impl Into<Option<i32>>) {
        self.fixed(value.into().map(i32::to_be_bytes));
    }

    pub fn int8(&mut self, value: impl Into<Option<i64>>) {
        self.fixed(value.into().map(i64::to_be_bytes));
    }

    /// An id of 32 bits, which a plan keeps in bounds.
    pub fn id4(&mut self, value: i64) {
        self.int4(value as i32);
    }

    pub fn float8(&mut self, value: Option<f64>) {
        self.fixed(value.map(f64::to_be_bytes));
    }

    pub fn time(&mut self, value: impl Into<Option<Micros>>) {
        self.int8(value.into().map(|time| time.0 - EPOCH_MICROS));
    }

    pub fn text<'a>(&mut self, value: impl Into<Option<&'a str>>) {
        match value.into() {
            Some(text) => self.field(&[], text.as_bytes()),
            None => self.null(),
        }
    }

    pub fn jsonb(&mut self, value: Option<&serde_json::Value>) {
        match value {
            // One byte of version stands before the text.
            Some(json) => self.field(&[1], json.to_string().as_bytes()),
            None => self.null(),
        }
    }

    /// A cell of a rollup, in the type of its column.
    pub fn cell(&mut self, kind: Type, value: &Value<'_>) {
        match (kind, value) {
            (Type::Int32, Value::Int(x)) => self.int4(*x as i32),
            (_, Value::Null) => self.null(),
            (_, Value::Bool(x)) => self.bool(Some(*x)),
            (_, Value::Int(x)) => self.int8(*x),
            (_, Value::Float(x)) => self.float8(Some(*x)),
            (_, Value::Time(x)) => self.time(*x),
            (_, Value::Text(x)) => self.text(x.as_ref()),
            (_, Value::Json(x)) => self.jsonb(Some(x.as_ref())),
        }
    }

    fn fixed<const N: usize>(&mut self, value: Option<[u8; N]>) {
        match value {
            Some(bytes) => self.field(&[], &bytes),
            None => self.null(),
        }
    }

    fn field(&mut self, prefix: &[u8], bytes: &[u8]) {
        self.bytes.extend(((prefix.len() + bytes.len()) as i32).to_be_bytes());
        self.bytes.extend(prefix);
        self.bytes.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_the_manual_says() {
        let mut tuples = Tuples::new();
        tuples.row(4);
        tuples.int4(7);
        tuples.text("ab");
        tuples.time(Micros(EPOCH_MICROS + 1));
        tuples.jsonb(Some(&serde_json::json!(1)));
        tuples.row(1);
        tuples.float8(None);
        tuples.end();
        let mut expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\0\x04\0\0\0\x04\0\0\0\x07\0\0\0\x02ab\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\x02\x011");
        expected.extend(b"\0\x01\xff\xff\xff\xff\xff\xff");
        assert_eq!(tuples.part(), expected);
        assert_eq!(tuples.len(), expected.len());
    }
}
