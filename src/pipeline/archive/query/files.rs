//! The tables that a place has: those of an archive by its manifest, of a snapshot by its own, or the Parquet files of a folder by
//! their names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{Datelike, NaiveDate, NaiveDateTime};
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;

use crate::archive::manifest::refused;
use crate::archive::storage::FILE_BYTES;
use crate::archive::tables::{self, Division, TABLES};
use crate::archive::views::NEWEST;
use crate::archive::{LATEST, Manifest, Storage};
use crate::error::Result;
use crate::files::decode::decoding;
use crate::files::path::is_plain;
use crate::files::{bounds, path};
use crate::source::folder::is_snapshot;

use super::snapshot;
use super::table::{File, ParquetTable, Table};

/// The days of 1970-01-01 in chrono's count.
const EPOCH_DAYS: i32 = 719_163;

pub fn tables(storage: &Arc<Storage>) -> Result<Vec<Table>> {
    if let Some(dir) = storage.folder().filter(|dir| is_snapshot(dir)) {
        return snapshot::tables(dir);
    }
    let tables = match Manifest::latest(storage)?.1 {
        Some((_, manifest)) => of_archive(storage, &manifest),
        None => of_folder(storage)?,
    };
    Ok(tables.into_iter().map(Table::from).collect())
}

/// What `recompute` and `diff` write: one file a table.
fn of_folder(storage: &Arc<Storage>) -> Result<Vec<ParquetTable>> {
    let mut tables = Vec::new();
    let (root, listed) = match storage.folder() {
        Some(root) => (root, storage.list()?),
        None => (Path::new(""), BTreeMap::new()),
    };
    for path in listed.into_keys() {
        let Some(name) = path.strip_suffix(".parquet").filter(|name| is_plain(name) && !name.contains('/')) else { continue };
        let file = |e: &dyn std::fmt::Display| refused(storage, format!("{path}: {e}"));
        let (content, bytes) = path::open(root, &path, FILE_BYTES).map_err(|e| file(&e))?;
        let load = || ArrowReaderMetadata::load(&content, ArrowReaderOptions::new());
        let footer = decoding(load, ParquetError::General).map_err(|e| file(&e))?;
        bounds::check_footer(footer.metadata(), bytes).map_err(|e| file(&e))?;
        let rows = u64::try_from(footer.metadata().file_metadata().num_rows()).unwrap_or_default();
        let file = File { path: path.clone(), bytes, rows, partition: None };
        tables.push(ParquetTable::new(storage, name.to_owned(), &plain(footer.schema()), None, vec![file]));
    }
    if tables.is_empty() {
        let error = refused(storage, format!("there is no {LATEST} in it, and no Parquet file"));
        return Err(error.hint("give an archive, a snapshot folder, or a folder that recompute or diff has written"));
    }
    Ok(tables)
}

fn of_archive(storage: &Arc<Storage>, manifest: &Manifest) -> Vec<ParquetTable> {
    let mut tables = Vec::new();
    for table in TABLES.into_iter().filter(|table| manifest.has_table(table.name)) {
        let schema = plain(&table.schema(&manifest.wide_leads));
        let of_table = manifest.files.iter().filter(|(_, file)| file.table == table.name);
        let files = of_table.clone().map(|(path, file)| File {
            path: path.clone(),
            bytes: file.bytes,
            rows: file.rows,
            partition: Some(partition(table, &file.partition)),
        });
        let whole = ParquetTable::new(storage, table.name.to_owned(), &schema, Some(column(table)), files.collect());
        if table.division == Division::Moment {
            let newest = of_table.map(|(_, file)| &file.partition).max().map(|newest| partition(table, newest));
            tables.push(whole.only(format!("{}{NEWEST}", table.name), newest.as_ref()));
        }
        tables.push(whole);
    }
    tables
}

/// Without the documentation, which the engine would carry along, and text as text, however it is coded. A column that an older
/// file lacks is NULL.
pub fn plain(schema: &SchemaRef) -> SchemaRef {
    let kind = |field: &Field| match field.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        kind => kind.clone(),
    };
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), kind(field), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// `init_date` is a date, `as_of` a moment.
fn column(table: &tables::Table) -> Field {
    let kind = match table.division {
        Division::Day => DataType::Date32,
        Division::Moment => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    };
    Field::new(table.partition_column(), kind, true)
}

/// The value in a path; NULL for what is no day and no moment.
fn partition(table: &tables::Table, text: &str) -> ScalarValue {
    match table.division {
        Division::Day => {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
            ScalarValue::Date32(day.map(|day| day.num_days_from_ce() - EPOCH_DAYS))
        }
        Division::Moment => {
            let moment = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S%6fZ").ok();
            let micros = moment.map(|moment| moment.and_utc().timestamp_micros()).or_else(|| text.parse().ok());
            ScalarValue::TimestampMicrosecond(micros, Some("UTC".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::archive::day::stamp;
    use crate::archive::tables::{MINERS, RUNS_TABLE};
    use crate::model::time::Micros;

    use super::*;

    #[test]
    fn partitions_are_dates_and_moments() {
        assert_eq!(partition(&RUNS_TABLE, "1970-01-02"), ScalarValue::Date32(Some(1)));
        assert_eq!(partition(&RUNS_TABLE, "__HIVE_DEFAULT_PARTITION__"), ScalarValue::Date32(None));
        for micros in [0, 1_736_000_000_123_456, i64::MAX] {
            let moment = partition(&MINERS, &stamp(Micros(micros)));
            assert_eq!(moment, ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        }
    }
}
