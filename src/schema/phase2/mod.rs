//! Phase 2: the wide columns of `weather_forecast_stats` go, behind a proof that nothing is lost.
//!
//! ```text
//! watch ──► check ──► proof (a record in the database) ──► apply ──► finish
//!                                                            │
//!                                                            └──► revert
//! ```
//!
//! `watch` notes who writes the table; `check` holds every stored value against its recomputation; `apply` demands a proof that still matches the table, and changes the
//! schema in one transaction; until `finish`, `revert` puts everything back.

mod apply;
mod keep;
mod order;
mod prove;
mod readers;
mod revert;
mod statements;
mod status;
mod table;
mod watch;

use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::PgConnection;

use super::session::is_there;
use crate::error::{Error, ErrorKind, Result};
use crate::model::time::Micros;
use crate::postgres::{Judged, Task};

pub use apply::{apply, plan};
pub use keep::Keep;
pub(super) use prove::write_rules;
pub use prove::{Proof, prepare, prove};
pub use revert::{Loss, finish, loss, revert};
pub use statements::{Change, Statement};
pub use status::{Proved, Standing, status};
pub use table::Remark;
pub use watch::{Moved, Watch, Writer, unwatch, watch};

/// What becomes of `weather_forecast_stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It stays a table, without the wide columns.
    Table,
    /// A materialized view over scores and steps takes its place.
    View,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Table => "table",
            Way::View => "view",
        }
    }

    /// By the name that was recorded.
    fn of(name: &str) -> Way {
        if name == Way::View.name() { Way::View } else { Way::Table }
    }
}

/// What the user asks of Phase 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub way: Way,
    /// Where values without narrow scores behind them are kept.
    pub keep: Keep,
    /// Older proofs do not count.
    pub proof_max_age: Duration,
    /// How long no writer may have written what goes, and how long they must have been watched for it.
    pub quiet_for: Duration,
    /// Writers that were moved, by the operator's word.
    pub moved: Moved,
    /// The validator's workers start nothing while the change is made.
    pub pause_validator: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            way: Way::Table,
            keep: Keep::Nowhere,
            proof_max_age: Duration::from_secs(24 * 3600),
            quiet_for: Duration::from_secs(7 * 24 * 3600),
            moved: Moved::Nobody,
            pause_validator: false,
        }
    }
}

/// Where a database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was applied, or it was reverted.
    Wide,
    /// Applied; `revert` is possible.
    Applied { way: Way, at: Micros },
    /// For good.
    Finished { way: Way, at: Micros },
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Wide => "pending",
            Stage::Applied { .. } => "applied",
            Stage::Finished { .. } => "finished",
        }
    }
}

/// Reads where the database stands. No more than the right to read is needed.
pub(super) async fn stage(connection: &mut PgConnection) -> Result<Stage> {
    let doing = || "reading what became of Phase 2".to_owned();
    if !is_there(connection, "rollup_phase2_changes").await.judged(Task::Read, doing)? {
        return Ok(Stage::Wide);
    }
    let last: Option<(String, i64, bool)> = sqlx::query_as(
        "SELECT option, (extract(epoch FROM coalesce(finished_at, applied_at)) * 1000000)::bigint, finished_at IS NOT NULL
         FROM rollup_phase2_changes WHERE reverted_at IS NULL ORDER BY id DESC LIMIT 1",
    )
    .fetch_optional(connection)
    .await
    .judged(Task::Read, doing)?;
    Ok(match last {
        None => Stage::Wide,
        Some((option, at, finished)) => {
            let way = Way::of(&option);
            let at = Micros(at);
            if finished { Stage::Finished { way, at } } else { Stage::Applied { way, at } }
        }
    })
}

fn refused(doing: &str, detail: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Refused, doing, detail)
}

/// Runs one statement of ours; names in it come from the catalogue, quoted there.
async fn run(connection: &mut PgConnection, doing: &str, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(|error| describe(doing, error))?;
    Ok(())
}

/// An error of the server, with the kind that tells whether to try again.
fn describe(doing: &str, error: sqlx::Error) -> Error {
    crate::postgres::failed(crate::postgres::Task::Migrate, doing, &error).caused_by(error)
}
