//! The tables of a snapshot folder: a batch is read, and held against its hash, when the engine comes to it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::arrow::compute::{cast, take};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures_util::{StreamExt, stream};

use crate::source::folder::Folder;

use super::files::plain;
use super::table::Table;

pub fn tables(dir: &Path) -> crate::error::Result<Vec<Table>> {
    let folder = Arc::new(Folder::open_to_read(dir)?);
    let tables = folder.tables().into_iter().map(|(name, schema, batches)| {
        let table = SnapshotTable { folder: folder.clone(), name, schema: plain(&schema), batches };
        Table { name: name.to_owned(), paths: Vec::new(), rows: Arc::new(table) }
    });
    Ok(tables.collect())
}

#[derive(Debug)]
struct SnapshotTable {
    folder: Arc<Folder>,
    name: &'static str,
    schema: SchemaRef,
    batches: usize,
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let parts = state.config_options().execution.target_partitions.clamp(1, self.batches.max(1));
        let part = |at: usize| {
            Arc::new(Part {
                folder: self.folder.clone(),
                name: self.name,
                schema: schema.clone(),
                columns: columns.clone(),
                batches: self.batches * at / parts..self.batches * (at + 1) / parts,
            }) as Arc<dyn PartitionStream>
        };
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), (0..parts).map(part).collect(), None, [], false, limit)?))
    }
}

/// Neighbouring batches of a table, in the columns that a statement needs.
#[derive(Debug, Clone)]
struct Part {
    folder: Arc<Folder>,
    name: &'static str,
    schema: SchemaRef,
    columns: Vec<usize>,
    batches: Range<usize>,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (part, rows) = (self.clone(), context.session_config().batch_size());
        let pieces = stream::iter(self.batches.clone()).flat_map(move |index| stream::iter(part.pieces(index, rows)));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), pieces))
    }
}

impl Part {
    /// A batch in pieces of so many rows, each made when it is asked for.
    fn pieces(&self, index: usize, rows: usize) -> Box<dyn Iterator<Item = Result<RecordBatch>> + Send> {
        let batch = match self.folder.read_table(self.name, index) {
            Ok(batch) => batch,
            Err(error) => return Box::new(std::iter::once(Err(DataFusionError::External(Box::new(error))))),
        };
        let part = self.clone();
        let starts = (0..batch.num_rows()).step_by(rows.max(1));
        Box::new(starts.map(move |start| part.piece(&batch, start, rows.min(batch.num_rows() - start))))
    }

    /// Rows of a batch, copied: what the engine keeps of them must not keep all of the batch.
    fn piece(&self, batch: &RecordBatch, start: usize, rows: usize) -> Result<RecordBatch> {
        let picked: UInt32Array = (0u32..).take(rows).collect();
        let copied = |(&column, field): (&usize, &Arc<arrow_schema::Field>)| -> Result<ArrayRef> {
            let column = batch.column(column).slice(start, rows);
            match column.data_type() == field.data_type() {
                true => Ok(take(&column, &picked, None)?),
                false => Ok(cast(&column, field.data_type())?),
            }
        };
        let columns = self.columns.iter().zip(self.schema.fields()).map(copied).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}
