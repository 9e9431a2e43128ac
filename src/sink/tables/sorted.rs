//! Rows that come unit by unit, and are written in order of a key.
//!
//! They wait in memory as they come. Once they are more than it should hold, they wait on disk, all of them: in *blocks*, each put
//! in order and cut into *slices*. A row group takes a stretch of each block, so it reads few slices however long the history is.

use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use tempfile::NamedTempFile;

use super::groups::{ROW_GROUP_CELLS, RowGroups};
use crate::error::{Context, ErrorKind, Result};

/// Cells of a slice; a block has as many as a row group.
const SLICE_CELLS: usize = 1 << 11;
/// What a table holds in memory, in bytes.
const HELD_BYTES: usize = 12 << 20;

/// Rows that wait for their order.
pub struct SortedTable {
    folder: PathBuf,
    schema: SchemaRef,
    key: usize,
    /// Rows in memory as they came: all of them, or with a spool those of the next block.
    held: Vec<RecordBatch>,
    /// Bytes that may still be held before there is a spool.
    room: usize,
    spool: Option<Spool>,
}

/// Slices on disk.
struct Spool {
    file: FileWriter<BufWriter<NamedTempFile>>,
    segments: Segments,
}

/// Where the rows of each key are.
#[derive(Default)]
struct Segments {
    list: Vec<Segment>,
    /// Parts so far.
    parts: u32,
}

/// Rows of one key, side by side in a *part*: a batch as it came, or a slice. In the order in which they are to be written.
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
            spool: None,
        }
    }

    /// Rows with the same key stay in the order in which they come.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let room = self.room.checked_sub(batch.get_array_memory_size());
        self.held.push(batch);
        match room {
            Some(room) if self.spool.is_none() => {
                self.room = room;
                Ok(())
            }
            _ => self.spool_blocks(),
        }
    }

    /// Puts what is held on disk, but for the rows that don't fill a block.
    fn spool_blocks(&mut self) -> Result<()> {
        let doing = || sorting(&self.folder);
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::create(&self.folder, &self.schema).doing(ErrorKind::Io, doing)?),
        };
        let full = rows_of(ROW_GROUP_CELLS, &self.schema);
        let (mut block, mut rows) = (Vec::new(), 0);
        for batch in std::mem::take(&mut self.held) {
            rows += batch.num_rows();
            block.push(batch);
            if rows >= full {
                spool.block(&std::mem::take(&mut block), self.key).doing(ErrorKind::Io, doing)?;
                rows = 0;
            }
        }
        self.held = block;
        Ok(())
    }

    /// Ends it: all rows are there.
    pub fn sorted(self) -> Result<Sorted> {
        let doing = || sorting(&self.folder);
        let (parts, mut segments) = match self.spool {
            Some(mut spool) => {
                spool.block(&self.held, self.key).doing(ErrorKind::Io, doing)?;
                (Parts::OnDisk(ended(spool.file).doing(ErrorKind::Io, doing)?), spool.segments)
            }
            None => {
                let mut segments = Segments::default();
                self.held.iter().for_each(|batch| segments.add_part(keys(batch, self.key).iter().copied()));
                (Parts::Held(self.held), segments)
            }
        };
        segments.list.sort_unstable();
        let groups = groups(&segments.list, rows_of(ROW_GROUP_CELLS, &self.schema) as u32);
        Ok(Sorted { schema: self.schema, parts, groups })
    }
}

fn sorting(folder: &Path) -> String {
    format!("sorting rows in {}", folder.display())
}

fn keys(batch: &RecordBatch, key: usize) -> &[i32] {
    batch.column(key).as_primitive::<Int32Type>().values()
}

impl Spool {
    fn create(folder: &Path, schema: &SchemaRef) -> std::result::Result<Spool, ArrowError> {
        let file = BufWriter::new(NamedTempFile::new_in(folder)?);
        Ok(Spool { file: FileWriter::try_new(file, schema)?, segments: Segments::default() })
    }

    fn block(&mut self, block: &[RecordBatch], key: usize) -> std::result::Result<(), ArrowError> {
        let mut order: Vec<(i32, usize, usize)> = Vec::new();
        for (number, batch) in block.iter().enumerate() {
            order.extend(keys(batch, key).iter().enumerate().map(|(row, key)| (*key, number, row)));
        }
        order.sort_unstable();
        let batches: Vec<&RecordBatch> = block.iter().collect();
        for slice in order.chunks(rows_of(SLICE_CELLS, self.file.schema())) {
            self.segments.add_part(slice.iter().map(|(key, ..)| *key));
            let places: Vec<(usize, usize)> = slice.iter().map(|&(_, number, row)| (number, row)).collect();
            self.file.write(&interleave_record_batch(&batches, &places)?)?;
        }
        Ok(())
    }
}

fn ended(spool: FileWriter<BufWriter<NamedTempFile>>) -> std::result::Result<NamedTempFile, ArrowError> {
    Ok(spool.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?)
}

impl Segments {
    fn add_part(&mut self, keys: impl IntoIterator<Item = i32>) {
        let first = self.list.len();
        for (row, key) in (0..).zip(keys) {
            match self.list[first..].last_mut() {
                Some(segment) if segment.key == key => segment.rows += 1,
                _ => self.list.push(Segment { key, part: self.parts, start: row, rows: 1 }),
            }
        }
        self.parts += 1;
    }
}

/// A table whose order is known.
pub struct Sorted {
    schema: SchemaRef,
    parts: Parts,
    groups: Vec<Vec<Segment>>,
}

enum Parts {
    Held(Vec<RecordBatch>),
    OnDisk(NamedTempFile),
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
        let batches = self.parts.read(&parts)?;
        let places = segments.iter().flat_map(|segment| {
            let batch = parts.partition_point(|part| *part < segment.part as usize);
            (segment.start..segment.start + segment.rows).map(move |row| (batch, row as usize))
        });
        interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &places.collect::<Vec<_>>())
    }
}

impl Parts {
    fn read(&self, parts: &[usize]) -> std::result::Result<Vec<RecordBatch>, ArrowError> {
        let spool = match self {
            Parts::Held(held) => return Ok(parts.iter().map(|part| held[*part].clone()).collect()),
            Parts::OnDisk(spool) => spool,
        };
        let mut reader = FileReader::try_new(BufReader::new(spool.reopen()?), None)?;
        let slice = |part: &usize| {
            reader.set_index(*part)?;
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

    use arrow_array::Int32Array;
    use arrow_schema::{DataType, Field, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::super::{Encoding, groups};
    use super::*;

    fn batch(values: &[i32]) -> RecordBatch {
        let field = |name| Field::new(name, DataType::Int32, false);
        let schema = Arc::new(Schema::new(vec![field("n"), field("hundreds")]));
        let hundreds: Int32Array = values.iter().map(|value| value / 100).collect();
        RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from(values.to_vec())), Arc::new(hundreds)]).unwrap()
    }

    /// Writes batches that are in order within each key (the hundreds), and reads the file back; the same wherever rows wait.
    fn sorted(batches: &[Vec<i32>], threads: usize) -> (Vec<i32>, Vec<u8>) {
        let [(rows, bytes), spooled, later] = [HELD_BYTES, 0, 1 << 21].map(|room| sorted_with(batches, threads, room));
        assert!(spooled.1 == bytes && later.1 == bytes);
        (rows, bytes)
    }

    fn sorted_with(batches: &[Vec<i32>], threads: usize, room: usize) -> (Vec<i32>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let mut table = SortedTable::create(folder.path(), batch(&[]).schema(), "hundreds");
        table.room = room;
        batches.iter().for_each(|values| table.push(batch(values)).unwrap());
        let path = folder.path().join("t.parquet");
        groups::write(&[(path.clone(), &table.sorted().unwrap())], threads, Encoding::Plain).unwrap();
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
