//! Which schema the validator's tables are in, and that nobody else's objects in it can stand for the server's own or for ours.
//!
//! What is recount's alone (jobs, corrections, proofs, stamps) is in a schema of its own, [`OURS`]. In a database that an older version
//! of recount has migrated it is beside the validator's tables until `recount migrate` moves it, so it is looked for in both.

use sqlx::postgres::PgConnection;

use super::errors::{Judged, Task};
use super::sql::identifier;
use crate::error::{Error, ErrorKind, Result};

/// The schema of recount's own tables.
pub const OURS: &str = "recount";

/// The table that every validator has, and by which its schema is known.
const RUNS: &str = "weather_forecast_runs";

const DOING: &str = "looking for the validator's schema";

/// Until the schema is known, nothing but the server's own names mean anything.
const SERVER_ALONE: &str = "SET LOCAL search_path = pg_catalog, pg_temp";

const FIND: &str = "
    SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $1::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT pg_is_other_temp_schema(n.oid) AND n.oid <> pg_my_temp_schema()
    ORDER BY 1";

/// What a statement of ours could meet instead of what it means: the server prefers an operator or a function whose types fit better,
/// wherever it is, and ours are found by their names. The owner of the validator's tables is trusted, with every role that may act
/// as the owner: their triggers run with our rights in any case. So are superusers, and our own role. In the schema of our own tables,
/// nobody else may have anything at all; where that schema itself belongs to another role, no name is looked up in it.
const PLANTED: &str = "
    SELECT concat(o.kind, ' ', o.name, ' of the role ', quote_ident(pg_get_userbyid(o.owner)))
    FROM pg_namespace v JOIN pg_class runs ON runs.relnamespace = v.oid AND runs.relname = $2::text
    JOIN pg_namespace n ON n.oid = v.oid OR n.nspname = 'recount'
         AND (pg_get_userbyid(n.nspowner) = current_user OR pg_has_role(n.nspowner, runs.relowner, 'MEMBER'))
    CROSS JOIN LATERAL (
        SELECT 'operator' AS kind, p.oid::regoperator::text AS name, p.oprowner AS owner FROM pg_operator p
        WHERE p.oprnamespace = n.oid
          AND (n.oid <> v.oid OR EXISTS (SELECT FROM pg_operator s WHERE s.oprname = p.oprname AND s.oprnamespace = 'pg_catalog'::regnamespace))
        UNION ALL
        SELECT 'function', p.oid::regprocedure::text, p.proowner FROM pg_proc p
        WHERE p.pronamespace = n.oid AND (n.oid <> v.oid OR p.proname ~ '^(recount|weather)_'
          OR EXISTS (SELECT FROM pg_proc s WHERE s.proname = p.proname AND s.pronamespace = 'pg_catalog'::regnamespace))
        UNION ALL
        SELECT 'relation', c.oid::regclass::text, c.relowner FROM pg_class c
        WHERE c.relnamespace = n.oid AND (n.oid <> v.oid OR c.relname ~ '^(recount|rollup)_') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ) o
    WHERE v.nspname = $1::text AND pg_get_userbyid(o.owner) <> current_user AND NOT pg_has_role(o.owner, runs.relowner, 'MEMBER')
    ORDER BY 1";

/// The schema of `weather_forecast_runs`, or `None` where no schema has it. Called within a transaction, before its search path is set.
///
/// # Errors
/// Where several schemas have the table: recount would have to guess which of them is meant. Where somebody else has put an operator, a
/// function or a table there that a statement of ours could take for another.
pub async fn schema_of(connection: &mut PgConnection) -> Result<Option<String>> {
    let doing = || DOING.to_owned();
    super::execute(connection, SERVER_ALONE).await.judged(Task::Read, doing)?;
    let found: Vec<String> =
        sqlx::query_scalar(FIND).bind(RUNS).persistent(false).fetch_all(&mut *connection).await.judged(Task::Read, doing)?;
    match found.as_slice() {
        [] => Ok(None),
        [schema] => {
            refuse_planted(connection, schema).await?;
            Ok(Some(schema.clone()))
        }
        _ => {
            let detail = format!("{RUNS} is in {} schemas: {}", found.len(), found.join(", "));
            Err(Error::new(ErrorKind::Contract, DOING, detail)
                .hint("drop or rename the tables that are not the validator's; recount does not guess which schema is meant"))
        }
    }
}

async fn refuse_planted(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let doing = || format!("looking for what others have put into the schema {schema}");
    let planted: Vec<String> = sqlx::query_scalar(PLANTED)
        .bind(schema)
        .bind(RUNS)
        .persistent(false)
        .fetch_all(connection)
        .await
        .judged(Task::Read, doing)?;
    if planted.is_empty() {
        return Ok(());
    }
    let detail = format!("a statement of recount could take it for the server's or its own: {}", planted.join(", "));
    Err(Error::new(ErrorKind::Refused, doing(), detail).hint(format!(
        "nothing was read or written; drop it, or give it to the owner of the validator's tables, and let nobody else make more: \
         REVOKE CREATE ON SCHEMA {} FROM PUBLIC",
        identifier(schema)
    )))
}

/// Whether the schema of our name, where there is one, is ours or the validator's owner's.
const TRUSTED: &str = "
    SELECT NOT EXISTS (
        SELECT FROM pg_namespace ours JOIN pg_namespace v ON v.nspname = $1::text
        LEFT JOIN pg_class runs ON runs.relnamespace = v.oid AND runs.relname = $2::text
        WHERE ours.nspname = 'recount' AND pg_get_userbyid(ours.nspowner) <> current_user
          AND NOT coalesce(pg_has_role(ours.nspowner, runs.relowner, 'MEMBER'), false))";

/// The schemas in which names are looked up that the server itself does not have. Temporary tables come last, so nothing that somebody else
/// has created can stand for a table of ours.
pub struct SearchPath {
    validator: String,
    ours: &'static str,
}

impl SearchPath {
    pub async fn of(connection: &mut PgConnection, schema: &str) -> Result<SearchPath> {
        let query = sqlx::query_scalar(TRUSTED).bind(schema).bind(RUNS).persistent(false);
        let trusted: bool = query.fetch_one(connection).await.judged(Task::Read, || DOING.to_owned())?;
        Ok(SearchPath { validator: identifier(schema), ours: if trusted { "recount, " } else { "" } })
    }

    /// The name of a relation of the validator's, for a statement that runs without a search path.
    pub fn qualified(&self, name: &str) -> String {
        format!("{}.{name}", self.validator)
    }

    /// What is created without a schema's name comes into the validator's.
    pub fn for_making(&self) -> String {
        format!("{}, {}pg_temp", self.validator, self.ours)
    }

    /// Our tables come before views under their names.
    pub fn for_using(&self) -> String {
        format!("{}{}, pg_temp", self.ours, self.validator)
    }
}

/// Sets the search path of the running transaction: the server's own names first, then ours, then the validator's schema, temporary tables
/// last.
pub async fn set_search_path(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let path = SearchPath::of(connection, schema).await?.for_using();
    let sql = format!("SET LOCAL search_path = pg_catalog, {path}");
    super::execute(connection, sql).await.judged(Task::Read, || "setting the search path".to_owned())
}
