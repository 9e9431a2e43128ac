//! Error texts and JSON are known to a diff only in sanitized form. Before the transaction, the stored originals are held against
//! it here; a hash of each then guards the cell inside the transaction, and in SQL for psql.

use crate::error::Result;
use crate::model::columns::Type;
use crate::model::correction::{Change, Correction, type_of};
use crate::model::rows::parse_json;
use crate::model::sanitize::{sanitize, stored_json};
use crate::model::value::{Value, canonical_json};

use serde_json::{Value as Json, json};

use super::load::Staged;
use super::plan::{Guard, TablePlan};
use super::session::Session;
use super::sql::{hash, name, same_key};

/// No hash: a cell whose original is another than the diff knows is never changed.
const CHANGED: &str = "changed";

/// Puts a hash of the original in the place of each old value that was sanitized as it was read.
pub async fn guard(session: &mut Session<'_>, plan: &TablePlan, rows: &[(i64, &Correction)], staged: &mut Staged) -> Result<()> {
    for (index, cell) in plan.cells.iter().enumerate().filter(|(_, cell)| cell.guard == Guard::Hash) {
        let at = 2 + 3 * index;
        let set: Vec<(i64, &Correction)> = rows.iter().filter(|(_, row)| stored(row, &cell.name).is_some()).copied().collect();
        let originals = originals(session, plan.table, &cell.name, &set).await?;
        for values in &mut staged.rows {
            if values[at - 1] == Value::Null {
                continue;
            }
            let Value::Int(n) = values[0] else { continue };
            let found = originals.binary_search_by_key(&n, |(found, ..)| i64::from(*found));
            values[at] = match found.ok().map(|at| &originals[at]) {
                Some((_, original, hash)) if is_read_as(plan.table, &cell.name, original.as_deref(), &values[at]) => {
                    hash.clone().map_or(Value::Null, |hash| Value::Text(hash.into()))
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

type Original = (i32, Option<String>, Option<String>);

/// Number, stored text and its hash, of the rows that are there; in order of number.
async fn originals(session: &mut Session<'_>, table: &str, column: &str, rows: &[(i64, &Correction)]) -> Result<Vec<Original>> {
    let (column, key) = (format!("t.{}", name(column)), same_key(table, "t", "r"));
    let sql = format!(
        "SELECT r.n, {column}::text, {} FROM unnest($1::int4[], $2::int4[], $3::text[], $4::text[], $5::int4[])
             AS r (n, miner_uid, forecast_run_id, scope, run_id) JOIN {table} t ON {key} ORDER BY r.n",
        hash(&column)
    );
    let query = sqlx::query_as::<_, Original>(sqlx::AssertSqlSafe(sql))
        .bind(rows.iter().map(|(n, _)| *n as i32).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.miner_uid).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.forecast_run_id.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.scope.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.key.run_id).collect::<Vec<_>>());
    session.wait(&format!("reading {table}"), async |c| query.fetch_all(c).await).await
}

/// Whether the original, read as the source reads it, is what the diff has.
fn is_read_as(table: &str, column: &str, original: Option<&str>, stored: &Value<'_>) -> bool {
    match (original, stored) {
        (None, stored) => stored.is_null(),
        (Some(text), stored) if type_of(table, column) == Type::Json => {
            let read = stored_json(&projected(column, text)).0;
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

/// Of an error object, only type and message are read (D4).
fn projected(column: &str, text: &str) -> String {
    match parse_json(text) {
        Json::Object(error) if column == "forecast_error_msg" => {
            let part = |key: &str| error.get(key).cloned().unwrap_or_default();
            json!({"type": part("type"), "message": part("message")}).to_string()
        }
        _ => text.to_owned(),
    }
}
