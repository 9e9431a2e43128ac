//! What a database's catalogue says, as text that can be compared before and after.

use super::database::Database;

/// Every column: table, name, type, NOT NULL, default.
pub fn columns(db: &Database) -> String {
    db.psql(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2",
    )
}

/// Every constraint by what it demands, not by its name.
pub fn constraints(db: &Database) -> String {
    db.psql(
        "SELECT conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0 ORDER BY 1, 2",
    )
}

/// Every index by what it is, not by its name.
pub fn indexes(db: &Database) -> Vec<String> {
    let text = db.psql(
        "SELECT replace(pg_get_indexdef(i.indexrelid), ' ' || c.relname || ' ', ' ') || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1",
    );
    text.lines().map(str::to_owned).collect()
}

/// Everything that has a name, with its oid: nothing that was there may be missing or another one afterwards.
pub fn names(db: &Database) -> Vec<String> {
    let text = db.psql(
        "SELECT 'relation', oid::text, relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
         UNION ALL SELECT 'constraint', oid::text, conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                   WHERE connamespace = current_schema()::regnamespace
         UNION ALL SELECT 'column', attrelid::text || '.' || attnum, attname || ' ' || atttypid::regtype || attnotnull FROM pg_attribute
                   WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace) AND attnum > 0
         ORDER BY 1, 2",
    );
    text.lines().map(str::to_owned).collect()
}
