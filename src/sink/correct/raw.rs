//! Error texts and JSON are known to a diff only in sanitized form. Before the transaction, the stored originals are held against
//! it here; a hash of each then guards the cell inside the transaction, and in SQL for psql.

use crate::error::Result;
use crate::model::columns::Type;
use crate::model::correction::{Change, Correction, type_of};
use crate::model::sanitize::{sanitize, stored_json};
use crate::model::value::{Value, canonical_json};
use crate::postgres::readable_json;

use super::plan::{Cell, Guard, TablePlan};
use super::rows::Cells;
use super::session::Session;
use super::sql::{hash, name, same_key};

/// No hash: a cell whose original is another than the diff knows is never changed.
const CHANGED: &str = "changed";

/// Puts a hash of the original in the place of each old value that was sanitized as it was read.
pub async fn guard(session: &mut Session<'_>, plan: &TablePlan, rows: &[(i32, &Correction)], lines: &mut [Cells]) -> Result<()> {
    for (index, cell) in plan.cells.iter().enumerate().filter(|(_, cell)| cell.guard == Guard::Hash) {
        let set: Vec<(i32, &Correction)> = rows.iter().filter(|(_, row)| stored(row, &cell.name).is_some()).copied().collect();
        let originals = originals(session, plan.table, cell, &set).await?;
        for line in lines.iter_mut() {
            let Some(moved) = &mut line.cells[index] else { continue };
            let found = originals.binary_search_by_key(&line.n, |original| original.n);
            moved.old = match found.ok().map(|at| &originals[at]) {
                Some(original) if is_read_as(plan.table, &cell.name, original.as_read.as_deref(), &moved.old) => {
                    original.hash.clone().map_or(Value::Null, |hash| Value::Text(hash.into()))
                }
                _ => Value::Text(CHANGED.into()),
            };
        }
    }
    Ok(())
}

fn stored<'c>(row: &'c Correction, column: &str) -> Option<&'c Value<'static>> {
    let Change::Update(cells) = &row.change else { return None };
    cells.iter().find(|cell| cell.column == column).map(|cell| &cell.stored)
}

/// A stored text.
struct Original {
    n: i32,
    /// What a source reads of it, before it is sanitized.
    as_read: Option<String>,
    /// Of the whole text.
    hash: Option<String>,
}
crate::postgres::from_row!(Original { n, as_read, hash });

/// The originals of the rows that are there, in order of their numbers.
async fn originals(session: &mut Session<'_>, table: &str, cell: &Cell, rows: &[(i32, &Correction)]) -> Result<Vec<Original>> {
    let (column, key) = (format!("t.{}", name(&cell.name)), same_key(table, "t", "r"));
    let sql = format!(
        "SELECT r.n, {} AS as_read, {} AS hash FROM unnest($1::int4[], $2::int4[], $3::text[], $4::text[], $5::int4[])
             AS r (n, miner_uid, forecast_run_id, scope, run_id) JOIN {table} t ON {key} ORDER BY r.n",
        as_read(cell, &column),
        hash(&column)
    );
    let query = sqlx::query_as::<_, Original>(sqlx::AssertSqlSafe(sql))
        .bind(rows.iter().map(|(n, _)| *n).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.miner_uid).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.forecast_run_id.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.scope.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.run_id).collect::<Vec<_>>());
    session.wait(&format!("reading {table}"), async |c| query.fetch_all(c).await).await
}

/// The expression by which a source reads the column: of an error object, only type and message (D4). The server takes it apart,
/// since it reads numbers and nesting that our JSON does not.
fn as_read(cell: &Cell, column: &str) -> String {
    let json = if cell.base == "json" { "json" } else { "jsonb" };
    let column = if cell.base == "json" { &readable_json(column) } else { column };
    match cell.name.as_str() {
        "forecast_error_msg" => format!(
            "CASE {json}_typeof({column}) WHEN 'object' THEN {json}_build_object('type', {column} -> 'type',
                 'message', {column} -> 'message')::text ELSE {column}::text END"
        ),
        _ => format!("{column}::text"),
    }
}

/// Whether the original, read as the source reads it, is what the diff has.
fn is_read_as(table: &str, column: &str, original: Option<&str>, stored: &Value<'_>) -> bool {
    match (original, stored) {
        (None, stored) => stored.is_null(),
        (Some(text), stored) if type_of(table, column) == Type::Json => {
            let read = stored_json(text).0;
            match (read, stored) {
                (None, Value::Null) => true,
                (Some(read), Value::Json(stored)) => read == canonical_json(stored),
                _ => false,
            }
        }
        (Some(text), Value::Text(stored)) => sanitize(text) == *stored,
        _ => false,
    }
}
