//! Whether the validator's columns are such that rules in SQL can read them. Recounting takes more types than views do: what it takes and
//! they do not is refused here, by name, before anything is made.

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{Judged, Task};
use sqlx::PgConnection;

/// Columns of the tables that the rules read, of a type or collation that the views, functions and steps cannot take: what they are,
/// and the type that they need.
const UNFIT: &str = "
    WITH RECURSIVE made_of (attribute, id, kind, base) AS (
        SELECT a, t.oid, t.typtype, t.typbasetype FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ANY (ARRAY(
            SELECT to_regclass(n) FROM unnest(ARRAY['node_table', 'weather_forecast_runs', 'weather_miner_responses',
                'weather_miner_scores', 'weather_forecast_component_scores', 'weather_forecast_steps', 'weather_forecast_stats',
                'miner_stats']) AS n))
        UNION ALL
        SELECT m.attribute, t.oid, t.typtype, t.typbasetype FROM made_of m JOIN pg_type t ON t.oid = m.base WHERE m.kind = 'd')
    SELECT format('%I', c.relname), format('%I', (m.attribute).attname),
           CASE WHEN l.collisdeterministic IS FALSE THEN 'of the nondeterministic collation ' || format('%I', l.collname)
                ELSE format_type(m.id, NULL) END,
           CASE WHEN l.collisdeterministic IS FALSE
                THEN format_type((m.attribute).atttypid, (m.attribute).atttypmod) || ' COLLATE pg_catalog.\"default\"'
                WHEN m.id = 'smallint'::regtype THEN 'integer' ELSE 'jsonb' END
    FROM made_of m JOIN pg_class c ON c.oid = (m.attribute).attrelid LEFT JOIN pg_collation l ON l.oid = (m.attribute).attcollation
    WHERE m.kind <> 'd' AND (l.collisdeterministic IS FALSE
        OR m.id = 'smallint'::regtype AND (m.attribute).attname IN ('id', 'uid', 'run_id', 'response_id', 'miner_uid', 'lead_hours')
        OR m.id = 'json'::regtype AND (m.attribute).attname IN ('error_json', 'context', 'forecast_error_msg', 'common_errors',
                                                                'error_rate_by_type'))
    ORDER BY c.relname, (m.attribute).attnum";

/// Refuses a database whose columns the views of the rules and the steps cannot read.
///
/// # Errors
/// A contract error that names every such column, what it is, and the statement that makes it fit.
pub(super) async fn check(connection: &mut PgConnection) -> Result<()> {
    let doing = "checking the columns that the rules in SQL read";
    let unfit: Vec<(String, String, String, String)> =
        sqlx::query_as(UNFIT).fetch_all(connection).await.judged(Task::Migrate, || doing.to_owned())?;
    if unfit.is_empty() {
        return Ok(());
    }
    let is = |(table, column, is, _): &(String, String, String, String)| format!("{table}.{column} is {is}");
    let detail = unfit.iter().map(is).collect::<Vec<_>>().join(", ");
    let alter = |(table, column, _, needed): &(String, String, String, String)| {
        let using = if needed == "jsonb" { format!(" USING {column}::jsonb") } else { String::new() };
        format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE {needed}{using}")
    };
    let alters = unfit.iter().map(alter).collect::<Vec<_>>().join("; ");
    Err(Error::new(ErrorKind::Contract, doing, detail).hint(format!(
        "Phase 2, Phase 3 and the steps need other types: {alters}. Reading, recomputing and correcting work as it is"
    )))
}
