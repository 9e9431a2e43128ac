//! `--keep-wide-in`: the wide values that no scored lead stands behind, in the table or in an archive, before their columns go.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::Result;
use crate::model::rollups::LegacyScore;
use crate::postgres::{Judged, Task};

use super::refused;
use super::table::{STATS, StatsTable};

/// Where such values are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    Nowhere,
    /// In `weather_legacy_lead_scores`.
    Table,
    /// In the archive at this place.
    Archive(String),
}

impl Keep {
    /// As proofs record it.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Keep::Nowhere => None,
            Keep::Table => Some("TABLE"),
            Keep::Archive(place) => Some(place),
        }
    }
}

const INSERT: &str = "INSERT INTO weather_legacy_lead_scores (run_id, miner_uid, forecast_run_id, lead_hours, era5_score)";
/// A run that is known already is not forgotten.
const OVERWRITE: &str = "ON CONFLICT (miner_uid, forecast_run_id, lead_hours) DO UPDATE SET era5_score = excluded.era5_score,
     run_id = coalesce(excluded.run_id, weather_legacy_lead_scores.run_id)";

/// The query for the values, from the database's own view of the narrow scores.
pub(super) fn values(table: &StatsTable) -> String {
    let pairs: Vec<String> = table.wide().map(|(column, lead)| format!("({lead}, s.{})", column.name)).collect();
    format!(
        "SELECT (SELECT w.id FROM weather_forecast_runs w WHERE w.id = s.run_id), s.miner_uid, s.forecast_run_id, v.lead, v.score\n\
         FROM {STATS} s CROSS JOIN LATERAL (VALUES {}) AS v (lead, score)\n\
         WHERE v.score IS NOT NULL AND NOT EXISTS (SELECT FROM weather_lead_scores l\n\
             WHERE l.run_id = s.run_id AND l.miner_uid = s.miner_uid AND l.lead_hours = v.lead AND l.scored)",
        pairs.join(", ")
    )
}

/// The statement that moves them into the table.
pub(super) fn into_table(table: &StatsTable) -> String {
    format!("{INSERT}\n{}\n{OVERWRITE}", values(table))
}

/// Writes the values that the recomputation found, so that every rollup reads them from here on.
pub(super) async fn write(connection: &mut PgConnection, kept: &[LegacyScore]) -> Result<()> {
    let sql = format!(
        "{INSERT} SELECT (SELECT w.id FROM weather_forecast_runs w WHERE w.id = k.run_id), k.miner_uid, k.forecast_run_id, k.lead, k.score
         FROM unnest($1::int4[], $2::int4[], $3::text[], $4::int4[], $5::float8[]) AS k (run_id, miner_uid, forecast_run_id, lead, score)
         {OVERWRITE}"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(kept.iter().map(|row| row.run_id).collect::<Vec<_>>())
        .bind(kept.iter().map(|row| row.miner_uid).collect::<Vec<_>>())
        .bind(kept.iter().map(|row| row.forecast_run_id.clone()).collect::<Vec<_>>())
        .bind(kept.iter().map(|row| row.lead_hours).collect::<Vec<_>>())
        .bind(kept.iter().map(|row| row.era5_score).collect::<Vec<_>>())
        .execute(connection)
        .await
        .judged(Task::Migrate, || "keeping wide values in weather_legacy_lead_scores".to_owned())?;
    Ok(())
}

/// Refuses where the archive lacks a value that would be lost, bit for bit.
pub(super) async fn held(connection: &mut PgConnection, table: &StatsTable, doing: &str, archived: &[LegacyScore]) -> Result<()> {
    let key = |row: &LegacyScore| (row.miner_uid, row.forecast_run_id.clone(), row.lead_hours);
    let archived: BTreeMap<_, _> = archived.iter().map(|row| (key(row), row.era5_score.map(f64::to_bits))).collect();
    let needed: Vec<(Option<i32>, i32, String, i32, f64)> = sqlx::query_as(AssertSqlSafe(values(table)))
        .fetch_all(connection)
        .await
        .judged(Task::Migrate, || "looking for wide values without scores".to_owned())?;
    let lost = needed.iter().filter(|(_, miner, forecast_run_id, lead, score)| {
        archived.get(&(Some(*miner), Some(forecast_run_id.clone()), Some(*lead))) != Some(&Some(score.to_bits()))
    });
    match lost.count() {
        0 => Ok(()),
        lost => Err(refused(doing, format!("{lost} wide values without scores are not in the archive"))
            .hint("run `recount phase2 check` with the same --keep-wide-in: it archives them")),
    }
}
