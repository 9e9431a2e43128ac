//! The row groups of several tables: made and encoded on all threads, and put into their files in order.

use std::ops::Range;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};

use super::properties;
use crate::error::{Context, ErrorKind, Result};
use crate::files::parquet::ParquetFile;
use crate::model::columns::Type;
use crate::model::job::Encoding;
use crate::model::rollups::Rollup;
use crate::model::rows::schema_of;
use crate::parallel;

/// Cells of a row group: each thread puts this many together at a time. A megabyte or two, whatever the table.
pub const ROW_GROUP_CELLS: usize = 1 << 17;
/// A list of miners takes as much memory as this many cells.
const JSON_CELLS: usize = 1 << 9;

/// A table whose rows are known, and put together by row group when these have their turn.
pub trait RowGroups: Send + Sync {
    fn schema(&self) -> SchemaRef;
    /// How many there are.
    fn groups(&self) -> usize;
    /// The rows of one, in their order.
    fn rows(&self, group: usize) -> std::result::Result<RecordBatch, ArrowError>;
}

/// Rows that are in their order, and not in columns yet.
pub struct OrderedRows<B> {
    schema: SchemaRef,
    count: usize,
    in_group: usize,
    batch: B,
}

/// `count` rows in the columns of `R`; `batch` gives any range of them.
pub fn ordered_rows<R: Rollup, B: Fn(Range<usize>) -> RecordBatch + Send + Sync>(count: usize, batch: B) -> OrderedRows<B> {
    let cells = R::COLUMNS.iter().map(|column| if column.kind == Type::Json { JSON_CELLS } else { 1 });
    OrderedRows { schema: schema_of(R::COLUMNS), count, in_group: ROW_GROUP_CELLS / cells.sum::<usize>(), batch }
}

impl<B: Fn(Range<usize>) -> RecordBatch + Send + Sync> RowGroups for OrderedRows<B> {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn groups(&self) -> usize {
        self.count.div_ceil(self.in_group)
    }

    fn rows(&self, group: usize) -> std::result::Result<RecordBatch, ArrowError> {
        let start = group * self.in_group;
        Ok((self.batch)(start..self.count.min(start + self.in_group)))
    }
}

/// Writes the files of these tables.
pub fn write(tables: &[(PathBuf, &dyn RowGroups)], threads: usize, encoding: Encoding) -> Result<()> {
    let doing = |index: usize| format!("writing {}", tables[index].0.display());
    let files = tables.iter().map(|(path, table)| {
        let schema = table.schema();
        ParquetFile::create(path, &schema, properties(&schema, encoding))
    });
    let (mut files, encoders): (Vec<_>, Vec<_>) = files.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let groups = tables.iter().enumerate().flat_map(|(index, (_, table))| (0..table.groups()).map(move |group| (index, group)));
    parallel::in_order(
        threads,
        &groups.collect::<Vec<_>>(),
        |&(index, group)| {
            let rows = tables[index].1.rows(group).doing(ErrorKind::Io, || doing(index))?;
            Ok((index, encoders[index].encode(&rows).doing(ErrorKind::Data, || doing(index))?))
        },
        |(index, group)| files[index].append(group),
    )?;
    files.into_iter().try_for_each(|file| file.finish().map(drop))
}
