//! `recount query`: SQL over the tables of an archive, by polars.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_schema::DataType as ArrowType;
use polars::prelude::{
    DataFrame, DataType, Field, IntoLazy, LazyFrame, PlRefPath, PlSmallStr, PolarsError, ScanArgsParquet, Schema, TimeUnit,
    TimeZone,
};
use polars::sql::SQLContext;
use tempfile::TempDir;

use crate::archive::manifest::refused;
use crate::archive::tables::{TABLES, Table};
use crate::archive::{LATEST, Manifest, Place};
use crate::error::{Context, Error, ErrorKind, Result};

/// Runs one statement over the files that the manifest in force names.
pub fn query(dest: &str, sql: &str) -> Result<DataFrame> {
    let place = Place::open(dest)?;
    let Some((_, manifest)) = Manifest::latest(&place)?.1 else {
        return Err(refused(&place, format!("there is no {LATEST} in it")));
    };
    let mentioned = TABLES.into_iter().filter(|table| sql.contains(table.name) && manifest.has_table(table.name));
    let mentioned: Vec<&Table> = mentioned.collect();
    let mirror = Mirror::of(&place)?;
    let mut context = SQLContext::new();
    for table in mentioned {
        context.register(table.name, mirror.scan(&place, &manifest, table)?);
    }
    let frame = context.execute(sql).and_then(LazyFrame::collect);
    frame.map_err(|e| {
        let known = TABLES.iter().map(|table| table.name).filter(|name| manifest.has_table(name)).collect::<Vec<_>>();
        asked(&e).hint(format!("the tables are {}", known.join(", ")))
    })
}

fn asked(error: &PolarsError) -> Error {
    Error::new(ErrorKind::Usage, "running the query", error)
}

/// The archive as files of this machine: the folder itself, or copies of the files that a query reads.
struct Mirror {
    root: PathBuf,
    copies: Option<TempDir>,
}

impl Mirror {
    fn of(place: &Place) -> Result<Mirror> {
        let doing = || format!("opening {}", place.display());
        let copies = if place.folder().is_some() { None } else { Some(tempfile::tempdir().doing(ErrorKind::Io, doing)?) };
        let root = copies.as_ref().map(TempDir::path).or(place.folder()).unwrap_or(Path::new("."));
        Ok(Mirror { root: std::path::absolute(root).doing(ErrorKind::Io, doing)?, copies })
    }

    /// The table as a scan that reads no more than the query needs of it, its partitions as a column.
    fn scan(&self, place: &Place, manifest: &Manifest, table: &Table) -> Result<LazyFrame> {
        let mut paths = Vec::new();
        for (path, _) in manifest.files.iter().filter(|(_, file)| file.table == table.name) {
            if self.copies.is_some() {
                self.copy(place, path)?;
            }
            paths.push(PlRefPath::new(self.root.join(path).to_string_lossy().as_ref()));
        }
        if paths.is_empty() {
            return Ok(DataFrame::empty_with_schema(&schema(table, manifest)).lazy());
        }
        let mut args = ScanArgsParquet { glob: false, allow_missing_columns: true, ..ScanArgsParquet::default() };
        args.hive_options.enabled = Some(true);
        args.hive_options.hive_start_idx = self.root.to_string_lossy().len();
        // A partition is text, whatever it looks like: days and moments sort as text, and compare with what is typed.
        args.hive_options.schema = Some(Schema::from_iter([partition(table)]).into());
        LazyFrame::scan_parquet_files(paths.into(), args).map_err(|e| asked(&e))
    }

    fn copy(&self, place: &Place, path: &str) -> Result<()> {
        let content = place.read(path)?.ok_or_else(|| refused(place, format!("{path} is missing")))?;
        let target = self.root.join(path);
        let write = || fs::create_dir_all(target.parent().unwrap_or(&self.root)).and_then(|()| fs::write(&target, &content));
        write().doing(ErrorKind::Io, || format!("copying {path}"))
    }
}

fn partition(table: &Table) -> Field {
    Field::new(PlSmallStr::from_static(table.partition_column()), DataType::String)
}

/// The schema of a table that has no file.
fn schema(table: &Table, manifest: &Manifest) -> Schema {
    let fields = table.schema(&manifest.wide_leads);
    let fields = fields.fields().iter().map(|field| Field::new(field.name().as_str().into(), kind(field.data_type())));
    fields.chain([partition(table)]).collect()
}

fn kind(kind: &ArrowType) -> DataType {
    match kind {
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int32 => DataType::Int32,
        ArrowType::Int64 => DataType::Int64,
        ArrowType::Float64 => DataType::Float64,
        ArrowType::Timestamp(..) => DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        _ => DataType::String,
    }
}
