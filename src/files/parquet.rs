//! The one writer of Parquet files: row groups are encoded for themselves, so that threads can share a file, and put into it one
//! after the other. The file is hashed and counted as it is written. What decides the bytes of a table (its properties) is the
//! caller's choice.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::hashed::{Hashed, HashedFile};
use crate::error::{Context, ErrorKind, Result};

/// Rows as a finished row group: encoded and compressed, in memory.
#[derive(Debug)]
pub struct RowGroup {
    pub rows: u64,
    /// Encoded.
    pub bytes: u64,
    chunks: Vec<ArrowColumnChunk>,
}

/// Encodes row groups of one schema.
pub struct Encoder {
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
}

impl Encoder {
    /// An encoder without a file. Its row groups can go into any file of the same schema and properties.
    pub fn new(schema: &SchemaRef, properties: WriterProperties) -> parquet::errors::Result<Encoder> {
        create(io::sink(), schema, properties).map(|(_, encoder)| encoder)
    }

    /// These rows as one row group.
    pub fn encode(&self, rows: &RecordBatch) -> parquet::errors::Result<RowGroup> {
        let mut group = self.begin()?;
        group.write(rows)?;
        group.finish()
    }

    /// A row group whose rows come little by little.
    pub fn begin(&self) -> parquet::errors::Result<GrowingGroup> {
        Ok(GrowingGroup { schema: self.schema.clone(), columns: self.factory.create_column_writers(0)?, rows: 0 })
    }
}

/// A row group in the making.
pub struct GrowingGroup {
    schema: SchemaRef,
    columns: Vec<ArrowColumnWriter>,
    rows: u64,
}

impl GrowingGroup {
    pub fn write(&mut self, rows: &RecordBatch) -> parquet::errors::Result<()> {
        for ((column, field), writer) in rows.columns().iter().zip(self.schema.fields()).zip(&mut self.columns) {
            compute_leaves(field, column)?.iter().try_for_each(|leaf| writer.write(leaf))?;
        }
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn finish(self) -> parquet::errors::Result<RowGroup> {
        let chunks = self.columns.into_iter().map(ArrowColumnWriter::close).collect::<parquet::errors::Result<Vec<_>>>()?;
        let bytes = chunks.iter().map(|chunk| chunk.close().bytes_written).sum();
        Ok(RowGroup { rows: self.rows, bytes, chunks })
    }
}

fn create<W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    properties: WriterProperties,
) -> parquet::errors::Result<(SerializedFileWriter<W>, Encoder)> {
    let options = ArrowWriterOptions::new().with_properties(properties);
    let (writer, factory) = ArrowWriter::try_new_with_options(sink, schema.clone(), options)?.into_serialized_writer()?;
    Ok((writer, Encoder { schema: schema.clone(), factory }))
}

/// A Parquet file in the making.
pub struct ParquetFile {
    writer: SerializedFileWriter<HashedFile>,
    rows: u64,
    doing: String,
}

/// A finished file. Making it durable is left to the caller.
pub struct Finished {
    pub file: File,
    pub rows: u64,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub blake3: String,
}

impl ParquetFile {
    /// A new file with these properties, and what encodes its row groups.
    pub fn create(path: &Path, schema: &SchemaRef, properties: WriterProperties) -> Result<(ParquetFile, Encoder)> {
        let doing = format!("writing {}", path.display());
        let file = File::create(path).doing(ErrorKind::Io, || doing.clone())?;
        let (writer, encoder) = create(HashedFile::new(file), schema, properties).doing(ErrorKind::Io, || doing.clone())?;
        Ok((ParquetFile { writer, rows: 0, doing }, encoder))
    }

    /// Puts a row group at the end of the file.
    pub fn append(&mut self, group: RowGroup) -> Result<()> {
        self.rows += group.rows;
        let RowGroup { chunks, .. } = group;
        let append = |writer: &mut SerializedFileWriter<HashedFile>| {
            let mut row_group = writer.next_row_group()?;
            chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut row_group))?;
            row_group.close().map(drop)
        };
        append(&mut self.writer).doing(ErrorKind::Io, || self.doing.clone())
    }

    /// Rows of the row groups so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the row groups so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// What is being done, for the context of an error.
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// Writes the footer.
    pub fn finish(self) -> Result<Finished> {
        let ParquetFile { writer, rows, doing } = self;
        let file = writer.into_inner().doing(ErrorKind::Io, || doing.clone())?;
        let Hashed { file, bytes, blake3 } = file.finish().doing(ErrorKind::Io, || doing)?;
        Ok(Finished { file, rows, bytes, blake3 })
    }
}
