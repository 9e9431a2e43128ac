//! `phase2 check`: the proof that the change loses nothing, and its record.
//!
//! The recomputation is the program's own (`reconcile`); here it is turned into remarks, beside what only the database can tell. The table
//! is digested before and after the recomputation: where both agree, they are about what the recomputation saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::{Error, ErrorKind, Result};
use crate::model::difference::Class;
use crate::model::finding::Code;
use crate::model::outcome::Outcome;
use crate::model::rollups::{ForecastStat, LegacyScore, Rollup};
use crate::model::settings::{RankMethod, Scoring};
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::postgres::{Judged, Task};

use super::super::session::Session;
use super::super::{PHASE2, RULES, grants, migrate_phase};
use super::readers::statements;
use super::table::{Remark, STATS, StatsTable, dependents, is_derived_column, read};
use super::{Keep, Options, Stage, Way, keep, refused, stage, watch};

const DOING: &str = "proving that Phase 2 loses nothing";

/// The table as it was before the recomputation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    digests: Digests,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digests {
    pub rows: i64,
    pub wide_values: i64,
    pub wide: String,
    pub whole: String,
}

/// What `check` found.
#[derive(Debug, Clone)]
pub struct Proof {
    pub id: i64,
    pub taken_at: Micros,
    pub way: Way,
    pub rows: i64,
    pub wide_values: i64,
    pub recomputed_digest: String,
    pub remarks: Vec<Remark>,
}

impl Proof {
    pub fn ready(&self) -> bool {
        self.remarks.iter().all(|remark| !remark.blocks)
    }
}

/// Brings the views and the records of Phase 2 into the database, tells them the settings, and digests the table.
pub async fn prepare(url: &str, scoring: &Scoring) -> Result<Baseline> {
    let mut session = Session::open(url).await?;
    session.prepare(false).await?;
    session.begin_reading().await?;
    if stage(&mut session.connection).await? != Stage::Wide {
        return Err(refused(DOING, "it is applied already").hint("`recount migrate status` tells when"));
    }
    session.commit().await?;
    migrate_phase(&mut session, &RULES).await?;
    migrate_phase(&mut session, &PHASE2).await?;
    session.begin().await?;
    write_rules(&mut session.connection, scoring).await?;
    grants::carry(&mut session.connection).await?;
    let table = read(&mut session.connection).await?;
    if table.wide().next().is_none() {
        return Err(refused(DOING, format!("{STATS} has no wide columns: there is nothing to do")));
    }
    let digests = digests(&mut session.connection, &table).await?;
    session.commit().await?;
    session.close().await;
    Ok(Baseline { digests })
}

/// Puts the recomputation and what the database tells together, and records the proof. `kept`: the wide values that the recomputation
/// found without a scored lead behind them; they are written into the table where they are to be kept there.
pub async fn prove(
    url: &str,
    options: &Options,
    baseline: &Baseline,
    outcome: &Outcome,
    kept: &[LegacyScore],
    scoring: &Scoring,
) -> Result<Proof> {
    let mut session = Session::open(url).await?;
    session.prepare(false).await?;
    session.begin().await?;
    let connection = &mut session.connection;
    let table = read(connection).await?;
    let now = digests(connection, &table).await?;
    // Option `table`: what is written beside the wide values is not lost, and a validator never stops writing it.
    let unchanged = match options.way {
        Way::Table => now.wide == baseline.digests.wide,
        Way::View => now == baseline.digests,
    };
    if unchanged && options.keep == Keep::Table && !kept.is_empty() {
        keep::write(connection, kept).await?;
        // What is proved from here on takes long, and nobody has to wait for the rows that were written.
        session.commit().await?;
        session.begin().await?;
    }
    let connection = &mut session.connection;
    let open = open_runs(connection).await?;
    let mut remarks = recomputed(outcome, options, kept, &open);
    remarks.extend(unexpected(connection, &table, scoring).await?);
    remarks.extend(unfinished(connection, options.way, scoring).await?);
    remarks.extend(dependents(connection, &table, options.way).await?);
    remarks.extend(statements(connection, &table).await?);
    remarks.extend(watch::remarks(connection, options).await?);
    let started = Instant::now();
    if options.way == Way::View {
        remarks.extend(view_differs(connection, &table).await?);
    }
    let view_seconds = started.elapsed().as_secs_f64();
    if !unchanged {
        remarks.push(Remark::blocking("table_changed", STATS, "it was written to while it was read; check again"));
    }
    remarks.sort_by(|a, b| (!a.blocks, &a.code, &a.object).cmp(&(!b.blocks, &b.code, &b.object)));
    let mut proof = Proof {
        id: 0,
        taken_at: outcome.taken_at,
        way: options.way,
        rows: now.rows,
        wide_values: now.wide_values,
        recomputed_digest: outcome.digest.clone(),
        remarks,
    };
    proof.id = record(connection, &proof, &now, options, kept.len(), view_seconds).await?;
    session.commit().await?;
    session.close().await;
    Ok(proof)
}

/// What the recomputation says: wide values that differ or have nothing behind them, and rollups that drifted.
///
/// Option `table` takes nothing but the wide columns away: other columns, rows that are not stored yet and runs that are under way are only to
/// know. What was made of the wide columns is in the way where its run is done: then it tells that they are not what the scores say.
fn recomputed(outcome: &Outcome, options: &Options, kept: &[LegacyScore], open: &BTreeSet<i32>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut drift: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    let strict = options.way == Way::View;
    let mut missing = 0u64;
    for difference in outcome.differences.iter().filter(|difference| difference.table == ForecastStat::TABLE) {
        match (difference.class, &difference.column) {
            (Class::Missing, _) => missing += 1,
            (Class::Drift | Class::Unproven, Some(column)) if !is_derived_column(column) => {
                // What is NULL in the wide column cannot be lost, and what has nothing behind it is counted as a finding.
                let both = !matches!(difference.stored, Value::Null) && !matches!(difference.recomputed, Value::Null);
                if both {
                    *drift.entry((true, column)).or_default() += 1;
                }
            }
            (Class::Drift | Class::Unproven, Some(column)) => {
                let done = difference.key.run_id.is_none_or(|run| !open.contains(&run));
                let blocks = strict
                    || done && OF_WIDE_VALUES.contains(&&**column) && !is_nothing(&difference.stored, &difference.recomputed);
                *drift.entry((blocks, column)).or_default() += 1;
            }
            _ => {}
        }
    }
    for ((blocks, column), cells) in drift {
        let code = if is_derived_column(column) { "rollup_drift" } else { "wide_differs" };
        let remark = Remark::blocking(code, column, format!("{cells} stored values are not what the scores say"));
        remarks.push(Remark { blocks, ..remark });
    }
    if missing > 0 {
        let remark = Remark::blocking("rollup_missing", STATS, format!("{missing} rows are not stored"));
        remarks.push(Remark { blocks: strict, ..remark });
    }
    remarks.extend(without_narrow(outcome, options, kept));
    if !outcome.tables.contains_key(ForecastStat::TABLE) {
        remarks.push(Remark::blocking("not_compared", STATS, "the recomputation did not compare it"));
    }
    remarks
}

/// The wide values that no scored lead stands behind: kept, or in the way.
fn without_narrow(outcome: &Outcome, options: &Options, kept: &[LegacyScore]) -> Option<Remark> {
    let found = match options.keep {
        Keep::Nowhere => outcome.findings.get(&Code::WideWithoutNarrow).copied().unwrap_or(0),
        Keep::Table | Keep::Archive(_) => kept.len() as u64,
    };
    let counted = kept.iter().any(|score| score.run_id.is_some());
    let (then, blocks) = match &options.keep {
        Keep::Nowhere => ("--keep-wide-in TABLE keeps them".to_owned(), true),
        Keep::Archive(_) if options.way == Way::View && counted => {
            ("a view cannot read them in an archive; --keep-wide-in TABLE keeps them".to_owned(), true)
        }
        Keep::Table => ("they are kept in weather_legacy_lead_scores".to_owned(), false),
        Keep::Archive(place) => (format!("they are kept in the archive {place}"), false),
    };
    let remark =
        Remark::blocking("wide_without_narrow", STATS, format!("{found} values have no scored lead behind them; {then}"));
    (found > 0).then_some(Remark { blocks, ..remark })
}

/// What a writer makes of the wide columns of a row.
const OF_WIDE_VALUES: [&str; 3] = ["era5_combined_score", "era5_completeness", "overall_forecast_score"];

/// The validator stores 0.0 where nothing is scored: no wide value stands behind that, and none is lost.
fn is_nothing(stored: &Value, recomputed: &Value) -> bool {
    matches!(recomputed, Value::Null) && matches!(stored, Value::Float(zero) if *zero == 0.0)
}

/// The runs that are under way.
async fn open_runs(connection: &mut PgConnection) -> Result<BTreeSet<i32>> {
    let runs: Vec<i32> = sqlx::query_scalar(
        "SELECT id FROM weather_forecast_runs WHERE completion_time IS NULL AND status NOT IN ('completed', 'failed', 'error')",
    )
    .fetch_all(connection)
    .await
    .judged(Task::Migrate, || "looking for runs under way".to_owned())?;
    Ok(runs.into_iter().collect())
}

/// Values in a wide column whose lead no rule expects: nothing can be proved of them.
async fn unexpected(connection: &mut PgConnection, table: &StatsTable, scoring: &Scoring) -> Result<Vec<Remark>> {
    let mut remarks = Vec::new();
    for (column, lead) in table.wide() {
        if scoring.expected_leads.iter().any(|expected| expected.0 == lead) {
            continue;
        }
        let sql = format!("SELECT count({}) FROM {STATS}", column.name);
        let values: i64 = scalar(connection, sql).await?;
        if values > 0 {
            let detail = format!("{values} values of a lead that is not expected");
            remarks.push(Remark::blocking("wide_not_expected", column.name.clone(), detail));
        }
    }
    Ok(remarks)
}

/// Runs that a writer is in the midst of: a step of a miner in progress that is not stale. A run that waits is settled for the moment. A view
/// has to have all rows as they are; a table without the wide columns goes on being written.
async fn unfinished(connection: &mut PgConnection, way: Way, scoring: &Scoring) -> Result<Vec<Remark>> {
    let runs: Vec<(i32, i64)> = sqlx::query_as(
        "SELECT run_id, count(*) FROM weather_counted_steps
         WHERE status = 'in_progress' AND completed_at IS NULL
           AND started_at > coalesce(to_timestamp($1::float8 / 1000000), now()) - interval '24 hours'
         GROUP BY run_id ORDER BY run_id",
    )
    .bind(scoring.snapshot_time.map(|time| time.0 as f64))
    .fetch_all(connection)
    .await
    .judged(Task::Migrate, || "looking for runs in progress".to_owned())?;
    let remark = |(run, steps)| {
        let remark = Remark::blocking("unfinished_run", format!("run {run}"), format!("{steps} steps are in progress"));
        Remark { blocks: way == Way::View, ..remark }
    };
    Ok(runs.into_iter().map(remark).collect())
}

/// Option `view`: the view that would take the table's place, held against the stored rows that were just proved right.
async fn view_differs(connection: &mut PgConnection, table: &StatsTable) -> Result<Vec<Remark>> {
    let columns: Vec<&str> = table.narrow().map(|c| c.name.as_str()).filter(|name| is_derived_column(name)).collect();
    let counts: Vec<String> = columns
        .iter()
        .map(|name| {
            let column = table.narrow().find(|c| c.name == *name).expect("invariant: taken from these columns");
            let differs = match column.base.as_str() {
                "double precision" => format!(
                    "(s.{name} IS NULL) <> (d.{name} IS NULL) OR abs(s.{name}::numeric - d.{name}::numeric) \
                     > greatest(2e-9, 2e-9 * greatest(abs(s.{name}::numeric), abs(d.{name}::numeric)))"
                ),
                "jsonb" | "json" => format!(
                    "jsonb_build_array(s.{name} -> 'type', s.{name} -> 'message') \
                     IS DISTINCT FROM jsonb_build_array(d.{name} -> 'type', d.{name} -> 'message')"
                ),
                _ => format!("s.{name} IS DISTINCT FROM d.{name}"),
            };
            format!("count(*) FILTER (WHERE {differs})")
        })
        .collect();
    let sql = format!(
        "SELECT ARRAY[count(*) FILTER (WHERE s.miner_uid IS NULL), {}] FROM weather_placed_rollups d LEFT JOIN {STATS} s \
         ON s.miner_uid = d.miner_uid AND s.forecast_run_id = d.forecast_run_id",
        counts.join(", ")
    );
    let differing: Vec<i64> = scalar(connection, sql).await?;
    let named = std::iter::once(&STATS).chain(&columns).zip(differing).filter(|(_, count)| *count > 0);
    Ok(named.map(|(name, count)| Remark::blocking("view_differs", *name, format!("{count} rows of the view differ"))).collect())
}

async fn scalar<T>(connection: &mut PgConnection, sql: String) -> Result<T>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.judged(Task::Migrate, || DOING.to_owned())
}

/// SHA-256 over the sorted rows as text: of the wide values with their keys, and of whole rows.
pub(super) async fn digests(connection: &mut PgConnection, table: &StatsTable) -> Result<Digests> {
    let of = |columns: &str, filter: &str| {
        format!(
            "(SELECT encode(sha256(convert_to(coalesce(string_agg(v, E'\\n' ORDER BY v COLLATE \"C\"), ''), 'UTF8')), 'hex')
              FROM (SELECT ROW({columns})::text AS v FROM {STATS} WHERE {filter}) r)"
        )
    };
    let wide = table.wide_names().join(", ");
    let all = table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT count(*), coalesce(sum(num_nonnulls({wide})), 0)::bigint, {}, {} FROM {STATS}",
        of(&format!("miner_uid, forecast_run_id, {wide}"), &format!("num_nonnulls({wide}) > 0")),
        of(&all, "true"),
    );
    let (rows, wide_values, wide, whole): (i64, i64, String, String) =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await.judged(Task::Migrate, || format!("digesting {STATS}"))?;
    Ok(Digests { rows, wide_values, wide, whole })
}

async fn record(
    connection: &mut PgConnection,
    proof: &Proof,
    digests: &Digests,
    options: &Options,
    kept: usize,
    view_seconds: f64,
) -> Result<i64> {
    let remarks: Json = proof.remarks.iter().map(Remark::json).collect();
    sqlx::query_scalar(
        "INSERT INTO rollup_phase2_proofs (taken_at, option, keep_wide, ready, stored_rows, wide_values, wide_digest, row_digest,
             recomputed_digest, remarks, view_seconds, keep_wide_in, kept_values)
         VALUES (to_timestamp($1::float8 / 1000000), $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13) RETURNING id",
    )
    .bind(proof.taken_at.0 as f64)
    .bind(proof.way.name())
    .bind(options.keep != Keep::Nowhere)
    .bind(proof.ready())
    .bind(digests.rows)
    .bind(digests.wide_values)
    .bind(&digests.wide)
    .bind(&digests.whole)
    .bind(&proof.recomputed_digest)
    .bind(remarks.to_string())
    .bind((proof.way == Way::View).then_some(view_seconds))
    .bind(options.keep.name())
    .bind(kept as i64)
    .fetch_one(connection)
    .await
    .judged(Task::Migrate, || "recording the proof".to_owned())
}

/// The settings of scoring, for the views.
pub(in crate::schema) async fn write_rules(connection: &mut PgConnection, scoring: &Scoring) -> Result<()> {
    let mut retries: BTreeMap<&str, i32> = scoring.max_retries.by_step.iter().map(|(step, n)| (step.as_str(), *n)).collect();
    retries.insert("default", scoring.max_retries.default);
    let leads: Vec<i32> = scoring.expected_leads.iter().map(|lead| lead.0).collect();
    sqlx::query(
        "UPDATE weather_scoring_rules SET expected_leads = $1, expected_variables = $2, era5_weight = $3, day1_weight = $4,
             day1_pass_threshold = $5, max_retries = $6::jsonb, rank_method = $7, failed_response_statuses = $8,
             run_level_steps = $9, forecast_type = $10",
    )
    .bind(leads)
    .bind(&scoring.expected_variables)
    .bind(scoring.era5_weight)
    .bind(scoring.day1_weight)
    .bind(scoring.day1_pass_threshold)
    .bind(serde_json::to_string(&retries).map_err(|e| Error::new(ErrorKind::Data, "writing the settings", e))?)
    .bind(match scoring.rank_method {
        RankMethod::Competition => "competition",
        RankMethod::Dense => "dense",
    })
    .bind(&scoring.failed_response_statuses)
    .bind(&scoring.run_level_steps)
    .bind(&scoring.forecast_type)
    .execute(connection)
    .await
    .judged(Task::Migrate, || "telling the views the settings of scoring".to_owned())?;
    Ok(())
}
