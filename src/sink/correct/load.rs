//! Rows on their way into a temporary table: as binary arrays, so that a double arrives with its bits, or as SQL literals.

use std::ops::Range;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo};
use sqlx::{Arguments, Postgres};

use crate::model::columns::Type;
use crate::model::value::{Value, canonical_json};
use crate::postgres::wire::EPOCH_MICROS;

pub use crate::postgres::literal as quoted;

use super::rows::Lines;

/// How many rows a statement takes to the server.
const ROWS_PER_STATEMENT: usize = 1 << 14;
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

/// How a staged column is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagedType {
    Int4,
    Int8,
    Float8,
    Bool,
    Time,
    Text,
}

impl StagedType {
    pub fn of(kind: Type) -> StagedType {
        match kind {
            Type::Bool => StagedType::Bool,
            Type::Int32 => StagedType::Int4,
            Type::Int64 => StagedType::Int8,
            Type::Float64 => StagedType::Float8,
            Type::Time => StagedType::Time,
            Type::Text | Type::Json => StagedType::Text,
        }
    }

    pub fn sql(self) -> &'static str {
        match self {
            StagedType::Int4 => "int4",
            StagedType::Int8 => "int8",
            StagedType::Float8 => "float8",
            StagedType::Bool => "bool",
            StagedType::Time => "timestamptz",
            StagedType::Text => "text",
        }
    }
}

/// A temporary table with its rows.
#[derive(Debug, Clone)]
pub struct Staged {
    pub table: String,
    pub columns: Vec<(String, StagedType)>,
    pub lines: Lines,
}

impl Staged {
    /// The statement that creates the table. `extra` columns stand after those that are loaded.
    ///
    /// The number of a row is its key: whatever the planner thinks of a temporary table, a row is found by an index.
    pub fn create(&self, extra: &str) -> String {
        let key = |name: &str| if name == "n" { " PRIMARY KEY" } else { "" };
        let column = |(name, stage): &(String, StagedType)| format!("\"{name}\" {}{}", stage.sql(), key(name));
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        format!("CREATE TEMP TABLE {} ({}{extra}) ON COMMIT DROP", self.table, columns.join(", "))
    }

    pub fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }

    /// All rows in pieces, each for a statement of its own.
    pub fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.lines.len();
        (0..rows).step_by(ROWS_PER_STATEMENT).map(move |start| start..rows.min(start + ROWS_PER_STATEMENT))
    }

    /// The statement that takes a piece in one message: an array for each column. COPY would need two, and where the connection
    /// is TCP, the second waits for the server's delayed acknowledgement of the first, 40 ms.
    pub fn insert(&self) -> String {
        let array = |(at, (_, stage)): (usize, &(String, StagedType))| format!("${}::{}[]", at + 1, stage.sql());
        let arrays = self.columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {} ({}) SELECT * FROM unnest({arrays})", self.table, self.names())
    }

    /// The arrays of a piece.
    pub fn arguments(&self, piece: Range<usize>) -> Result<PgArguments, BoxDynError> {
        let mut arrays: Vec<Array> = self.columns.iter().map(|(_, stage)| Array::new(*stage, piece.len())).collect();
        for at in piece {
            for (array, value) in arrays.iter_mut().zip(self.lines.values(at)) {
                array.push(value);
            }
        }
        let mut arguments = PgArguments::default();
        for array in arrays {
            array.add_to(&mut arguments)?;
        }
        Ok(arguments)
    }
}

/// The values of one staged column, as the server takes them.
enum Array {
    Int4(Vec<Option<i32>>),
    Int8(Vec<Option<i64>>),
    Float8(Vec<Option<f64>>),
    Bool(Vec<Option<bool>>),
    Time(Vec<Option<Timestamp>>),
    Text(Vec<Option<String>>),
}

impl Array {
    fn new(stage: StagedType, rows: usize) -> Array {
        match stage {
            StagedType::Int4 => Array::Int4(Vec::with_capacity(rows)),
            StagedType::Int8 => Array::Int8(Vec::with_capacity(rows)),
            StagedType::Float8 => Array::Float8(Vec::with_capacity(rows)),
            StagedType::Bool => Array::Bool(Vec::with_capacity(rows)),
            StagedType::Time => Array::Time(Vec::with_capacity(rows)),
            StagedType::Text => Array::Text(Vec::with_capacity(rows)),
        }
    }

    fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Array::Int4(values), Value::Null) => values.push(None),
            (Array::Int4(values), Value::Int(x)) => values.push(Some(x as i32)),
            (Array::Int8(values), Value::Null) => values.push(None),
            (Array::Int8(values), Value::Int(x)) => values.push(Some(x)),
            (Array::Float8(values), Value::Null) => values.push(None),
            (Array::Float8(values), Value::Float(x)) => values.push(Some(x)),
            (Array::Bool(values), Value::Null) => values.push(None),
            (Array::Bool(values), Value::Bool(x)) => values.push(Some(x)),
            (Array::Time(values), Value::Null) => values.push(None),
            (Array::Time(values), Value::Time(x)) => values.push(Some(Timestamp(x.0))),
            (Array::Text(values), Value::Null) => values.push(None),
            (Array::Text(values), Value::Text(x)) => values.push(Some(x.into_owned())),
            (Array::Text(values), Value::Json(x)) => values.push(Some(canonical_json(&x))),
            _ => unreachable!("invariant: a staged value has the type of its column"),
        }
    }

    fn add_to(self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        match self {
            Array::Int4(values) => arguments.add(values),
            Array::Int8(values) => arguments.add(values),
            Array::Float8(values) => arguments.add(values),
            Array::Bool(values) => arguments.add(values),
            Array::Time(values) => arguments.add(values),
            Array::Text(values) => arguments.add(values),
        }
    }
}

/// Microseconds since Unix's epoch. Sent in binary, since PostgreSQL reads few of the far years that it can hold.
struct Timestamp(i64);

impl sqlx::Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl sqlx::Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        sqlx::Encode::<Postgres>::encode_by_ref(&since_2000(self.0), buffer)
    }
}

/// PostgreSQL keeps the two infinities at the ends of the numbers, as we do.
fn since_2000(micros: i64) -> i64 {
    if micros == i64::MIN || micros == i64::MAX { micros } else { micros.saturating_sub(EPOCH_MICROS) }
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

#[cfg(test)]
mod tests {
    use crate::model::time::Micros;
    use crate::sink::correct::rows::{Cells, Moved};

    use super::*;

    #[test]
    fn rows_as_arrays() {
        let moved = Moved { old: Value::Float(-0.0), new: Value::Null };
        let staged = Staged {
            table: "t".to_owned(),
            columns: vec![
                ("n".to_owned(), StagedType::Int4),
                ("b_set".to_owned(), StagedType::Bool),
                ("b_old".to_owned(), StagedType::Float8),
                ("b_new".to_owned(), StagedType::Float8),
            ],
            lines: Lines::Cells(vec![Cells { n: 2, cells: vec![Some(moved)] }, Cells { n: 3, cells: vec![None] }]),
        };
        assert_eq!(
            staged.create(", x xid"),
            "CREATE TEMP TABLE t (\"n\" int4 PRIMARY KEY, \"b_set\" bool, \"b_old\" float8, \"b_new\" float8, x xid) ON COMMIT DROP"
        );
        assert_eq!(
            staged.insert(),
            "INSERT INTO t (\"n\", \"b_set\", \"b_old\", \"b_new\") SELECT * FROM unnest($1::int4[], $2::bool[], $3::float8[], $4::float8[])"
        );
        assert!(staged.pieces().eq(std::iter::once(0..2)));
        assert!(staged.arguments(0..2).is_ok_and(|arguments| arguments.len() == 4));
    }

    #[test]
    fn literals_come_back_as_they_went() {
        assert_eq!(literal(&Value::Float(-0.0)), "'-0.0'");
        assert_eq!(literal(&Value::Float(f64::NAN)), "'NaN'");
        assert_eq!(literal(&Value::Text(r"it's a \".into())), r"E'it''s a \\'");
        assert_eq!(quoted("a\n\\! id"), r"E'a\x0a\\! id'");
        assert_eq!(literal(&Value::Time(Micros(0))), "'1970-01-01T00:00:00.000000Z'");
        assert_eq!(since_2000(i64::MAX), i64::MAX);
    }
}
