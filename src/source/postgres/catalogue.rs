//! What the catalogue of the database says about the tables that recount reads.

use sqlx::postgres::PgConnection;

use super::connect::failed;
use crate::error::Result;
use crate::model::evidence::RUNS;
use crate::source::TABLES;

/// A table, view or materialized view that the search path finds.
#[derive(Debug, Clone, Default)]
pub struct FoundTable {
    pub name: String,
    /// An upper estimate of its rows; `None` where only counting could tell.
    pub rows: Option<f64>,
    /// There is a B-tree whose first column is `run_id`.
    pub run_index: bool,
    /// A validated foreign key keeps every `run_id` within `weather_forecast_runs`.
    pub run_key: bool,
    pub columns: Vec<FoundColumn>,
}

#[derive(Debug, Clone, Default)]
pub struct FoundColumn {
    pub name: String,
    /// The id of the type, or of what a domain is made of.
    pub type_id: i64,
    /// The type as PostgreSQL writes it.
    pub type_name: String,
    pub not_null: bool,
    /// The role may read it.
    pub readable: bool,
    /// Equal values have equal bytes, as its collation has it.
    pub by_bytes: bool,
}

impl FoundTable {
    pub fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Where statistics are stale, a table's size bounds its rows: hardly any takes less than 60 bytes.
const TABLES_SQL: &str = "
SELECT t.name, c.oid::int8,
       CASE WHEN c.relkind IN ('r', 'm') THEN greatest(c.reltuples, pg_relation_size(c.oid) / 60.0)::float8 END,
       EXISTS (SELECT FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               JOIN pg_class x ON x.oid = i.indexrelid
               JOIN pg_am m ON m.oid = x.relam
               WHERE i.indrelid = c.oid AND a.attname = 'run_id' AND m.amname = 'btree'
                 AND i.indisvalid AND i.indisready AND i.indpred IS NULL),
       EXISTS (SELECT FROM pg_constraint k
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = 'run_id'
               WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.convalidated
                 AND k.confrelid = to_regclass($2) AND k.conkey = ARRAY[a.attnum])
FROM unnest($1::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(t.name)";

const COLUMNS_SQL: &str = "
SELECT a.attrelid::int8, a.attname::text,
       (WITH RECURSIVE made_of (id, kind, base) AS (
            SELECT t.oid, t.typtype, t.typbasetype
            UNION ALL
            SELECT d.oid, d.typtype, d.typbasetype FROM made_of m JOIN pg_type d ON d.oid = m.base WHERE m.kind = 'd')
        SELECT m.id FROM made_of m WHERE m.kind <> 'd')::int8,
       format_type(a.atttypid, a.atttypmod), a.attnotnull, has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY ($1::int8[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// Looks up the tables on the search path; those that are absent are not in the result.
pub async fn read(connection: &mut PgConnection) -> Result<Vec<FoundTable>> {
    type TableRow = (String, i64, Option<f64>, bool, bool);
    type ColumnRow = (i64, String, i64, String, bool, bool, bool);
    let cannot = |e| failed("reading the catalogue", e);
    let tables: Vec<TableRow> =
        sqlx::query_as(TABLES_SQL).bind(&TABLES[..]).bind(RUNS.name).fetch_all(&mut *connection).await.map_err(cannot)?;
    let ids: Vec<i64> = tables.iter().map(|table| table.1).collect();
    let columns: Vec<ColumnRow> = sqlx::query_as(COLUMNS_SQL).bind(&ids).fetch_all(connection).await.map_err(cannot)?;
    let columns_of = |id: i64| {
        let own = columns.iter().filter(|column| column.0 == id).cloned();
        let column = |(_, name, type_id, type_name, not_null, readable, by_bytes): ColumnRow| FoundColumn {
            name,
            type_id,
            type_name,
            not_null,
            readable,
            by_bytes,
        };
        own.map(column).collect()
    };
    let found = |(name, id, rows, run_index, run_key)| FoundTable { name, rows, run_index, run_key, columns: columns_of(id) };
    Ok(tables.into_iter().map(found).collect())
}
