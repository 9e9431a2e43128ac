//! Whose database is migrated: one that the validator's own migrations have made, or an empty one that is meant to be recount's.
//!
//! The validator's migrations create the event log with a plain CREATE TABLE. On a database that has not reached that migration, ours
//! would create the table first, and the validator's upgrade would fail.

use sqlx::PgConnection;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{Judged, Task};

const DOING: &str = "preparing the migrations";

/// The validator's own migration that creates the event log.
const STEPS_REVISION: &str = "803c6cff9b58";

/// The validator's revisions before that one, from its public migrations. A revision that is not among them is a later one, if the event
/// log is there.
const OLDER: [&str; 14] = [
    "f75e4f7343a1",
    "2e00df6800b9",
    "3704fd24c76d",
    "9184456655c8",
    "a1b2c3d4e5f6",
    "d14c8157766a",
    "dc4f1a1ad6db",
    "7819e940673d",
    "911b2e3e140e",
    "7cc0a0cb963c",
    "8d832ba6c04d",
    "score_table_refactor",
    "5fda479e51b2",
    "0f9fe00f6e93",
];

/// What is asked of the catalogue before anything is created.
struct Found {
    runs: bool,
    steps: bool,
    alembic: bool,
    readable: bool,
}
crate::postgres::from_row!(Found { runs, steps, alembic, readable });

/// Refuses a database on which the validator's own migrations have to run first. `standalone`: an empty one is meant.
pub(super) async fn check(connection: &mut PgConnection, standalone: bool) -> Result<()> {
    let doing = || DOING.to_owned();
    let found: Found = sqlx::query_as(
        "SELECT to_regclass('weather_forecast_runs') IS NOT NULL AS runs, to_regclass('weather_forecast_steps') IS NOT NULL AS steps,
                to_regclass('alembic_version') IS NOT NULL AS alembic,
                coalesce(has_table_privilege(to_regclass('alembic_version'), 'SELECT'), false) AS readable",
    )
    .fetch_one(&mut *connection)
    .await
    .judged(Task::Migrate, doing)?;
    if found.alembic {
        let revisions: Vec<String> = if found.readable {
            let read = sqlx::query_scalar("SELECT version_num::text FROM alembic_version").fetch_all(connection).await;
            read.judged(Task::Migrate, doing)?
        } else {
            Vec::new()
        };
        return reached(&found, &revisions);
    }
    if found.runs || standalone {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Refused,
        DOING,
        "there is no table weather_forecast_runs: the database is empty, or it is not a validator's",
    )
    .hint(
        "run the validator's own migrations first (alembic upgrade head), then this; \
         or give --standalone, and recount creates the validator's tables in a database of its own",
    ))
}

/// Refuses where the validator's own migrations have not created the event log yet.
fn reached(found: &Found, revisions: &[String]) -> Result<()> {
    let older = revisions.iter().find(|revision| OLDER.contains(&revision.as_str()));
    let detail = match older {
        Some(revision) => format!("the validator's own migrations stand at {revision}, before {STEPS_REVISION}"),
        None if !found.steps => format!("the validator's own migrations have not reached {STEPS_REVISION}"),
        None => return Ok(()),
    };
    let detail = format!("{detail}, which creates weather_forecast_steps and would fail if recount created it first");
    let hint = if found.steps {
        "weather_forecast_steps is there already: rename it, run the validator's own migrations (alembic upgrade head), \
         copy its rows back, then run this"
    } else {
        "run the validator's own migrations first (alembic upgrade head), then this"
    };
    Err(Error::new(ErrorKind::Refused, DOING, detail).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(steps: bool, revisions: &[&str]) -> Option<String> {
        let found = Found { runs: true, steps, alembic: true, readable: true };
        let revisions: Vec<String> = revisions.iter().map(|revision| (*revision).to_owned()).collect();
        reached(&found, &revisions).err().map(|error| error.to_string())
    }

    #[test]
    fn a_revision_before_the_event_log_is_refused() {
        assert_eq!(judged(true, &["803c6cff9b58"]), None);
        assert_eq!(judged(true, &["c9d2552f22aa"]), None, "a later one");
        assert_eq!(judged(true, &[]), None, "the history cannot be read, the table is there");
        assert!(judged(false, &["0f9fe00f6e93"]).unwrap().contains("stand at 0f9fe00f6e93"));
        assert!(judged(true, &["0f9fe00f6e93"]).is_some(), "somebody else made the table");
        assert!(judged(false, &["of some fork"]).is_some());
        assert!(judged(false, &[]).is_some());
    }
}
