//! Rows that come unit by unit, and are written in order of a key: put in order in parts.
//!
//! The first batches are held in memory as they come. Later ones are gathered until they fill a *block*, which is put in order and
//! waits on disk, cut into *slices*. A row group takes a stretch of each block, so it reads few slices however long the history is.

use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use tempfile::NamedTempFile;

use super::groups::{ROW_GROUP_CELLS, RowGroups};
use crate::error::{Context, ErrorKind, Result};

/// Cells of a slice; a block has as many as a row group.
const SLICE_CELLS: usize = 1 << 11;
/// What a table holds in memory, in bytes; a history that is longer goes to disk.
const HELD_BYTES: usize = 8 << 20;

/// Rows that wait for their order.
pub struct SortedTable {
    folder: PathBuf,
    schema: SchemaRef,
    key: usize,
    held: Vec<RecordBatch>,
    /// Bytes that may still be held.
    room: usize,
    block: Vec<RecordBatch>,
    block_rows: usize,
    spool: Option<FileWriter<BufWriter<NamedTempFile>>>,
    /// Held batches and slices so far.
    parts: u32,
    segments: Vec<Segment>,
}

/// Rows of one key, side by side in a held batch or a slice. In the order in which they are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    key: i32,
    part: u32,
    start: u32,
    rows: u32,
}

impl SortedTable {
    /// `folder` is where rows wait; `key` is the name of an `Int32` column.
    pub fn create(folder: &Path, schema: SchemaRef, key: &str) -> Self {
        SortedTable {
            folder: folder.to_owned(),
            key: schema.index_of(key).expect("invariant: the key is a column of the table"),
            schema,
            held: Vec::new(),
            room: HELD_BYTES,
            block: Vec::new(),
            block_rows: 0,
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
        if let Some(room) = self.room.checked_sub(batch.get_array_memory_size()) {
            self.room = room;
            let keys = self.keys(&batch);
            self.add_part(keys);
            self.held.push(batch);
            return Ok(());
        }
        // What is held comes before what is on disk.
        self.room = 0;
        self.block_rows += batch.num_rows();
        self.block.push(batch);
        if self.block_rows < rows_of(ROW_GROUP_CELLS, &self.schema) { Ok(()) } else { self.spool_block() }
    }

    fn keys(&self, batch: &RecordBatch) -> Vec<i32> {
        batch.column(self.key).as_primitive::<Int32Type>().values().to_vec()
    }

    fn spool_block(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        self.block_rows = 0;
        let mut order: Vec<(i32, usize, usize)> = Vec::new();
        for (number, batch) in block.iter().enumerate() {
            order.extend(self.keys(batch).into_iter().enumerate().map(|(row, key)| (key, number, row)));
        }
        order.sort_unstable();
        let batches: Vec<&RecordBatch> = block.iter().collect();
        for slice in order.chunks(rows_of(SLICE_CELLS, &self.schema)) {
            self.add_part(slice.iter().map(|(key, ..)| *key));
            let places: Vec<(usize, usize)> = slice.iter().map(|&(_, number, row)| (number, row)).collect();
            let rows = interleave_record_batch(&batches, &places).doing(ErrorKind::Data, || self.doing())?;
            self.spool(&rows).doing(ErrorKind::Io, || self.doing())?;
        }
        Ok(())
    }

    fn add_part(&mut self, keys: impl IntoIterator<Item = i32>) {
        let first = self.segments.len();
        for (row, key) in (0..).zip(keys) {
            match self.segments[first..].last_mut() {
                Some(segment) if segment.key == key => segment.rows += 1,
                _ => self.segments.push(Segment { key, part: self.parts, start: row, rows: 1 }),
            }
        }
        self.parts += 1;
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

    /// Ends it: all rows are there.
    pub fn sorted(mut self) -> Result<Sorted> {
        self.spool_block()?;
        self.segments.sort_unstable();
        let ended = |spool: FileWriter<BufWriter<NamedTempFile>>| -> std::result::Result<NamedTempFile, ArrowError> {
            Ok(spool.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?)
        };
        let doing = format!("sorting rows in {}", self.folder.display());
        let spool = self.spool.map(ended).transpose().doing(ErrorKind::Io, || doing)?;
        let groups = groups(&self.segments, rows_of(ROW_GROUP_CELLS, &self.schema) as u32);
        Ok(Sorted { schema: self.schema, held: self.held, spool, groups })
    }
}

/// A table whose order is known.
pub struct Sorted {
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    spool: Option<NamedTempFile>,
    groups: Vec<Vec<Segment>>,
}

impl RowGroups for Sorted {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn groups(&self) -> usize {
        self.groups.len()
    }

    fn rows(&self, group: usize) -> std::result::Result<RecordBatch, ArrowError> {
        let segments = &self.groups[group];
        let mut parts: Vec<usize> = segments.iter().map(|segment| segment.part as usize).collect();
        parts.sort_unstable();
        parts.dedup();
        let (held, spooled) = parts.split_at(parts.partition_point(|part| *part < self.held.len()));
        let slices = if spooled.is_empty() { Vec::new() } else { self.slices(spooled)? };
        let batches: Vec<&RecordBatch> = held.iter().map(|part| &self.held[*part]).chain(&slices).collect();
        let places = segments.iter().flat_map(|segment| {
            let batch = parts.partition_point(|part| *part < segment.part as usize);
            (segment.start..segment.start + segment.rows).map(move |row| (batch, row as usize))
        });
        interleave_record_batch(&batches, &places.collect::<Vec<_>>())
    }
}

impl Sorted {
    /// Parts that are on disk.
    fn slices(&self, parts: &[usize]) -> std::result::Result<Vec<RecordBatch>, ArrowError> {
        let spool = self.spool.as_ref().expect("invariant: what is not held is on disk");
        let mut reader = FileReader::try_new(BufReader::new(spool.reopen()?), None)?;
        let slice = |part: &usize| {
            reader.set_index(part - self.held.len())?;
            reader.next().expect("invariant: a segment is in a slice that was written")
        };
        parts.iter().map(slice).collect()
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
    use std::fs::File;
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::super::groups;
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
        let mut table = SortedTable::create(folder.path(), batch(&[]).schema(), "hundreds");
        table.room = room;
        batches.iter().for_each(|values| table.push(batch(values)).unwrap());
        let path = folder.path().join("t.parquet");
        groups::write(&[(path.clone(), &table.sorted().unwrap())], threads).unwrap();
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
