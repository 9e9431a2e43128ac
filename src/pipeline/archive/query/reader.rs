//! Reads of a file by ranges: its footer once, then no more than the columns and row groups that a statement needs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::archive::Storage;
use crate::files::decode::decoding;
use crate::files::{bounds, pages};

/// Enough for the footer of a day in one read.
const FOOTER_BYTES: usize = 64 << 10;

/// Opens the files of a place, and keeps their footers.
#[derive(Debug)]
pub struct Readers {
    storage: Arc<Storage>,
    footers: Arc<Mutex<HashMap<String, Arc<ParquetMetaData>>>>,
}

impl Readers {
    pub fn new(storage: Arc<Storage>) -> Readers {
        Readers { storage, footers: Arc::default() }
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _footer_bytes: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::common::Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.to_string();
        Ok(Box::new(Reader { storage: self.storage.clone(), footers: self.footers.clone(), path, bytes: file.object_meta.size }))
    }
}

#[derive(Debug)]
struct Reader {
    storage: Arc<Storage>,
    footers: Arc<Mutex<HashMap<String, Arc<ParquetMetaData>>>>,
    path: String,
    bytes: u64,
}

impl Reader {
    fn kept(&self) -> Option<Arc<ParquetMetaData>> {
        self.footers.lock().ok()?.get(&self.path).cloned()
    }

    fn damaged(&self, error: impl std::fmt::Display) -> ParquetError {
        ParquetError::General(format!("{}/{} is damaged: {error}", self.storage.display(), self.path))
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.get_byte_ranges(vec![range]).await.map(|mut read| read.swap_remove(0)) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let (storage, path) = (self.storage.clone(), self.path.clone());
        async move {
            let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
            let read = tokio::task::spawn_blocking(move || storage.read_ranges(&path, &ranges)).await;
            let read = read.map_err(|e| ParquetError::External(Box::new(e)))?;
            let read = read.map_err(|e| ParquetError::External(Box::new(e)))?;
            // The footer is there before anything else is read. A range begins with a page, whether it is a column or a page of one.
            if let Some(footer) = self.kept() {
                let pages = starts.iter().zip(&read);
                pages
                    .into_iter()
                    .try_for_each(|(start, read)| decoding(|| pages::check_part(&footer, *start, read), ParquetError::General))
                    .map_err(|e| self.damaged(e))?;
            }
            Ok(read)
        }
        .boxed()
    }

    fn get_metadata<'a>(&'a mut self, _options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            if let Some(footer) = self.kept() {
                return Ok(footer);
            }
            let bytes = self.bytes;
            let reader =
                ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip).with_prefetch_hint(Some(FOOTER_BYTES));
            let footer = reader.load_and_finish(&mut *self, bytes).await.map_err(|e| self.damaged(e))?;
            bounds::check_footer(&footer, bytes).map_err(|e| self.damaged(e))?;
            let footer = Arc::new(footer);
            if let Ok(mut footers) = self.footers.lock() {
                footers.insert(self.path.clone(), footer.clone());
            }
            Ok(footer)
        }
        .boxed()
    }
}
