//! A table of Parquet files as the engine sees it: typed columns, a partition column, and the rows of each file known beforehand.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::archive::Storage;

use super::reader::Readers;

/// A table as a statement names it.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    /// Its files, where the engine does not say which of them it failed on.
    pub paths: Vec<String>,
    pub rows: Arc<dyn TableProvider>,
}

impl From<ParquetTable> for Table {
    fn from(table: ParquetTable) -> Table {
        let paths = table.files.iter().map(|file| file.path.clone()).collect();
        Table { name: table.name.clone(), paths, rows: Arc::new(table) }
    }
}

/// One file of a table.
#[derive(Debug, Clone)]
pub struct File {
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
    /// The value of the column that the file's path tells, where its table has one.
    pub partition: Option<ScalarValue>,
}

#[derive(Debug)]
pub struct ParquetTable {
    pub name: String,
    schema: TableSchema,
    files: Vec<File>,
    readers: Arc<Readers>,
}

impl ParquetTable {
    pub fn new(
        storage: &Arc<Storage>,
        name: String,
        schema: &SchemaRef,
        partition: Option<Field>,
        files: Vec<File>,
    ) -> ParquetTable {
        let schema = TableSchema::builder(schema.clone())
            .with_table_partition_cols(partition.into_iter().map(Arc::new).collect::<Vec<_>>())
            .build();
        ParquetTable { name, schema, files, readers: Arc::new(Readers::new(storage.clone())) }
    }

    /// The same table with the files of one partition alone.
    pub fn only(&self, name: String, partition: Option<&ScalarValue>) -> ParquetTable {
        let files = self.files.iter().filter(|file| file.partition.as_ref() == partition).cloned().collect();
        ParquetTable { name, schema: self.schema.clone(), files, readers: self.readers.clone() }
    }

    /// The files in which a row can meet the filters, by those of them that ask for nothing but the partition.
    fn wanted(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&File>> {
        let mut files: Vec<&File> = self.files.iter().collect();
        let Some(partition) = self.schema.table_partition_cols().first() else { return Ok(files) };
        let schema = Arc::new(Schema::new(vec![partition.as_ref().clone()]));
        let known = DFSchema::try_from(schema.as_ref().clone())?;
        let of_partition = |filter: &&Expr| filter.column_refs().iter().all(|column| column.name == *partition.name());
        for filter in filters.iter().filter(of_partition) {
            if files.is_empty() {
                break;
            }
            let values = ScalarValue::iter_to_array(files.iter().filter_map(|file| file.partition.clone()))?;
            let batch = RecordBatch::try_new(schema.clone(), vec![values])?;
            // Within one table a name is enough, whatever the statement calls the table.
            let filter = filter.clone().transform(|expr| {
                Ok(match expr {
                    Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
                    other => Transformed::no(other),
                })
            })?;
            let met = state.create_physical_expr(filter.data, &known)?.evaluate(&batch)?.into_array(files.len())?;
            let met = met.as_boolean();
            let mut row = 0..;
            files.retain(|_| row.next().is_some_and(|row| met.is_valid(row) && met.value(row)));
        }
        Ok(files)
    }

    /// What is known of a file: how many rows it has, and that its partition is the same in all of them.
    fn listed(&self, file: &File) -> PartitionedFile {
        let mut known = Statistics::new_unknown(self.schema.table_schema());
        let rows = usize::try_from(file.rows).unwrap_or(usize::MAX);
        known.num_rows = Precision::Exact(rows);
        let of_partition = known.column_statistics.iter_mut().skip(self.schema.file_schema().fields().len());
        for (column, value) in of_partition.zip(&file.partition) {
            if value.is_null() {
                column.null_count = Precision::Exact(rows);
                continue;
            }
            column.null_count = Precision::Exact(0);
            column.min_value = Precision::Exact(value.clone());
            column.max_value = Precision::Exact(value.clone());
        }
        let mut listed = PartitionedFile::new(file.path.clone(), file.bytes);
        listed.partition_values = file.partition.iter().cloned().collect();
        // Not by its own method, which takes a NULL in a path for a value.
        listed.statistics = Some(Arc::new(known));
        listed
    }
}

#[async_trait]
impl TableProvider for ParquetTable {
    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Files, row groups and pages are skipped by what is known of them, which does not decide every row.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(datafusion::common::config::TableParquetOptions { global: options, ..Default::default() })
            .with_parquet_file_reader_factory(self.readers.clone());
        let mut known = Statistics::new_unknown(self.schema.table_schema());
        let files = self.wanted(state, filters)?;
        known.num_rows = Precision::Exact(files.iter().map(|file| usize::try_from(file.rows).unwrap_or(usize::MAX)).sum());
        let files = FileGroup::new(files.into_iter().map(|file| self.listed(file)).collect());
        let groups = files.split_files(state.config_options().execution.target_partitions);
        // The store is never asked: what is read, is read by `readers`.
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(known)
            .with_limit(limit)
            .with_projection_indices(projection.cloned())?;
        Ok(DataSourceExec::from_data_source(scan.build()))
    }
}
