//! How rows become Parquet: order, encodings, metadata. Everything that has a say in the bytes is set here.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::error::{Context, ErrorKind, Result};

use super::manifest::FORMAT_VERSION;
use super::tables::Table;

/// Above this, a day goes on in a further file.
pub const MAX_FILE_BYTES: u64 = 512 << 20;
/// Rows of a page: what the page index can skip.
const PAGE_ROWS: usize = 20_000;
const PAGE_BYTES: usize = 1 << 20;
/// A column of more distinct bytes than this is no longer worth a dictionary.
const DICTIONARY_BYTES: usize = 1 << 20;
const ZSTD_LEVEL: i32 = 3;
/// Without the program's version: a new release must not rewrite a year of days. The form is what readers parse.
const CREATED_BY: &str = "recount version 1.0.0 (build archive)";
/// The format of the file, among its metadata.
pub const VERSION_KEY: &str = "recount.format_version";
/// Its table, among its metadata.
pub const TABLE_KEY: &str = "recount.table";
/// Distinct hotkeys that a filter of one run is made for; a subnet has 256 miners.
const BLOOM_VALUES: u64 = 256;
const BLOOM_ERROR: f64 = 0.01;

/// How a column is encoded before zstd. Chosen by measurement: see "Archives" in `docs/performance.md`.
fn encode_column(builder: WriterPropertiesBuilder, field: &Field) -> WriterPropertiesBuilder {
    let path = ColumnPath::from(field.name().as_str());
    let plain = |encoding| (false, encoding);
    let (dictionary, encoding) = match field.data_type() {
        // The bytes of similar doubles agree in their front: put those side by side.
        DataType::Float64 => plain(Encoding::BYTE_STREAM_SPLIT),
        // Ids go up by small steps.
        DataType::Int64 => plain(Encoding::DELTA_BINARY_PACKED),
        // Times come in bursts: zstd finds what they share, and finds it best in plain.
        DataType::Timestamp(..) => plain(Encoding::PLAIN),
        DataType::Boolean => plain(Encoding::RLE),
        // Runs, miners, leads, names: few values, many times.
        _ => (true, Encoding::PLAIN),
    };
    let builder = builder.set_column_dictionary_enabled(path.clone(), dictionary);
    if dictionary { builder } else { builder.set_column_encoding(path, encoding) }
}

/// The properties of a table's files.
pub fn properties(table: &Table, schema: &SchemaRef) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("invariant: it is a level of zstd");
    let index = |column: &&str| schema.index_of(column).expect("invariant: a table is in order of its own columns") as i32;
    let sorted = |column| SortingColumn { column_idx: index(column), descending: false, nulls_first: true };
    let metadata = [(VERSION_KEY, FORMAT_VERSION.to_string()), (TABLE_KEY, table.name.to_owned())];
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(table.order.iter().map(sorted).collect()))
        .set_key_value_metadata(Some(metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec()));
    for field in schema.fields() {
        builder = encode_column(builder, field);
        // Ids, runs and miners are in order, so their statistics prune; a hotkey is in every day or in few.
        if field.name() == "miner_hotkey" && ["weather_forecast_stats", "responses"].contains(&table.name) {
            let path = ColumnPath::from(field.name().as_str());
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_ERROR)
                .set_column_bloom_filter_max_ndv(path, BLOOM_VALUES);
        }
    }
    builder.build()
}

fn writer<W: Write + Send>(
    sink: W,
    table: &Table,
    schema: &SchemaRef,
) -> parquet::errors::Result<(SerializedFileWriter<W>, ArrowRowGroupWriterFactory)> {
    let options = ArrowWriterOptions::new().with_properties(properties(table, schema));
    ArrowWriter::try_new_with_options(sink, schema.clone(), options)?.into_serialized_writer()
}

/// Rows as a finished row group: encoded and compressed, in memory.
#[derive(Debug)]
pub struct RowGroup {
    pub rows: u64,
    chunks: Vec<ArrowColumnChunk>,
}

/// Puts the rows in the table's order and encodes them. Where row groups are encoded in parallel, their bytes are the same.
pub fn row_group(table: &Table, schema: &SchemaRef, batch: &RecordBatch) -> Result<RowGroup> {
    let doing = || format!("encoding {}", table.name);
    let batch = ordered(batch, table.order).doing(ErrorKind::Data, doing)?;
    let encode = || -> parquet::errors::Result<Vec<ArrowColumnChunk>> {
        let (_, factory) = writer(io::sink(), table, schema)?;
        let mut columns = factory.create_column_writers(0)?;
        for ((column, field), writer) in batch.columns().iter().zip(schema.fields()).zip(&mut columns) {
            for leaf in compute_leaves(field, column)? {
                writer.write(&leaf)?;
            }
        }
        columns.into_iter().map(|column| column.close()).collect()
    };
    Ok(RowGroup { rows: batch.num_rows() as u64, chunks: encode().doing(ErrorKind::Data, doing)? })
}

/// The rows in order of these columns, NULLs first, text by code points.
pub fn ordered(batch: &RecordBatch, order: &[&str]) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let keys: Vec<Vec<i64>> = order.iter().filter_map(|name| batch.column_by_name(name)).map(sort_key).collect();
    let compare = |a: u32, b: u32| {
        let different = keys.iter().map(|key| key[a as usize].cmp(&key[b as usize])).find(|order| order.is_ne());
        different.unwrap_or(std::cmp::Ordering::Equal)
    };
    let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
    if rows.is_sorted_by(|a, b| compare(*a, *b).is_le()) {
        return Ok(batch.clone());
    }
    rows.sort_by(|a, b| compare(*a, *b));
    take_record_batch(batch, &UInt32Array::from(rows))
}

/// Numbers that stand in the same order as the cells.
fn sort_key(column: &ArrayRef) -> Vec<i64> {
    let nulls = |row: usize, value: i64| if column.is_null(row) { i64::MIN } else { value };
    let rows = 0..column.len();
    match column.data_type() {
        DataType::Int32 => {
            let values = column.as_primitive::<Int32Type>().values();
            rows.map(|row| nulls(row, values[row].into())).collect()
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            rows.map(|row| nulls(row, values[row])).collect()
        }
        DataType::Dictionary(..) => {
            let coded = column.as_dictionary::<Int32Type>();
            let ranks = ranks(coded.values());
            let codes = coded.keys().values();
            rows.map(|row| nulls(row, ranks.get(codes[row] as usize).copied().unwrap_or_default())).collect()
        }
        _ => {
            let ranks = ranks(column);
            rows.map(|row| nulls(row, ranks[row])).collect()
        }
    }
}

/// The place of each text among the distinct ones.
fn ranks(texts: &ArrayRef) -> Vec<i64> {
    let texts = texts.as_string::<i32>();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| texts.value(index));
    let mut ranks = vec![0; texts.len()];
    let mut rank = 0;
    for (place, &index) in order.iter().enumerate() {
        if place > 0 && texts.value(index) != texts.value(order[place - 1]) {
            rank += 1;
        }
        ranks[index] = rank;
    }
    ranks
}

/// A file in the making, hashed as it is written.
pub struct TableFile {
    writer: SerializedFileWriter<Sink>,
    rows: u64,
    doing: String,
}

/// What a finished file comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub rows: u64,
    pub bytes: u64,
    pub blake3: String,
}

impl TableFile {
    pub fn create(path: &Path, table: &Table, schema: &SchemaRef) -> Result<TableFile> {
        let doing = format!("writing {}", path.display());
        let file = File::create(path).doing(ErrorKind::Io, || doing.clone())?;
        let sink = Sink { file: BufWriter::with_capacity(1 << 20, file), hasher: blake3::Hasher::new(), bytes: 0 };
        let (writer, _) = writer(sink, table, schema).doing(ErrorKind::Io, || doing.clone())?;
        Ok(TableFile { writer, rows: 0, doing })
    }

    pub fn append(&mut self, group: RowGroup) -> Result<()> {
        self.rows += group.rows;
        let append = || -> parquet::errors::Result<()> {
            let mut row_group = self.writer.next_row_group()?;
            group.chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut row_group))?;
            row_group.close().map(drop)
        };
        append().doing(ErrorKind::Io, || self.doing.clone())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Writes the footer and makes the file durable.
    pub fn finish(self) -> Result<Finished> {
        let sink = self.writer.into_inner().doing(ErrorKind::Io, || self.doing.clone())?;
        let (bytes, hash) = (sink.bytes, sink.hasher.finalize());
        let file = sink.file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).doing(ErrorKind::Io, || self.doing.clone())?;
        Ok(Finished { rows: self.rows, bytes, blake3: hash.to_hex().to_string() })
    }
}

struct Sink {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Batches of one schema as one.
pub fn concat(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let columns = (0..schema.fields().len()).map(|index| {
        let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        if parts.is_empty() {
            return Ok(arrow::array::new_empty_array(schema.field(index).data_type()));
        }
        arrow::compute::concat(&parts)
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
    let whole = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns));
    whole.doing(ErrorKind::Data, || "putting rows together".to_owned())
}
