//! `weather_forecast_stats` as the catalogue describes it, and what stands on it.

use serde_json::{Value as Json, json};
use sqlx::PgConnection;

use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::wide_lead;
use crate::model::rollups::{ForecastStat, Rollup};
use crate::postgres::{Judged, Task};

use super::Way;

/// The stored rollup of each miner in each run.
pub(super) const STATS: &str = "weather_forecast_stats";

/// What `weather_forecast_stats` is at the moment.
#[derive(Debug, Clone)]
pub(super) struct StatsTable {
    pub rows: i64,
    /// The role that owns it, quoted where it needs quotes.
    pub owner: String,
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// As PostgreSQL writes it: `character varying(50)`.
    pub type_name: String,
    /// The type that it is made of, where it is a domain; else the same, without its modifier.
    pub base: String,
    /// Of a wide column: the lead in its name.
    pub lead: Option<i32>,
}

/// Something that stands on the table, or in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub code: String,
    pub object: String,
    pub detail: String,
    /// False: it is only to be known.
    pub blocks: bool,
}

impl Remark {
    /// As reports and records have it.
    pub fn json(&self) -> Json {
        json!({"code": self.code, "object": self.object, "detail": self.detail, "blocks": self.blocks})
    }

    pub(super) fn blocking(code: &str, object: impl Into<String>, detail: impl Into<String>) -> Remark {
        Remark { code: code.to_owned(), object: object.into(), detail: detail.into(), blocks: true }
    }
}

impl StatsTable {
    pub fn wide(&self) -> impl Iterator<Item = (&Column, i32)> {
        self.columns.iter().filter_map(|column| Some((column, column.lead?)))
    }

    pub fn narrow(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.lead.is_none())
    }

    pub fn wide_names(&self) -> Vec<String> {
        self.wide().map(|(column, _)| column.name.clone()).collect()
    }
}

/// Whether the rules say this column (R).
pub(super) fn is_derived_column(name: &str) -> bool {
    ForecastStat::COLUMNS.iter().any(|column| column.name == name)
}

/// Reads the catalogue; an error where there is no such table.
pub(super) async fn read(connection: &mut PgConnection) -> Result<StatsTable> {
    let doing = || format!("reading the catalogue about {STATS}");
    let found: Option<(f32, String)> =
        sqlx::query_as("SELECT reltuples, relowner::regrole::text FROM pg_class WHERE oid = to_regclass($1)")
            .bind(STATS)
            .fetch_optional(&mut *connection)
            .await
            .judged(Task::Migrate, doing)?;
    let Some((rows, owner)) = found else {
        return Err(Error::new(ErrorKind::Refused, doing(), "Phase 1 is not applied: there is no such table")
            .hint("run `recount migrate` first"));
    };
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT quote_ident(attname), format_type(atttypid, atttypmod),
                (WITH RECURSIVE made_of (id, kind, base) AS (
                     SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = atttypid
                     UNION ALL
                     SELECT t.oid, t.typtype, t.typbasetype FROM made_of m JOIN pg_type t ON t.oid = m.base WHERE m.kind = 'd')
                 SELECT format_type(m.id, NULL) FROM made_of m WHERE m.kind <> 'd')
         FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
    .bind(STATS)
    .fetch_all(connection)
    .await
    .judged(Task::Migrate, doing)?;
    let columns = columns
        .into_iter()
        .map(|(name, type_name, base)| Column { lead: wide_lead(&name).map(|lead| lead.0), name, type_name, base })
        .collect();
    Ok(StatsTable { rows: rows.max(0.0) as i64, owner, columns })
}

/// What stands on the table, from the catalogue.
pub(super) async fn dependents(connection: &mut PgConnection, table: &StatsTable, option: Way) -> Result<Vec<Remark>> {
    let doing = || format!("looking for what depends on {STATS}");
    let wide = table.wide_names();
    let found: Vec<(String, String, String, bool)> = sqlx::query_as(include_str!("dependents.sql"))
        .bind(&wide)
        .bind(option.name())
        .fetch_all(connection)
        .await
        .judged(Task::Migrate, doing)?;
    Ok(found.into_iter().map(|(code, object, detail, blocks)| Remark { code, object, detail, blocks }).collect())
}
