//! `views.sql`: the tables of an archive as views for DuckDB, with partition columns in the types that they have elsewhere.

use std::fmt::Write;

use super::Manifest;
use super::tables::{Division, TABLES, Table};

/// Added to the name of a table that keeps every state, for the newest of them.
pub const NEWEST: &str = "_latest";

/// Paths are below the variable `archive`, since a text with the place in it would be wrong as soon as the archive is moved or read
/// from elsewhere.
const HEAD: &str = "\
-- The tables of this archive as views for DuckDB; NAME_latest has the newest state of a table that keeps every state.
-- Run it in the folder of the archive, or say first where that is:
--   SET VARIABLE archive = 's3://bucket/validator';
-- Made by recount, and made anew by each archiving.
";

/// The text of the file, from the tables that have files. `verify` holds what is there against it: where it changes, so does the
/// version of the manifest, and what `verify` knows of it.
pub fn text(manifest: &Manifest) -> String {
    let mut text = HEAD.to_owned();
    let has_files = |table: &&&Table| manifest.files.values().any(|file| file.table == table.name);
    for table in TABLES.iter().filter(has_files) {
        let (name, column) = (table.name, table.partition_column());
        let (columns, kind) = match table.division {
            Division::Day => ("*", "DATE"),
            // The moment in a path has no separators that DuckDB's own cast would know.
            Division::Moment => ("* REPLACE (try_strptime(as_of, '%Y%m%dT%H%M%S%fZ') AS as_of)", "VARCHAR"),
        };
        let _ = write!(
            text,
            "\nCREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM read_parquet(\
             \n  coalesce(getvariable('archive'), '.') || '/{name}/*/*.parquet',\
             \n  hive_partitioning = true, hive_types = {{'{column}': {kind}}}, union_by_name = true);\n"
        );
        if table.division == Division::Moment {
            let newest = format!("(SELECT max(as_of) FROM {name})");
            let _ = writeln!(text, "CREATE OR REPLACE VIEW {name}{NEWEST} AS SELECT * FROM {name} WHERE as_of = {newest};");
        }
    }
    text
}
