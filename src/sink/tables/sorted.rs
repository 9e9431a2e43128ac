//! Rows that come unit by unit, and are written in order of a key: sorted in parts, encoded on all threads.
//!
//! Rows are gathered until they fill a *block*, which is put in order. The first blocks are held in memory, later ones wait on disk
//! in *slices*. A row group takes a stretch of each block, so it reads few slices however long the history is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::file::writer::SerializedFileWriter;
use tempfile::NamedTempFile;

use super::properties;
use crate::archive::row_group::{self, Encoder, append};
use crate::error::{Context, ErrorKind, Result};
use crate::parallel;

/// Cells of a row group: so many are gathered and encoded at a time, on each thread. A megabyte or two, whatever the table.
const ROW_GROUP_CELLS: usize = 1 << 17;
const BLOCK_CELLS: usize = 1 << 18;
const SLICE_CELLS: usize = 1 << 12;
/// What a table holds in memory, in bytes; a history that is longer goes to disk.
const HELD_BYTES: usize = 8 << 20;

/// Rows that wait for their order.
pub struct SortedTable {
    folder: PathBuf,
    schema: SchemaRef,
    key: Option<usize>,
    block: Vec<RecordBatch>,
    block_rows: usize,
    held: Vec<RecordBatch>,
    /// Bytes that may still be held.
    room: usize,
    spool: Option<FileWriter<BufWriter<NamedTempFile>>>,
    /// Held blocks and slices so far.
    parts: u32,
    segments: Vec<Segment>,
}

/// Rows of one key, side by side in a held block or a slice. In the order in which they are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    key: i32,
    part: u32,
    start: u32,
    rows: u32,
}

/// A key, and the batch and the row that have it.
type Place = (i32, usize, usize);

impl SortedTable {
    /// `folder` is where rows wait; `key` is the name of an `Int32` column, `None` where they come in their order.
    pub fn create(folder: &Path, schema: SchemaRef, key: Option<&str>) -> Self {
        let column = |key| schema.index_of(key).expect("invariant: the key is a column of the table");
        SortedTable {
            folder: folder.to_owned(),
            key: key.map(column),
            schema,
            block: Vec::new(),
            block_rows: 0,
            held: Vec::new(),
            room: HELD_BYTES,
            spool: None,
            parts: 0,
            segments: Vec::new(),
        }
    }

    fn doing(&self) -> String {
        format!("sorting rows in {}", self.folder.display())
    }

    /// Rows with the same key stay in the order in which they come.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.block_rows += batch.num_rows();
        self.block.push(batch);
        if self.block_rows < rows_of(BLOCK_CELLS, &self.schema) { Ok(()) } else { self.keep_block() }
    }

    fn keep_block(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        self.block_rows = 0;
        let mut order: Vec<Place> = Vec::new();
        for (number, batch) in block.iter().enumerate() {
            let keys = self.key.map(|key| batch.column(key).as_primitive::<Int32Type>().values());
            order.extend((0..batch.num_rows()).map(|row| (keys.map_or(0, |keys| keys[row]), number, row)));
        }
        order.sort_unstable();
        let places: Vec<(usize, usize)> = order.iter().map(|&(_, number, row)| (number, row)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let sorted =
            interleave_record_batch(&block.iter().collect::<Vec<_>>(), &places).doing(ErrorKind::Data, || self.doing())?;
        if let Some(room) = self.room.checked_sub(sorted.get_array_memory_size()) {
            self.room = room;
            self.add_part(&order);
            self.held.push(sorted);
            return Ok(());
        }
        self.room = 0;
        let slice_rows = rows_of(SLICE_CELLS, &self.schema);
        for (slice, first) in order.chunks(slice_rows).zip((0..).step_by(slice_rows)) {
            self.add_part(slice);
            let rows = sorted.slice(first, slice.len());
            self.spool(&rows).doing(ErrorKind::Io, || self.doing())?;
        }
        Ok(())
    }

    fn spool(&mut self, rows: &RecordBatch) -> std::result::Result<(), ArrowError> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => {
                let file = BufWriter::new(NamedTempFile::new_in(&self.folder)?);
                none.insert(FileWriter::try_new(file, &self.schema)?)
            }
        };
        spool.write(rows)
    }

    fn add_part(&mut self, order: &[Place]) {
        let mut start = 0;
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            let rows = same.len() as u32;
            self.segments.push(Segment { key: same[0].0, part: self.parts, start, rows });
            start += rows;
        }
        self.parts += 1;
    }

    /// Writes the files of these tables, each in the order of its key.
    pub fn write(tables: Vec<(SortedTable, PathBuf)>, threads: usize) -> Result<()> {
        let files = parallel::all(tables, |(table, path)| table.file(path)).into_iter().collect::<Result<Vec<_>>>()?;
        let (files, mut writers): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let groups = files.iter().enumerate().flat_map(|(index, file)| file.groups.iter().map(move |group| (index, group)));
        parallel::in_order(
            threads,
            &groups.collect::<Vec<_>>(),
            |(index, segments)| Ok((*index, files[*index].encode(segments)?)),
            |(index, chunks)| append(&mut writers[index], chunks).doing(ErrorKind::Io, || files[index].doing()),
        )?;
        files.iter().zip(writers).try_for_each(|(file, writer)| {
            let sink = writer.into_inner().doing(ErrorKind::Io, || file.doing())?;
            sink.into_inner().map_err(io::IntoInnerError::into_error).doing(ErrorKind::Io, || file.doing()).map(drop)
        })
    }

    fn file(mut self, path: PathBuf) -> Result<(SortedFile, Writer)> {
        self.keep_block()?;
        self.segments.sort_unstable();
        let doing = || format!("writing {}", path.display());
        let ended = |spool: FileWriter<BufWriter<NamedTempFile>>| -> std::result::Result<NamedTempFile, ArrowError> {
            Ok(spool.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?)
        };
        let spool = self.spool.map(ended).transpose().doing(ErrorKind::Io, doing)?;
        let file = BufWriter::new(File::create(&path).doing(ErrorKind::Io, doing)?);
        let (writer, encoder) = row_group::create(file, &self.schema, properties(&self.schema)).doing(ErrorKind::Io, doing)?;
        let groups = groups(&self.segments, rows_of(ROW_GROUP_CELLS, &self.schema) as u32);
        Ok((SortedFile { path, schema: self.schema, held: self.held, spool, groups, encoder }, writer))
    }
}

type Writer = SerializedFileWriter<BufWriter<File>>;

/// A table whose order is known.
struct SortedFile {
    path: PathBuf,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    spool: Option<NamedTempFile>,
    groups: Vec<Vec<Segment>>,
    encoder: Encoder,
}

impl SortedFile {
    fn doing(&self) -> String {
        format!("writing {}", self.path.display())
    }

    fn encode(&self, segments: &[Segment]) -> Result<Vec<ArrowColumnChunk>> {
        let rows = self.gather(segments).doing(ErrorKind::Io, || self.doing())?;
        self.encoder.encode(&rows).doing(ErrorKind::Data, || self.doing())
    }

    /// The rows of these segments, in their order.
    fn gather(&self, segments: &[Segment]) -> std::result::Result<RecordBatch, ArrowError> {
        let reopened = |spool: &NamedTempFile| FileReader::try_new(BufReader::new(spool.reopen()?), None);
        let (mut spool, mut slices) = (None, HashMap::new());
        let mut parts = Vec::with_capacity(segments.len());
        for segment in segments {
            let part = match self.held.get(segment.part as usize) {
                Some(block) => block,
                None => match slices.entry(segment.part) {
                    Entry::Occupied(slice) => slice.into_mut(),
                    Entry::Vacant(slice) => {
                        if spool.is_none() {
                            spool = self.spool.as_ref().map(reopened).transpose()?;
                        }
                        let reader = spool.as_mut().expect("invariant: what is not held is on disk");
                        reader.set_index(segment.part as usize - self.held.len())?;
                        slice.insert(reader.next().expect("invariant: a segment is in a part that was kept")?)
                    }
                },
            };
            parts.push(part.slice(segment.start as usize, segment.rows as usize));
        }
        concat_batches(&self.schema, &parts)
    }
}

fn rows_of(cells: usize, schema: &SchemaRef) -> usize {
    cells / schema.fields().len()
}

/// The segments of each row group; all but the last one are full.
fn groups(segments: &[Segment], rows_max: u32) -> Vec<Vec<Segment>> {
    let mut groups = Vec::new();
    let (mut group, mut room) = (Vec::new(), rows_max);
    for &segment in segments {
        let mut rest = segment;
        while rest.rows > 0 {
            let taken = Segment { rows: rest.rows.min(room), ..rest };
            group.push(taken);
            rest = Segment { start: rest.start + taken.rows, rows: rest.rows - taken.rows, ..rest };
            room -= taken.rows;
            if room == 0 {
                groups.push(std::mem::take(&mut group));
                room = rows_max;
            }
        }
    }
    groups.extend((!group.is_empty()).then_some(group));
    groups
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::sync::Arc;

    use super::*;

    fn batch(values: &[i32]) -> RecordBatch {
        let field = |name| Field::new(name, DataType::Int32, false);
        let schema = Arc::new(Schema::new(vec![field("n"), field("hundreds")]));
        let hundreds: Int32Array = values.iter().map(|value| value / 100).collect();
        RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from(values.to_vec())), Arc::new(hundreds)]).unwrap()
    }

    /// Writes batches that are in order within each key (the hundreds), and reads the file back; the same whatever is held in memory.
    fn sorted(batches: &[Vec<i32>], threads: usize) -> (Vec<i32>, Vec<u8>) {
        let [(rows, bytes), spooled, mixed] = [HELD_BYTES, 0, 1 << 21].map(|room| sorted_with(batches, threads, room));
        assert!(spooled.1 == bytes && mixed.1 == bytes);
        (rows, bytes)
    }

    fn sorted_with(batches: &[Vec<i32>], threads: usize, room: usize) -> (Vec<i32>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let mut table = SortedTable::create(folder.path(), batch(&[]).schema(), Some("hundreds"));
        table.room = room;
        batches.iter().for_each(|values| table.push(batch(values)).unwrap());
        let path = folder.path().join("t.parquet");
        SortedTable::write(vec![(table, path.clone())], threads).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the rows that waited are gone");
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        let rows = reader.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
        (rows, std::fs::read(&path).unwrap())
    }

    #[test]
    fn rows_come_out_in_order_of_their_keys_whatever_the_threads() {
        let batches = [vec![500, 501, 100], vec![], vec![300, 301, 900], vec![102, 502]];
        let (rows, bytes) = sorted(&batches, 1);
        assert_eq!(rows, [100, 102, 300, 301, 500, 501, 502, 900]);
        assert_eq!(sorted(&batches, 3).1, bytes);
        assert_eq!(sorted(&[], 2).0, [0; 0]);
    }

    #[test]
    fn row_groups_end_where_they_are_full() {
        let long: Vec<i32> = (0..3 * rows_of(ROW_GROUP_CELLS, &batch(&[]).schema()) as i32).rev().collect();
        let (rows, bytes) = sorted(&long.chunks(1000).map(<[i32]>::to_vec).collect::<Vec<_>>(), 2);
        assert!(rows.is_sorted_by_key(|row| row / 100) && rows.len() == long.len());
        assert_eq!(sorted(&[long], 1).1, bytes);
    }
}
