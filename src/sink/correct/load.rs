//! Rows on their way into a temporary table: in COPY's binary format, so that a double arrives with its bits, or as SQL literals.

use crate::model::columns::Type;
use crate::model::value::{Value, canonical_json};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
/// From Unix's epoch to that of PostgreSQL, 2000-01-01.
const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

/// How a staged column is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Int4,
    Int8,
    Float8,
    Bool,
    Time,
    Text,
}

impl Stage {
    pub fn of(kind: Type) -> Stage {
        match kind {
            Type::Bool => Stage::Bool,
            Type::Int32 => Stage::Int4,
            Type::Int64 => Stage::Int8,
            Type::Float64 => Stage::Float8,
            Type::Time => Stage::Time,
            Type::Text | Type::Json => Stage::Text,
        }
    }

    pub fn sql(self) -> &'static str {
        match self {
            Stage::Int4 => "int4",
            Stage::Int8 => "int8",
            Stage::Float8 => "float8",
            Stage::Bool => "bool",
            Stage::Time => "timestamptz",
            Stage::Text => "text",
        }
    }
}

/// A temporary table with its rows.
#[derive(Debug, Clone)]
pub struct Staged {
    pub table: String,
    pub columns: Vec<(String, Stage)>,
    pub rows: Vec<Vec<Value<'static>>>,
}

impl Staged {
    /// The statement that creates the table. `extra` columns stand after those that are loaded.
    pub fn create(&self, extra: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(name, stage)| format!("\"{name}\" {}", stage.sql())).collect();
        format!("CREATE TEMP TABLE {} ({}{extra}) ON COMMIT DROP", self.table, columns.join(", "))
    }

    pub fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }

    /// All rows as COPY takes them, in pieces of about `piece` bytes.
    pub fn binary(&self, piece: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut rows = self.rows.iter();
        let mut buffer = SIGNATURE.to_vec();
        let mut done = false;
        std::iter::from_fn(move || {
            while !done && buffer.len() < piece {
                match rows.next() {
                    Some(row) => self.encode(row, &mut buffer),
                    None => {
                        buffer.extend(TRAILER);
                        done = true;
                    }
                }
            }
            (!buffer.is_empty()).then(|| std::mem::take(&mut buffer))
        })
    }

    fn encode(&self, row: &[Value<'_>], out: &mut Vec<u8>) {
        out.extend((row.len() as i16).to_be_bytes());
        for (value, (_, stage)) in row.iter().zip(&self.columns) {
            encode(value, *stage, out);
        }
    }
}

fn encode(value: &Value<'_>, stage: Stage, out: &mut Vec<u8>) {
    let mut field = |bytes: &[u8]| {
        out.extend((bytes.len() as i32).to_be_bytes());
        out.extend(bytes);
    };
    match (value, stage) {
        (Value::Null, _) => out.extend((-1i32).to_be_bytes()),
        (Value::Bool(x), _) => field(&[(*x).into()]),
        (Value::Int(x), Stage::Int4) => field(&(*x as i32).to_be_bytes()),
        (Value::Int(x), _) => field(&x.to_be_bytes()),
        (Value::Float(x), _) => field(&x.to_bits().to_be_bytes()),
        (Value::Time(x), _) => field(&since_2000(x.0).to_be_bytes()),
        (Value::Text(x), _) => field(x.as_bytes()),
        (Value::Json(x), _) => field(canonical_json(x).as_bytes()),
    }
}

/// PostgreSQL keeps the two infinities at the ends of the numbers, as we do.
fn since_2000(micros: i64) -> i64 {
    if micros == i64::MIN || micros == i64::MAX { micros } else { micros.saturating_sub(EPOCH_OFFSET_US) }
}

/// The value as a literal, for people and psql.
pub fn literal(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(_) | Value::Int(_) => value.to_text().unwrap_or_default(),
        // A bare -0 would lose its sign as an integer.
        other => quoted(&other.to_text().unwrap_or_default()),
    }
}

/// A text as a literal, whatever `standard_conforming_strings` says.
pub fn quoted(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use crate::model::time::Micros;

    use super::*;

    #[test]
    fn a_row_in_binary() {
        let staged = Staged {
            table: "t".to_owned(),
            columns: vec![("a".to_owned(), Stage::Int4), ("b".to_owned(), Stage::Float8), ("c".to_owned(), Stage::Text)],
            rows: vec![vec![Value::Int(-2), Value::Float(-0.0), Value::Null]],
        };
        assert_eq!(staged.create(", x xid"), "CREATE TEMP TABLE t (\"a\" int4, \"b\" float8, \"c\" text, x xid) ON COMMIT DROP");
        let bytes: Vec<u8> = staged.binary(1).flatten().collect();
        assert_eq!(&bytes[..19], SIGNATURE);
        let row: Vec<u8> = [
            &[0, 3][..],
            &[0, 0, 0, 4, 255, 255, 255, 254],
            &[0, 0, 0, 8, 128, 0, 0, 0, 0, 0, 0, 0],
            &[255, 255, 255, 255],
            &TRAILER,
        ]
        .concat();
        assert_eq!(bytes[19..], row);
        assert_eq!(staged.binary(1 << 20).count(), 1);
    }

    #[test]
    fn literals_come_back_as_they_went() {
        assert_eq!(literal(&Value::Float(-0.0)), "'-0.0'");
        assert_eq!(literal(&Value::Float(f64::NAN)), "'NaN'");
        assert_eq!(literal(&Value::Text(r"it's a \".into())), r"E'it''s a \\'");
        assert_eq!(literal(&Value::Time(Micros(0))), "'1970-01-01T00:00:00.000000Z'");
        assert_eq!(since_2000(i64::MAX), i64::MAX);
    }
}
