//! `phase2 plan | apply`: the change is one transaction, so a killed one leaves the schema as it was.
//!
//! What takes long is done first, while everybody else goes on. Then the table is locked: with a short timeout and a few tries, since all
//! who want the table queue up behind one who waits for it. Under the lock the proof is held against the table once more.

use std::time::Duration;

use sqlx::PgConnection;

use crate::error::{Error, ErrorKind, Result};
use crate::model::rollups::LegacyScore;
use crate::postgres::{Judged, Task};

use super::super::fit;
use super::super::session::{Session, is_there};
use super::prove::digests;
use super::statements::{Change, Facts, Statement};
use super::table::{STATS, StatsTable, dependents, read};
use super::{Keep, Options, Stage, Way, keep, refused, run, stage, watch};

/// How long one try waits for a lock, how many there are, and the pause between them.
const LOCK_TIMEOUT_MS: u32 = 2_000;
const TRIES_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

const APPLYING: &str = "applying Phase 2";

/// A proof as it is recorded, as far as `apply` has to know it.
struct Recorded {
    id: i64,
    ready: bool,
    keep_wide_in: Option<String>,
    age_seconds: f64,
    wide_digest: String,
    row_digest: String,
    view_seconds: Option<f64>,
}

crate::postgres::from_row!(Recorded { id, ready, keep_wide_in, age_seconds, wide_digest, row_digest, view_seconds });

/// The statements of the change with the search path that they need, and what else it does; nothing is run.
pub async fn plan(url: &str, options: &Options) -> Result<(String, Change)> {
    let mut session = Session::open(url).await?;
    session.begin_reading().await?;
    let connection = &mut session.connection;
    standing(connection, "planning Phase 2").await?;
    fit::check(connection).await?;
    let table = read(connection).await?;
    let proof = latest(connection, options.way).await?;
    let change = change(connection, &table, options, proof.and_then(|proof| proof.view_seconds)).await?;
    session.commit().await?;
    let search_path = session.search_path();
    session.close().await;
    Ok((search_path, change))
}

/// Changes the schema, given a proof that still holds; `archived`: the values that the archive of `--keep-wide-in` holds. Gives the
/// statements that were run, and a note where it waited for the validator or paused it.
pub async fn apply(url: &str, options: &Options, archived: &[LegacyScore]) -> Result<(Vec<Statement>, Option<String>)> {
    let mut session = Session::open(url).await?;
    let note = session.prepare(options.pause_validator).await?;
    session.begin().await?;
    let connection = &mut session.connection;
    standing(connection, APPLYING).await?;
    let proof = holding(latest(connection, options.way).await?, options)?;
    let table = read(connection).await?;
    let change = change(connection, &table, options, proof.view_seconds).await?;
    if let Keep::Archive(_) = options.keep {
        keep::held(connection, &table, APPLYING, archived).await?;
    }
    for statement in &change.before_lock {
        run(connection, APPLYING, statement.sql.clone()).await?;
    }
    let mut tries = Tries::start(connection, APPLYING).await?;
    while let Err(error) = under_lock(connection, &table, options, &proof, &change).await {
        tries.again(connection, error).await?;
    }
    session.commit().await?;
    session.close().await;
    Ok((change.before_lock.into_iter().chain(change.under_lock).collect(), note))
}

async fn under_lock(
    connection: &mut PgConnection,
    table: &StatsTable,
    options: &Options,
    proof: &Recorded,
    change: &Change,
) -> Result<()> {
    run(connection, APPLYING, format!("LOCK TABLE {STATS} IN ACCESS EXCLUSIVE MODE")).await?;
    let now = digests(connection, table).await?;
    if now.wide != proof.wide_digest || (options.way == Way::View && now.whole != proof.row_digest) {
        return Err(refused(APPLYING, format!("{STATS} was written to since proof {}", proof.id))
            .hint("run `recount phase2 check` again; option view needs its writers stopped"));
    }
    watch::silent_since(connection, APPLYING, options.way, proof.id).await?;
    let blocking = dependents(connection, table, options.way).await?.into_iter().find(|remark| remark.blocks);
    if let Some(remark) = blocking {
        return Err(refused(APPLYING, format!("{} {} is in the way", remark.detail, remark.object))
            .hint("run `recount phase2 check` again"));
    }
    for statement in &change.under_lock {
        run(connection, APPLYING, statement.sql.clone()).await?;
    }
    sqlx::query("INSERT INTO rollup_phase2_changes (proof_id, option, undo) VALUES ($1, $2, $3)")
        .bind(proof.id)
        .bind(options.way.name())
        .bind(&change.undo)
        .execute(connection)
        .await
        .judged(Task::Migrate, || "recording the change".to_owned())?;
    Ok(())
}

/// Tries within one transaction: only a lock that was not to be had is worth another one.
pub(super) struct Tries {
    doing: &'static str,
    left: u32,
}

impl Tries {
    pub async fn start(connection: &mut PgConnection, doing: &'static str) -> Result<Tries> {
        run(connection, doing, format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SAVEPOINT tries")).await?;
        Ok(Tries { doing, left: TRIES_MAX - 1 })
    }

    /// Rolls back to the start and waits, or gives the error back.
    pub async fn again(&mut self, connection: &mut PgConnection, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Retry || self.left == 0 {
            return Err(error);
        }
        self.left -= 1;
        run(connection, self.doing, "ROLLBACK TO SAVEPOINT tries".to_owned()).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Refuses where something is applied.
async fn standing(connection: &mut PgConnection, doing: &str) -> Result<()> {
    match stage(connection).await? {
        Stage::Wide => Ok(()),
        Stage::Applied { way, at } => Err(refused(doing, format!("option {} was applied at {}", way.name(), at.iso()))
            .hint("`recount phase2 revert` takes it back, `recount phase2 finish` makes it final")),
        Stage::Finished { way, at } => Err(refused(doing, format!("option {} is final since {}", way.name(), at.iso()))),
    }
}

async fn latest(connection: &mut PgConnection, way: Way) -> Result<Option<Recorded>> {
    let there = is_there(connection, "rollup_phase2_proofs").await;
    if !there.judged(Task::Migrate, || "looking for a proof".to_owned())? {
        return Ok(None);
    }
    sqlx::query_as(
        "SELECT id, ready, keep_wide_in, extract(epoch FROM clock_timestamp() - proved_at)::float8 AS age_seconds, wide_digest, row_digest,
             view_seconds
         FROM rollup_phase2_proofs WHERE option = $1 ORDER BY id DESC LIMIT 1",
    )
    .bind(way.name())
    .fetch_optional(connection)
    .await
    .judged(Task::Migrate, || "reading the latest proof".to_owned())
}

/// The latest proof, where it says what is asked.
fn holding(proof: Option<Recorded>, options: &Options) -> Result<Recorded> {
    let check = format!("run `recount phase2 check --option {}`", options.way.name());
    let Some(proof) = proof else {
        return Err(refused(APPLYING, format!("there is no proof for option {}", options.way.name())).hint(check));
    };
    if !proof.ready {
        return Err(refused(APPLYING, format!("proof {} says that something is in the way", proof.id)).hint(check));
    }
    if proof.age_seconds > options.proof_max_age.as_secs_f64() {
        let detail = format!("proof {} is {:.0} s old, more than --proof-max-age allows", proof.id, proof.age_seconds);
        return Err(refused(APPLYING, detail).hint(check));
    }
    if proof.keep_wide_in.as_deref() != options.keep.name() {
        return Err(refused(APPLYING, format!("proof {} was made with another --keep-wide-in", proof.id)).hint(check));
    }
    Ok(proof)
}

async fn change(
    connection: &mut PgConnection,
    table: &StatsTable,
    options: &Options,
    view_seconds: Option<f64>,
) -> Result<Change> {
    let doing = || format!("reading the grants and indexes of {STATS}");
    let texts = |sql: &'static str| sqlx::query_scalar::<_, String>(sql).bind(table.wide_names());
    let grants = texts(GRANTS).fetch_all(&mut *connection).await.judged(Task::Migrate, doing)?;
    let wide_grants = texts(WIDE_GRANTS).fetch_all(&mut *connection).await.judged(Task::Migrate, doing)?;
    let mut trimmings = texts(WIDE_INDEXES).fetch_all(&mut *connection).await.judged(Task::Migrate, doing)?;
    trimmings.extend(texts(WIDE_ATTRIBUTES).fetch_all(connection).await.judged(Task::Migrate, doing)?);
    let facts = Facts {
        table,
        grants: &grants,
        wide_grants: &wide_grants,
        trimmings: &trimmings,
        keep_in_table: options.keep == Keep::Table,
        view_time: Duration::from_secs_f64(view_seconds.unwrap_or(0.0)),
    };
    Ok(facts.change(options.way))
}

/// The grants of the table and of its narrow columns, the relation left open as `{}`; the owner needs none.
const GRANTS: &str = "
    SELECT format('GRANT %s%s ON {} TO %s%s', a.privilege_type, p.columns, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c
    CROSS JOIN LATERAL (
        SELECT c.relacl AS acl, '' AS columns
        UNION ALL
        SELECT attacl, format(' (%I)', attname) FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attname <> ALL ($1)
    ) p
    CROSS JOIN LATERAL aclexplode(p.acl) a
    WHERE c.oid = to_regclass('weather_forecast_stats') AND a.grantee <> c.relowner
    ORDER BY 1";

/// The same of the wide columns.
const WIDE_GRANTS: &str = "
    SELECT format('GRANT %s (%I) ON {} TO %s%s', a.privilege_type, t.attname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = ANY ($1)
    CROSS JOIN LATERAL aclexplode(t.attacl) a
    WHERE c.oid = to_regclass('weather_forecast_stats') AND a.grantee <> c.relowner
    ORDER BY 1";

/// Defaults, comments and statistics targets of the wide columns.
const WIDE_ATTRIBUTES: &str = "
    SELECT v.statement FROM pg_attribute t LEFT JOIN pg_attrdef d ON d.adrelid = t.attrelid AND d.adnum = t.attnum
    CROSS JOIN LATERAL (VALUES
        (format('ALTER TABLE weather_forecast_stats ALTER COLUMN %I SET DEFAULT %s', t.attname, pg_get_expr(d.adbin, d.adrelid)), d.oid IS NOT NULL),
        (format('ALTER TABLE weather_forecast_stats ALTER COLUMN %I SET STATISTICS %s', t.attname, t.attstattarget), t.attstattarget >= 0),
        (format('COMMENT ON COLUMN weather_forecast_stats.%I IS %L', t.attname, col_description(t.attrelid, t.attnum)),
         col_description(t.attrelid, t.attnum) IS NOT NULL)
    ) AS v (statement, wanted)
    WHERE t.attrelid = to_regclass('weather_forecast_stats') AND t.attname = ANY ($1) AND v.wanted
    ORDER BY 1";

/// The indexes that go with the wide columns.
const WIDE_INDEXES: &str = "
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
    WHERE i.indrelid = to_regclass('weather_forecast_stats') AND EXISTS (
        SELECT FROM pg_depend d JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = d.refobjsubid
        WHERE d.objid = i.indexrelid AND d.classid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND t.attname = ANY ($1))
    ORDER BY 1";
