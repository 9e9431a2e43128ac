//! What the database remembers of our migrations.

use super::State;
use crate::error::{Context, ErrorKind, Result};
use crate::model::time::Micros;
use sqlx::PgConnection;
use sqlx::migrate::Migration;
use std::collections::HashMap;

/// Beside the other tool's history, never in it.
pub(super) const TABLE: &str = "recount_migrations";

/// What is remembered of a migration.
pub(super) struct Entry {
    checksum: Vec<u8>,
    at: Micros,
}

/// Reads the history; none yet reads as an empty one.
pub(super) async fn read(connection: &mut PgConnection) -> Result<HashMap<i64, Entry>> {
    let doing = || format!("reading {TABLE}");
    let there: bool = sqlx::query_scalar("SELECT to_regclass('recount_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .doing(ErrorKind::Database, doing)?;
    if !there {
        return Ok(HashMap::new());
    }
    let query = "SELECT version, checksum, (extract(epoch FROM installed_on) * 1000000)::bigint FROM recount_migrations";
    let rows: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(query).fetch_all(connection).await.doing(ErrorKind::Database, doing)?;
    Ok(rows.into_iter().map(|(version, checksum, at)| (version, Entry { checksum, at: Micros(at) })).collect())
}

pub(super) fn state(history: &HashMap<i64, Entry>, migration: &Migration) -> State {
    match history.get(&migration.version) {
        None => State::Pending,
        Some(entry) if entry.checksum == *migration.checksum => State::Applied { at: entry.at },
        Some(entry) => State::Changed { at: entry.at },
    }
}
