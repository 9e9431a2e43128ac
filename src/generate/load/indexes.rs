//! Secondary indexes and foreign keys out of the way while a table is filled: what would be looked up for every row is
//! built and checked once at the end instead. All of it happens in the transaction that loads.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::TABLES;

/// Unique constraints and foreign keys. Primary keys stay: rows come in their order, and others refer to them.
const CONSTRAINTS: &str = "
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint
    WHERE conrelid = ANY($1::regclass[]) AND contype IN ('f', 'u')
    ORDER BY contype = 'f', conrelid, conname";

/// Indexes that belong to no constraint.
const INDEXES: &str = "
    SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    FROM pg_index i
    WHERE indrelid = ANY($1::regclass[]) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
    ORDER BY indrelid, indexrelid";

/// What has to be made again.
#[derive(Debug, Default)]
pub struct Dropped(Vec<String>);

impl Dropped {
    /// Drops them and notes how they were made.
    pub async fn from(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let mut dropped = Dropped::default();
        let mut drops = Vec::new();
        // Unique keys and indexes first, then foreign keys, is the order to make them; foreign keys go first.
        for catalogue in [INDEXES, CONSTRAINTS] {
            let rows = sqlx::query(catalogue).bind(&TABLES[..]).fetch_all(&mut *connection).await?;
            for row in rows {
                drops.push(row.try_get::<String, _>(0)?);
                dropped.0.push(row.try_get(1)?);
            }
        }
        for drop in drops.into_iter().rev() {
            run(connection, drop).await?;
        }
        Ok(dropped)
    }

    /// Makes them again; the server checks all rows.
    pub async fn restore(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for statement in self.0 {
            run(connection, statement).await?;
        }
        Ok(())
    }
}

async fn run(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
