//! What the database remembers of our migrations.

use super::State;
use super::session::is_there;
use crate::error::Result;
use crate::model::time::Micros;
use crate::postgres::{Judged, Task, execute};
use sqlx::PgConnection;
use sqlx::migrate::Migration;
use std::collections::HashMap;

/// Beside the other tool's history, never in it. Phase 1 begins it beside the validator's tables, and moves it into our schema as it ends.
const TABLE: &str = "recount_migrations";

/// In the shape that sqlx's migrator gives it, which made the older ones.
const CREATE: &str = "CREATE TABLE recount_migrations (
    version bigint PRIMARY KEY,
    description text NOT NULL,
    installed_on timestamptz NOT NULL DEFAULT now(),
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
)";

/// What is remembered of a migration.
pub(super) struct Entry {
    checksum: Vec<u8>,
    at: Micros,
}

/// Reads the history; none yet reads as an empty one.
pub(super) async fn read(connection: &mut PgConnection) -> Result<HashMap<i64, Entry>> {
    let doing = || format!("reading {TABLE}");
    if !is_there(connection, TABLE).await.judged(Task::Read, doing)? {
        return Ok(HashMap::new());
    }
    let query = "SELECT version, checksum, (extract(epoch FROM installed_on) * 1000000)::bigint FROM recount_migrations";
    let rows: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(query).fetch_all(connection).await.judged(Task::Read, doing)?;
    Ok(rows.into_iter().map(|(version, checksum, at)| (version, Entry { checksum, at: Micros(at) })).collect())
}

pub(super) fn state(history: &HashMap<i64, Entry>, migration: &Migration) -> State {
    match history.get(&migration.version) {
        None => State::Pending,
        Some(entry) if entry.checksum == *migration.checksum => State::Applied { at: entry.at },
        Some(entry) => State::Changed { at: entry.at },
    }
}

/// Remembers a migration that is done, or without need; `elapsed` in nanoseconds, -1 where it did not run.
pub(super) async fn write(connection: &mut PgConnection, migration: &Migration, elapsed: i64) -> Result<()> {
    let doing = || format!("writing {TABLE}");
    if !is_there(connection, TABLE).await.judged(Task::Migrate, doing)? {
        execute(connection, CREATE).await.judged(Task::Migrate, doing)?;
    }
    sqlx::query(
        "INSERT INTO recount_migrations (version, description, success, checksum, execution_time) VALUES ($1, $2, true, $3, $4)",
    )
    .bind(migration.version)
    .bind(&*migration.description)
    .bind(&*migration.checksum)
    .bind(elapsed)
    .execute(connection)
    .await
    .judged(Task::Migrate, doing)?;
    Ok(())
}
