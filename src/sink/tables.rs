//! Tables as Parquet files: explicit writer properties, rows in order of their key, the same bytes for the same rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use crate::error::{Context, ErrorKind, Result};
use crate::model::rollups::Rollup;
use crate::model::rows::{batch_of, schema_of};

/// Rows that are put in order and written at a time.
const CHUNK_ROWS: usize = 65_536;

/// Every property that has a say in the bytes, set here and nowhere else.
pub fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("invariant: 3 is a level of zstd");
    WriterProperties::builder()
        .set_created_by(concat!("recount ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(true)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(1 << 20))
        .build()
}

/// A Parquet file of rows that come in their final order.
pub struct TableFile {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl TableFile {
    pub fn create<R: Rollup>(path: &Path) -> Result<TableFile> {
        let doing = || format!("creating {}", path.display());
        let file = File::create(path).doing(ErrorKind::Io, doing)?;
        let writer = ArrowWriter::try_new(file, schema_of(R::COLUMNS), Some(properties())).doing(ErrorKind::Io, doing)?;
        Ok(TableFile { path: path.to_owned(), writer })
    }

    pub fn rows<R: Rollup>(&mut self, rows: &[R]) -> Result<()> {
        self.batch(&batch_of(rows))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).doing(ErrorKind::Io, || format!("writing {}", self.path.display()))
    }

    pub fn finish(self) -> Result<()> {
        let metadata = self.writer.close().doing(ErrorKind::Io, || format!("writing {}", self.path.display()));
        metadata.map(drop)
    }
}

/// Rows that come run by run and are written in order of their keys.
///
/// They are held as Arrow columns until the end, about 60 bytes for a lead score and 300 for a rollup row.
pub struct SortedTable<K> {
    batches: Vec<RecordBatch>,
    keys: Vec<(K, u32, u32)>,
}

impl<K: Ord> Default for SortedTable<K> {
    fn default() -> Self {
        SortedTable { batches: Vec::new(), keys: Vec::new() }
    }
}

impl<K: Ord> SortedTable<K> {
    pub fn push<R: Rollup>(&mut self, rows: &[R], key: impl Fn(&R) -> K) {
        let batch = self.batches.len() as u32;
        self.keys.extend(rows.iter().zip(0..).map(|(row, index)| (key(row), batch, index)));
        self.batches.push(batch_of(rows));
    }

    pub fn write<R: Rollup>(mut self, path: &Path) -> Result<()> {
        let mut file = TableFile::create::<R>(path)?;
        self.keys.sort_unstable();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        for chunk in self.keys.chunks(CHUNK_ROWS) {
            let places: Vec<(usize, usize)> = chunk.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
            let sorted = interleave_record_batch(&batches, &places);
            file.batch(&sorted.doing(ErrorKind::Data, || format!("sorting {}", path.display()))?)?;
        }
        file.finish()
    }
}
