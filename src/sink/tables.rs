//! Tables as Parquet files: explicit writer properties, rows in order of their key, the same bytes for the same rows.

mod groups;
mod sorted;

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use parquet::basic::{self, Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::archive::encoding::of_doubles;
use crate::error::{Context, ErrorKind, Result};
use crate::files::parquet::{Encoder, Finished, GrowingGroup, ParquetFile};
use crate::model::job::Encoding;
use crate::model::rollups::Rollup;
use crate::model::rows::{batch_of, schema_of};

pub use self::groups::{RowGroups, ordered_rows, write};
pub use self::sorted::SortedTable;

/// Every property that has a say in the bytes, set here and nowhere else.
pub fn properties(schema: &Schema, encoding: Encoding) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("invariant: 1 is a level of zstd");
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("recount ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(true)
        // What follows a full dictionary. The usual ones are made for each column at once, and take 20 MB for a table.
        .set_encoding(basic::Encoding::PLAIN)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(GROUP_ROWS as usize));
    // Hardly any two scores are the same: a dictionary of them would be as long as the column.
    for field in schema.fields().iter().filter(|field| field.data_type() == &DataType::Float64) {
        let path = ColumnPath::from(field.name().as_str());
        builder = builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, of_doubles(encoding));
    }
    builder.build()
}

/// Rows that are put into columns at a time: some hold long texts.
const ROWS_AT_ONCE: usize = 1 << 8;
/// Rows of a row group.
const GROUP_ROWS: u64 = 1 << 20;

/// A Parquet file of rows that come in their final order.
pub struct RowFile {
    file: ParquetFile,
    encoder: Encoder,
    group: Option<GrowingGroup>,
}

impl RowFile {
    pub fn create<R: Rollup>(path: &Path, encoding: Encoding) -> Result<RowFile> {
        let schema = schema_of(R::COLUMNS);
        let (file, encoder) = ParquetFile::create(path, &schema, properties(&schema, encoding))?;
        Ok(RowFile { file, encoder, group: None })
    }

    pub fn rows<R: Rollup>(&mut self, rows: &[R]) -> Result<()> {
        rows.chunks(ROWS_AT_ONCE).try_for_each(|rows| self.batch(&batch_of(rows)))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let doing = || self.file.doing().to_owned();
            let mut group = match self.group.take() {
                Some(group) => group,
                None => self.encoder.begin().doing(ErrorKind::Io, doing)?,
            };
            let rows = (batch.num_rows() - from).min((GROUP_ROWS - group.rows()) as usize);
            group.write(&batch.slice(from, rows)).doing(ErrorKind::Io, doing)?;
            from += rows;
            let is_full = group.rows() == GROUP_ROWS;
            self.group = Some(group);
            if is_full {
                self.end_group()?;
            }
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let group = group.finish().doing(ErrorKind::Io, || self.file.doing().to_owned())?;
        self.file.append(group)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<Finished> {
        self.end_group()?;
        self.file.finish()
    }
}
