//! Row groups that are encoded for themselves, so that threads can share a file, and then put into it one after the other.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

/// A file with these properties, and what encodes its row groups. To encode alone, the file goes to [`std::io::sink`].
pub fn create<W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    properties: WriterProperties,
) -> Result<(SerializedFileWriter<W>, Encoder)> {
    let options = ArrowWriterOptions::new().with_properties(properties);
    let (writer, factory) = ArrowWriter::try_new_with_options(sink, schema.clone(), options)?.into_serialized_writer()?;
    Ok((writer, Encoder { schema: schema.clone(), factory }))
}

/// Encodes row groups.
pub struct Encoder {
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
}

impl Encoder {
    /// The rows, encoded and compressed, a chunk for each column.
    pub fn encode(&self, rows: &RecordBatch) -> Result<Vec<ArrowColumnChunk>> {
        let mut columns = self.factory.create_column_writers(0)?;
        for ((column, field), writer) in rows.columns().iter().zip(self.schema.fields()).zip(&mut columns) {
            compute_leaves(field, column)?.iter().try_for_each(|leaf| writer.write(leaf))?;
        }
        columns.into_iter().map(|column| column.close()).collect()
    }
}

/// Puts a row group at the end of the file.
pub fn append<W: Write + Send>(writer: &mut SerializedFileWriter<W>, chunks: Vec<ArrowColumnChunk>) -> Result<()> {
    let mut row_group = writer.next_row_group()?;
    chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut row_group))?;
    row_group.close().map(drop)
}
