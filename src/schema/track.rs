//! Triggers that record which runs are written to, for incremental jobs: put in force, taken back, and their stamps pruned.
//!
//! No migration of a phase, since it can be taken back: the history of the migrations knows nothing of it, the catalogue does.

use std::sync::LazyLock;

use sqlx::migrate::Migrator;

use super::session::Session;
use super::{files, migrator};
use crate::error::Result;
use crate::postgres::{Judged, Task, execute};

static TRACK: LazyLock<Migrator> = LazyLock::new(|| migrator(files::TRACK));
const ON: i64 = 501;
const OFF: i64 = 502;

/// Stamps are kept for so long. A job whose state is older reads everything.
const KEEP: &str = "35 days";

/// Five tables, three triggers each; a table that is a view or is not there has none.
const IN_FORCE_SQL: &str = "
SELECT to_regclass('recount_tracking') IS NOT NULL,
       coalesce(bool_and((SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgenabled = 'A'
                          AND g.tgname IN ('recount_track_insert', 'recount_track_update', 'recount_track_delete')) = 3), false)
FROM unnest(ARRAY['weather_miner_responses', 'weather_miner_scores', 'weather_forecast_component_scores',
                  'weather_forecast_steps', 'weather_forecast_stats']) AS t (name)
JOIN pg_class c ON c.oid = to_regclass(t.name) AND c.relkind = 'r'";

/// Whether changes are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    Off,
    On,
    /// A trigger is missing or disabled: incremental jobs read everything.
    Broken,
}

impl Tracking {
    pub fn name(self) -> &'static str {
        match self {
            Tracking::Off => "off",
            Tracking::On => "on",
            Tracking::Broken => "not in force",
        }
    }
}

/// Whether changes are tracked. Needs no more than the right to connect.
pub async fn tracking(url: &str) -> Result<Tracking> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let tracking = standing(&mut session).await?;
    session.commit().await?;
    session.close().await;
    Ok(tracking)
}

/// Puts the triggers in force, or takes them back with all that they recorded. Where they are in force, old stamps are removed,
/// and their number is given. With `pause`, the validator's workers start nothing meanwhile.
///
/// # Errors
/// Where another session holds a lock on one of the tables for long, and where the role does not own them.
pub async fn track(url: &str, on: bool, pause: bool) -> Result<(Tracking, u64)> {
    let mut session = Session::open(url).await?;
    session.prepare(pause).await?;
    session.begin().await?;
    let version = if on { ON } else { OFF };
    let migration = TRACK.iter().find(|migration| migration.version == version).expect("invariant: it is one of two files");
    let doing = || format!("applying migration {} ({})", migration.version, migration.description);
    execute(&mut session.connection, migration.sql.as_str()).await.judged(Task::Migrate, doing)?;
    let pruned: i64 = if on {
        sqlx::query_scalar("SELECT recount_prune_stamps($1::interval)")
            .bind(KEEP)
            .fetch_one(&mut session.connection)
            .await
            .judged(Task::Migrate, || "removing old stamps of changes".to_owned())?
    } else {
        0
    };
    let tracking = standing(&mut session).await?;
    session.commit().await?;
    session.close().await;
    Ok((tracking, pruned.unsigned_abs()))
}

async fn standing(session: &mut Session) -> Result<Tracking> {
    let (there, in_force): (bool, bool) = sqlx::query_as(IN_FORCE_SQL)
        .fetch_one(&mut session.connection)
        .await
        .judged(Task::Migrate, || "reading whether changes are tracked".to_owned())?;
    Ok(match (there, in_force) {
        (false, _) => Tracking::Off,
        (true, true) => Tracking::On,
        (true, false) => Tracking::Broken,
    })
}
