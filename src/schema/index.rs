//! What stands around a `CREATE INDEX CONCURRENTLY`, which must be a statement alone: is it needed, and is the way free.

use super::session::Session;
use crate::error::Result;
use crate::postgres::{Judged, Task};
use sqlx::migrate::Migration;
use std::ops::Range;

/// NULLS NOT DISTINCT is known from here on.
const NULLS_NOT_DISTINCT: u32 = 150_000;

/// An index that a migration builds; the names are those of its file.
struct Index {
    version: i64,
    name: &'static str,
    table: &'static str,
    /// Any index that starts with these columns does as well. None: only this very index does.
    columns: &'static [&'static str],
    /// The versions of PostgreSQL that it is for.
    servers: Range<u32>,
}

const ANY: Range<u32> = 0..u32::MAX;
const STEPS: &str = "weather_forecast_steps";
const SCORES: &str = "weather_miner_scores";
const COMPONENTS: &str = "weather_forecast_component_scores";

#[rustfmt::skip]
const INDEXES: [Index; 7] = [
    Index { version: 105, name: "recount_steps_one_per_key", table: STEPS, columns: &[], servers: NULLS_NOT_DISTINCT..u32::MAX },
    Index { version: 107, name: "recount_steps_one_per_null_key", table: STEPS, columns: &[], servers: 0..NULLS_NOT_DISTINCT },
    Index { version: 108, name: "recount_steps_run_miner", table: STEPS, columns: &["run_id", "miner_uid"], servers: ANY },
    Index { version: 109, name: "recount_steps_name_status", table: STEPS, columns: &["step_name", "status"], servers: ANY },
    Index { version: 110, name: "recount_steps_next_retry", table: STEPS, columns: &["next_retry_time"], servers: ANY },
    Index { version: 111, name: "recount_scores_run_miner", table: SCORES, columns: &["run_id", "miner_uid", "score_type", "lead_hours"], servers: ANY },
    Index { version: 112, name: "recount_components_run", table: COMPONENTS, columns: &["run_id"], servers: ANY },
];

/// Is there a usable, full B-tree on this table that starts with these columns?
const LIKE_IT: &str = "
    SELECT EXISTS (
        SELECT FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
        WHERE i.indrelid = to_regclass($1) AND i.indisvalid AND i.indpred IS NULL
          AND $2 = ARRAY(SELECT col.attname::text
                         FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                         LEFT JOIN pg_attribute col ON col.attrelid = i.indrelid AND col.attnum = k.attnum
                         WHERE k.place <= least(i.indnkeyatts, cardinality($2))
                         ORDER BY k.place))";

/// Tells whether the migration has anything to do, having cleared away what an interrupted build left under our name. In no transaction.
pub(super) async fn prepare(session: &mut Session, migration: &Migration) -> Result<bool> {
    let Some(index) = INDEXES.iter().find(|index| index.version == migration.version) else {
        return Ok(true);
    };
    if !index.servers.contains(&session.server) {
        return Ok(false);
    }
    session.begin_reading().await?;
    let doing = || format!("looking for an index like {}", index.name);
    let unfinished: bool = sqlx::query_scalar(UNFINISHED)
        .bind(index.name)
        .bind(index.table)
        .fetch_one(&mut session.connection)
        .await
        .judged(Task::Migrate, doing)?;
    let found: bool = sqlx::query_scalar(LIKE_IT)
        .bind(index.table)
        .bind(index.columns)
        .fetch_one(&mut session.connection)
        .await
        .judged(Task::Migrate, doing)?;
    session.commit().await?;
    if unfinished {
        let drop = format!("DROP INDEX CONCURRENTLY {}", session.qualified(index.name));
        session.run_alone(|| format!("clearing away the unfinished index {}", index.name), drop).await?;
    }
    Ok(index.columns.is_empty() || !found)
}

/// The statement of a migration that builds an index, on the table of the validator's schema.
pub(super) fn statement(session: &Session, migration: &Migration) -> String {
    let sql = migration.sql.as_str();
    match INDEXES.iter().find(|index| index.version == migration.version) {
        Some(index) => sql.replacen(&format!("ON {} ", index.table), &format!("ON {} ", session.qualified(index.table)), 1),
        None => sql.to_owned(),
    }
}

/// An interrupted `CREATE INDEX CONCURRENTLY` leaves an index that costs every write and serves no query.
const UNFINISHED: &str =
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indrelid = to_regclass($2) AND NOT indisvalid)";

#[cfg(test)]
mod tests {
    use super::{super::PHASE1, INDEXES};

    #[test]
    fn every_file_that_builds_an_index_is_known_by_its_name_and_table() {
        let files: Vec<_> = PHASE1.iter().filter(|m| m.no_tx).collect();
        assert_eq!(files.len(), INDEXES.len());
        for (file, index) in files.iter().zip(&INDEXES) {
            assert_eq!(file.version, index.version);
            let sql: String = file.sql.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
            let columns = if index.columns.is_empty() { "(run_id".to_owned() } else { format!("({})", index.columns.join(", ")) };
            let statement = format!("INDEX CONCURRENTLY IF NOT EXISTS {} ON {} {columns}", index.name, index.table);
            assert!(sql.contains(&statement), "{statement} is not in {sql}");
        }
    }
}
