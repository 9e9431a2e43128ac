//! `phase2 watch`: who writes `weather_forecast_stats`, noted by triggers; and what `check` and `apply` make of it.
//!
//! A writer that names a wide column fails once the column is gone, and may only log it. Nobody can tell from the catalogue whether there is
//! one; so the table is watched for as long as a writer may be silent.

use std::time::Duration;

use sqlx::PgConnection;

use crate::error::Result;
use crate::model::settings::Scoring;
use crate::model::time::Micros;
use crate::postgres::{Judged, Task};

use super::super::session::{Session, is_there};
use super::super::{PHASE2, RULES, migrate_phase};
use super::table::{Remark, STATS, read};
use super::{Options, Stage, Way, refused, run, stage, write_rules};

const WATCHING: &str = "watching who writes weather_forecast_stats";

/// On every statement that writes the table, and on those that set a wide column.
const TRIGGERS: [&str; 2] = ["recount_watch_writes", "recount_watch_wide"];

/// Whose writing is not in the way, by the operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Moved {
    #[default]
    Nobody,
    /// Writers of these names: roles or `application_name`s.
    Named(Vec<String>),
    /// All of them, watched or not.
    All,
}

impl Moved {
    fn has(&self, writer: &Writer) -> bool {
        match self {
            Moved::Nobody => false,
            Moved::Named(names) => names.iter().any(|name| *name == writer.role || *name == writer.application),
            Moved::All => true,
        }
    }
}

/// Somebody who wrote the table, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub role: String,
    pub application: String,
    /// INSERT, UPDATE, DELETE or TRUNCATE.
    pub statement: String,
    /// It names wide columns.
    pub wide: bool,
    /// When it was last noted, in microseconds since 1970.
    pub last_at: i64,
}
crate::postgres::from_row!(Writer { role, application, statement, wide, last_at });

/// What a watch knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Since when nothing was missed; none where nobody watches.
    pub since: Option<Micros>,
    pub writers: Vec<Writer>,
}

/// Puts the triggers on the table, where they are not there yet, and tells what was noted.
///
/// # Errors
/// Refused where Phase 2 is applied already; to be tried again where the table is locked.
pub async fn watch(url: &str, scoring: &Scoring) -> Result<Watch> {
    let mut session = Session::open(url).await?;
    session.prepare(false).await?;
    session.begin_reading().await?;
    if stage(&mut session.connection).await? != Stage::Wide {
        return Err(refused(WATCHING, "Phase 2 is applied already").hint("`recount migrate status` tells when"));
    }
    session.commit().await?;
    migrate_phase(&mut session, &RULES).await?;
    migrate_phase(&mut session, &PHASE2).await?;
    session.begin().await?;
    write_rules(&mut session.connection, scoring).await?;
    let connection = &mut session.connection;
    if since(connection).await?.is_none() {
        let table = read(connection).await?;
        let wide = table.wide_names();
        if wide.is_empty() {
            return Err(refused(WATCHING, format!("{STATS} has no wide columns: there is nothing to do")));
        }
        let [any, named] = TRIGGERS;
        let sql = format!(
            "CREATE OR REPLACE TRIGGER {any} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {STATS}
                 FOR EACH STATEMENT EXECUTE FUNCTION recount_watch_writes('any');
             CREATE OR REPLACE TRIGGER {named} AFTER UPDATE OF {} ON {STATS}
                 FOR EACH STATEMENT EXECUTE FUNCTION recount_watch_writes('wide');
             ALTER TABLE {STATS} ENABLE ALWAYS TRIGGER {any}, ENABLE ALWAYS TRIGGER {named};
             INSERT INTO rollup_phase2_watch (triggers) VALUES ({STAMP})
             ON CONFLICT (only_row) DO UPDATE SET started_at = clock_timestamp(), started_by = current_user, triggers = excluded.triggers",
            wide.join(", ")
        );
        run(connection, WATCHING, sql).await?;
    }
    let watch = look(connection).await?;
    session.commit().await?;
    session.close().await;
    Ok(watch)
}

/// Takes the triggers off the table; what was noted stays.
pub async fn unwatch(url: &str) -> Result<()> {
    let mut session = Session::open(url).await?;
    session.prepare(false).await?;
    session.begin().await?;
    for statement in dropped() {
        run(&mut session.connection, WATCHING, statement).await?;
    }
    session.commit().await?;
    session.close().await;
    Ok(())
}

/// The statements that end a watch.
pub(super) fn dropped() -> impl Iterator<Item = String> {
    TRIGGERS.iter().map(|name| format!("DROP TRIGGER IF EXISTS {name} ON {STATS}"))
}

/// The triggers as the catalogue has them, one line that is another one after every change of them. NULL where one is missing or asleep.
const STAMP: &str = "(SELECT CASE WHEN count(*) FILTER (WHERE tgenabled = 'A') = 2 THEN string_agg(oid || ':' || xmin::text, ' ' ORDER BY oid) END
     FROM pg_trigger WHERE tgrelid = to_regclass('weather_forecast_stats') AND tgname IN ('recount_watch_writes', 'recount_watch_wide'))";

/// What a watch knows, without putting anything in force.
pub(super) async fn look(connection: &mut PgConnection) -> Result<Watch> {
    let there = is_there(connection, "rollup_phase2_writes").await;
    if !there.judged(Task::Read, || "reading who writes weather_forecast_stats".to_owned())? {
        return Ok(Watch { since: None, writers: Vec::new() });
    }
    Ok(Watch { since: since(connection).await?, writers: writers(connection, None).await? })
}

/// Since when every write was noted.
async fn since(connection: &mut PgConnection) -> Result<Option<Micros>> {
    let doing = || "reading since when weather_forecast_stats is watched".to_owned();
    if !is_there(connection, "rollup_phase2_watch").await.judged(Task::Migrate, doing)? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT (extract(epoch FROM started_at) * 1000000)::bigint FROM rollup_phase2_watch WHERE triggers IS NOT DISTINCT FROM {STAMP}"
    );
    let at: Option<i64> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_optional(connection).await.judged(Task::Migrate, doing)?;
    Ok(at.map(Micros))
}

/// Who was noted, in the last `within` if that is given.
async fn writers(connection: &mut PgConnection, within: Option<Duration>) -> Result<Vec<Writer>> {
    sqlx::query_as(
        "SELECT role, application, statement, wide, (extract(epoch FROM max(at)) * 1000000)::bigint AS last_at FROM rollup_phase2_writes
         WHERE $1::float8 IS NULL OR at > clock_timestamp() - make_interval(secs => $1)
         GROUP BY role, application, statement, wide ORDER BY role, application, statement, wide",
    )
    .bind(within.map(|within| within.as_secs_f64()))
    .fetch_all(connection)
    .await
    .judged(Task::Migrate, || "reading who writes weather_forecast_stats".to_owned())
}

/// What is in the way of the change: a living writer that it would break, or that nobody knows.
pub(super) async fn remarks(connection: &mut PgConnection, options: &Options) -> Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    let quiet = options.quiet_for;
    let blocks = options.moved != Moved::All && !quiet.is_zero();
    let now: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .fetch_one(&mut *connection)
        .await
        .judged(Task::Migrate, || "asking for the time".to_owned())?;
    let needed = now.saturating_sub(i64::try_from(quiet.as_micros()).unwrap_or(i64::MAX));
    let unknown = match since(connection).await? {
        None => Some("nobody notes who writes it; run `recount phase2 watch`, and check again after --quiet-for".to_owned()),
        Some(Micros(at)) if at > needed => Some(format!("watched since {}, less than --quiet-for", Micros(at).iso())),
        Some(_) => None,
    };
    if let Some(detail) = unknown {
        remarks.push(Remark { blocks, ..Remark::blocking("not_watched", STATS, detail) });
    }
    for writer in writers(connection, Some(quiet)).await?.iter().filter(|writer| writer.wide || options.way == Way::View) {
        let names = if writer.wide { " that names wide columns" } else { "" };
        let detail = format!("{}{names}, last at {}", writer.statement, Micros(writer.last_at).iso());
        let blocks = blocks && !options.moved.has(writer);
        remarks.push(Remark { blocks, ..Remark::blocking("living_writer", named(writer), detail) });
    }
    Ok(remarks)
}

/// Refuses where somebody wrote what goes after the proof was made: what was said of the writers then is no longer so.
pub(super) async fn silent_since(connection: &mut PgConnection, doing: &str, way: Way, proof: i64) -> Result<()> {
    let writer: Option<Writer> = sqlx::query_as(
        "SELECT w.role, w.application, w.statement, w.wide, (extract(epoch FROM w.at) * 1000000)::bigint AS last_at
         FROM rollup_phase2_writes w JOIN rollup_phase2_proofs p ON p.id = $1
         WHERE w.at > p.proved_at AND (w.wide OR $2) ORDER BY w.at DESC LIMIT 1",
    )
    .bind(proof)
    .bind(way == Way::View)
    .fetch_optional(connection)
    .await
    .judged(Task::Migrate, || "reading who writes weather_forecast_stats".to_owned())?;
    let Some(writer) = writer else { return Ok(()) };
    let detail =
        format!("{} wrote it by {} at {}, after proof {proof}", named(&writer), writer.statement, Micros(writer.last_at).iso());
    Err(refused(doing, detail).hint("move or stop that writer, then run `recount phase2 check` again"))
}

/// A writer as people know it.
fn named(writer: &Writer) -> String {
    let application = if writer.application.is_empty() { "no application_name" } else { &writer.application };
    format!("{} ({application})", writer.role)
}
