//! What the catalogue says of the tables that corrections go to.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};

use super::session::Session;

/// How a rollup is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Table,
    /// Refreshed, not corrected.
    MaterializedView,
    /// A plain view: right as soon as what it is made from is.
    View,
}

/// A stored rollup.
#[derive(Debug, Clone)]
pub struct Found {
    pub kind: Kind,
    /// In their order.
    pub columns: Vec<FoundColumn>,
}

/// A column of it.
#[derive(Debug, Clone)]
pub struct FoundColumn {
    pub name: String,
    /// The type as SQL writes it.
    pub kind: String,
    /// The type that it is made of, where it is a domain; else the same.
    pub base: String,
    /// The server computes it: nobody can write it.
    pub generated: bool,
}

impl Found {
    /// A column that can be written.
    pub fn written(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name && !column.generated)
    }

    pub fn is_generated(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.generated)
    }
}

/// The rollup tables that are there, by name.
pub type Catalogue = BTreeMap<&'static str, Found>;

const SQL: &str = "
SELECT c.relkind::text, a.attname::text,
       CASE WHEN n.nspname = 'pg_catalog' THEN format_type(a.atttypid, a.atttypmod)
            ELSE concat(quote_ident(n.nspname), '.', quote_ident(y.typname)) END,
       a.attgenerated <> '',
       (WITH RECURSIVE made_of (id, kind, base) AS (
            SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
            UNION ALL
            SELECT t.oid, t.typtype, t.typbasetype FROM made_of m JOIN pg_type t ON t.oid = m.base WHERE m.kind = 'd')
        SELECT format_type(m.id, NULL) FROM made_of m WHERE m.kind <> 'd')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type y ON y.oid = a.atttypid
     JOIN pg_namespace n ON n.oid = y.typnamespace
WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

/// Looks the tables up; refuses a database without the tables of Phase 1.
pub async fn read(session: &mut Session<'_>) -> Result<Catalogue> {
    check_phase1(session).await?;
    let mut found = Catalogue::new();
    for table in [ForecastStat::TABLE, MinerStat::TABLE, SubnetStat::TABLE] {
        let query = sqlx::query_as::<_, (String, String, String, bool, String)>(SQL).bind(table);
        let columns = session.wait("reading the catalogue", async |c| query.fetch_all(c).await).await?;
        let Some((kind, ..)) = columns.first() else { continue };
        let kind = match kind.as_str() {
            "m" => Kind::MaterializedView,
            "v" => Kind::View,
            _ => Kind::Table,
        };
        let column = |(_, name, kind, generated, base)| FoundColumn { name, kind, base, generated };
        found.insert(table, Found { kind, columns: columns.into_iter().map(column).collect() });
    }
    Ok(found)
}

/// The schemas that a job's statements reach, as a `search_path`: the server's own names come first, and temporary tables last, so
/// that nobody's operator, function or table can stand for another.
pub async fn search_path(session: &mut Session<'_>) -> Result<String> {
    const SQL: &str = "
        SELECT concat_ws(', ', 'pg_catalog', string_agg(quote_ident(s.name), ', ' ORDER BY s.at), 'pg_temp')
        FROM (SELECT n.nspname AS name, min(t.at) AS at
              FROM unnest(ARRAY['rollup_jobs', 'weather_forecast_runs', 'weather_forecast_stats', 'miner_stats', 'weather_subnet_stats'])
                   WITH ORDINALITY AS t (name, at)
              JOIN pg_class c ON c.oid = to_regclass(t.name) JOIN pg_namespace n ON n.oid = c.relnamespace
              GROUP BY 1) s";
    session.wait("looking for the schema of the tables", async |c| sqlx::query_scalar(SQL).fetch_one(c).await).await
}

/// The audit tables must be there: what is not written down cannot be undone.
pub async fn check_phase1(session: &mut Session<'_>) -> Result<()> {
    const SQL: &str = "SELECT to_regclass('rollup_jobs') IS NOT NULL AND to_regclass('rollup_corrections') IS NOT NULL
                       AND to_regprocedure('recount_lock_parents(integer[], integer[])') IS NOT NULL";
    let query = sqlx::query_scalar::<_, bool>(SQL);
    if session.wait("looking for the tables of Phase 1", async |c| query.fetch_one(c).await).await? {
        return Ok(());
    }
    let detail =
        "Phase 1 is not applied: there are no tables rollup_jobs and rollup_corrections, where every change is written down";
    Err(Error::new(ErrorKind::Refused, "looking for the tables of Phase 1", detail)
        .hint("run `recount migrate` as the owner of the validator's tables; nothing was written"))
}
