//! Tables as Parquet files: explicit writer properties, rows in order of their key, the same bytes for the same rows.

mod groups;
mod sorted;

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::error::{Context, ErrorKind, Result};
use crate::model::rollups::Rollup;
use crate::model::rows::{batch_of, schema_of};

pub use self::groups::{RowGroups, ordered_rows, write};
pub use self::sorted::SortedTable;

/// Every property that has a say in the bytes, set here and nowhere else.
pub fn properties(schema: &Schema) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("invariant: 1 is a level of zstd");
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("recount ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(true)
        // What follows a full dictionary. The usual ones are made for each column at once, and take 20 MB for a table.
        .set_encoding(Encoding::PLAIN)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(1 << 20));
    // Hardly any two scores are the same, but they begin alike.
    for field in schema.fields().iter().filter(|field| field.data_type() == &DataType::Float64) {
        let path = ColumnPath::from(field.name().as_str());
        builder =
            builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
    }
    builder.build()
}

/// Rows that are put into columns at a time: some hold long texts.
const ROWS_AT_ONCE: usize = 1 << 8;

/// A Parquet file of rows that come in their final order.
pub struct TableFile {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl TableFile {
    pub fn create<R: Rollup>(path: &Path) -> Result<TableFile> {
        let doing = || format!("creating {}", path.display());
        let (file, schema) = (File::create(path).doing(ErrorKind::Io, doing)?, schema_of(R::COLUMNS));
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(&schema))).doing(ErrorKind::Io, doing)?;
        Ok(TableFile { path: path.to_owned(), writer })
    }

    pub fn rows<R: Rollup>(&mut self, rows: &[R]) -> Result<()> {
        rows.chunks(ROWS_AT_ONCE).try_for_each(|rows| self.batch(&batch_of(rows)))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).doing(ErrorKind::Io, || format!("writing {}", self.path.display()))
    }

    pub fn finish(self) -> Result<()> {
        let metadata = self.writer.close().doing(ErrorKind::Io, || format!("writing {}", self.path.display()));
        metadata.map(drop)
    }
}
