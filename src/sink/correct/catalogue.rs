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
    /// Columns that can be written, with their types as SQL writes them, in their order.
    pub columns: Vec<(String, String)>,
}

impl Found {
    /// The type of a column, where there is one.
    pub fn type_of(&self, column: &str) -> Option<&str> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, kind)| kind.as_str())
    }
}

/// The rollup tables that are there, by name.
pub type Catalogue = BTreeMap<&'static str, Found>;

const SQL: &str = "
SELECT c.relkind::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum";

/// Looks the tables up; refuses a database without the tables of Phase 1.
pub async fn read(session: &mut Session<'_>) -> Result<Catalogue> {
    check_phase1(session).await?;
    let mut found = Catalogue::new();
    for table in [ForecastStat::TABLE, MinerStat::TABLE, SubnetStat::TABLE] {
        let query = sqlx::query_as::<_, (String, String, String)>(SQL).bind(table);
        let columns = session.wait("reading the catalogue", async |c| query.fetch_all(c).await).await?;
        let Some((kind, ..)) = columns.first() else { continue };
        let kind = match kind.as_str() {
            "m" => Kind::MaterializedView,
            "v" => Kind::View,
            _ => Kind::Table,
        };
        found.insert(table, Found { kind, columns: columns.into_iter().map(|(_, name, kind)| (name, kind)).collect() });
    }
    Ok(found)
}

/// The audit tables must be there: what is not written down cannot be undone.
pub async fn check_phase1(session: &mut Session<'_>) -> Result<()> {
    const SQL: &str = "SELECT to_regclass('rollup_jobs') IS NOT NULL AND to_regclass('rollup_corrections') IS NOT NULL
                       AND to_regprocedure('recount_lock_parents(integer[], integer[])') IS NOT NULL";
    let query = sqlx::query_scalar::<_, bool>(SQL);
    if session.wait("looking for the tables of Phase 1", async |c| query.fetch_one(c).await).await? {
        return Ok(());
    }
    let detail = "the database has no rollup_jobs and rollup_corrections, where every change is written down";
    Err(Error::new(ErrorKind::Contract, "looking for the tables of Phase 1", detail)
        .hint("run `recount migrate` as the owner of the validator's tables; nothing was written"))
}
