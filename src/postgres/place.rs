//! Which schema the validator's tables are in.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::errors::{Task, failed};
use super::sql::identifier;
use crate::error::{Error, ErrorKind, Result};

/// The table that every validator has, and by which its schema is known.
const RUNS: &str = "weather_forecast_runs";

const DOING: &str = "looking for the validator's schema";

/// The schema of `weather_forecast_runs`, or `None` where no schema has it.
///
/// A connection asks for it before its search path is changed. Fails where several schemas have the table: recount would have to guess
/// which of them is meant.
pub async fn schema_of(connection: &mut PgConnection) -> Result<Option<String>> {
    let sql = format!(
        "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
         WHERE c.relname OPERATOR(pg_catalog.=) '{RUNS}'::pg_catalog.name AND c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p,v,m,f}}'::pg_catalog.\"char\"[])
           AND NOT pg_catalog.pg_is_other_temp_schema(n.oid) AND n.oid OPERATOR(pg_catalog.<>) pg_catalog.pg_my_temp_schema()
         ORDER BY 1"
    );
    let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(|e| failed(Task::Read, DOING, &e))?;
    match found.as_slice() {
        [] => Ok(None),
        [schema] => Ok(Some(schema.clone())),
        _ => {
            let detail = format!("{RUNS} is in {} schemas: {}", found.len(), found.join(", "));
            Err(Error::new(ErrorKind::Contract, DOING, detail)
                .hint("drop or rename the tables that are not the validator's; recount does not guess which schema is meant"))
        }
    }
}

/// Sets the search path of the running transaction: the server's own names first, then the validator's schema, temporary tables last.
/// So nothing that somebody else has created can stand for an operator, a function or a table of ours.
pub async fn set_search_path(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let sql = format!("SET LOCAL search_path = pg_catalog, {}, pg_temp", identifier(schema));
    super::execute(connection, sql).await.map_err(|e| failed(Task::Read, "setting the search path", &e))
}
