//! What stands beside the tables under names that stay: the newest state of what has one for each archiving, for readers of a file
//! without a thought of `as_of`, and the tables as views. It is replaced whole, once the manifest that names it is in force.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::model::time::Micros;

use super::tables::{MINERS, SUBNET, Table};

/// The tables whose newest state has a file of its own, and its path.
pub const NEWEST: [(&Table, &str); 2] =
    [(&MINERS, "latest/miner_stats.parquet"), (&SUBNET, "latest/weather_subnet_stats.parquet")];

/// The tables as views for DuckDB.
pub const VIEWS: &str = "views.sql";

/// One file beside the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideEntry {
    pub bytes: u64,
    pub blake3: String,
}

/// Whether an archiving writes a file of this path beside the tables.
pub fn is_beside(path: &str) -> bool {
    path == VIEWS || NEWEST.iter().any(|(_, known)| *known == path)
}

/// Where the newest state of a table stands.
pub fn path_of(table: &Table) -> Option<&'static str> {
    NEWEST.iter().find(|(known, _)| known.name == table.name).map(|(_, path)| *path)
}

/// The columns of such a file: those of the table, and since its path does not tell it, of which moment they are.
pub fn newest_schema(table: &Table) -> SchemaRef {
    let schema = table.schema(&[]);
    let as_of = Field::new(table.partition_column(), moment_type(), false);
    Arc::new(Schema::new(schema.fields().iter().map(|field| field.as_ref().clone()).chain([as_of]).collect::<Vec<_>>()))
}

/// The rows of such a file.
pub fn newest_rows(table: &Table, rows: &RecordBatch, as_of: Micros) -> RecordBatch {
    let moments = TimestampMicrosecondArray::from_value(as_of.0, rows.num_rows()).with_timezone("UTC");
    let columns = rows.columns().iter().cloned().chain([Arc::new(moments) as ArrayRef]).collect();
    RecordBatch::try_new(newest_schema(table), columns).expect("invariant: the table's own columns, and one of the same length")
}

fn moment_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
