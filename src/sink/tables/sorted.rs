//! Rows that come unit by unit, and are written in order of their keys: sorted on disk, encoded on all threads.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use tempfile::NamedTempFile;

use super::properties;
use crate::archive::row_group::{self, append};
use crate::error::{Context, ErrorKind, Result};
use crate::parallel;

/// Cells of a row group: so many are gathered and encoded at a time, on each thread. A few megabytes, whatever the table.
const ROW_GROUP_CELLS: usize = 1 << 18;

/// Rows that wait in a temporary file for their order.
pub struct SortedTable<K> {
    schema: SchemaRef,
    spool: FileWriter<BufWriter<NamedTempFile>>,
    batches: u32,
    segments: Vec<Segment<K>>,
    doing: String,
}

/// Rows of one key, side by side in a batch. In the order in which they are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment<K> {
    key: K,
    batch: u32,
    start: u32,
    rows: u32,
}

impl<K: Ord + Copy + Sync> SortedTable<K> {
    /// `folder` is where the rows wait.
    pub fn create(folder: &Path, schema: SchemaRef) -> Result<Self> {
        let doing = format!("sorting rows in {}", folder.display());
        let spool = NamedTempFile::new_in(folder).doing(ErrorKind::Io, || doing.clone())?;
        let spool = FileWriter::try_new(BufWriter::new(spool), &schema).doing(ErrorKind::Io, || doing.clone())?;
        Ok(SortedTable { schema, spool, batches: 0, segments: Vec::new(), doing })
    }

    /// One key for each row. Rows with the same key stay in their order.
    pub fn push(&mut self, batch: &RecordBatch, keys: impl Iterator<Item = K>) -> Result<()> {
        let first = self.segments.len();
        for (row, key) in (0..).zip(keys) {
            match self.segments[first..].last_mut() {
                Some(segment) if segment.key == key => segment.rows += 1,
                _ => self.segments.push(Segment { key, batch: self.batches, start: row, rows: 1 }),
            }
        }
        self.batches += 1;
        self.spool.write(batch).doing(ErrorKind::Io, || self.doing.clone())
    }

    pub fn write(mut self, path: &Path, threads: usize) -> Result<()> {
        let doing = || format!("writing {}", path.display());
        self.segments.sort_unstable();
        let spool = self.spool.into_inner().doing(ErrorKind::Io, doing)?;
        let spool = spool.into_inner().map_err(io::IntoInnerError::into_error).doing(ErrorKind::Io, doing)?;
        let file = File::create(path).doing(ErrorKind::Io, doing)?;
        let file = row_group::create(BufWriter::new(file), &self.schema, properties(&self.schema));
        let (mut writer, encoder) = file.doing(ErrorKind::Io, doing)?;
        let groups = groups(&self.segments, row_group_rows(&self.schema));
        parallel::in_order(
            threads,
            &groups,
            |segments| {
                let rows = gather(&spool, segments).doing(ErrorKind::Io, doing)?;
                encoder.encode(&rows).doing(ErrorKind::Data, doing)
            },
            |chunks| append(&mut writer, chunks).doing(ErrorKind::Io, doing),
        )?;
        let file = writer.into_inner().doing(ErrorKind::Io, doing)?;
        file.into_inner().map_err(io::IntoInnerError::into_error).doing(ErrorKind::Io, doing).map(drop)
    }
}

fn row_group_rows(schema: &SchemaRef) -> usize {
    ROW_GROUP_CELLS / schema.fields().len()
}

/// The segments of each row group.
fn groups<K>(segments: &[Segment<K>], rows_max: usize) -> Vec<&[Segment<K>]> {
    let mut groups = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (index, segment) in segments.iter().enumerate() {
        rows += segment.rows as usize;
        if rows >= rows_max || index + 1 == segments.len() {
            groups.push(&segments[start..=index]);
            (start, rows) = (index + 1, 0);
        }
    }
    groups
}

/// The rows of these segments, in their order. Of each batch only the rows that are wanted are held.
fn gather<K>(spool: &NamedTempFile, segments: &[Segment<K>]) -> std::result::Result<RecordBatch, ArrowError> {
    let mut reader = FileReader::try_new(BufReader::new(spool.reopen()?), None)?;
    let mut by_batch: Vec<(&Segment<K>, usize)> = Vec::with_capacity(segments.len());
    let mut rows = 0;
    for segment in segments {
        by_batch.push((segment, rows));
        rows += segment.rows as usize;
    }
    by_batch.sort_by_key(|(segment, _)| segment.batch);
    let mut parts = Vec::new();
    let mut places = vec![(0, 0); rows];
    for of_batch in by_batch.chunk_by(|(a, _), (b, _)| a.batch == b.batch) {
        let mut wanted = Vec::new();
        for (segment, first) in of_batch {
            for row in 0..segment.rows {
                places[first + row as usize] = (parts.len(), wanted.len());
                wanted.push(segment.start + row);
            }
        }
        reader.set_index(of_batch[0].0.batch as usize)?;
        let batch = reader.next().expect("invariant: a segment is in a batch that was written")?;
        parts.push(take_record_batch(&batch, &UInt32Array::from(wanted))?);
    }
    interleave_record_batch(&parts.iter().collect::<Vec<_>>(), &places)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::sync::Arc;

    use super::*;

    fn batch(values: &[i32]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from(values.to_vec()))]).unwrap()
    }

    /// Writes batches that are in order within each key (the hundreds), and reads the file back.
    fn sorted(batches: &[Vec<i32>], threads: usize) -> (Vec<i32>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let mut table = SortedTable::create(folder.path(), batch(&[]).schema()).unwrap();
        for values in batches {
            table.push(&batch(values), values.iter().map(|value| value / 100)).unwrap();
        }
        let path = folder.path().join("t.parquet");
        table.write(&path, threads).unwrap();
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
        let long: Vec<i32> = (0..3 * row_group_rows(&batch(&[]).schema()) as i32).rev().collect();
        let (rows, bytes) = sorted(&long.chunks(1000).map(<[i32]>::to_vec).collect::<Vec<_>>(), 2);
        assert!(rows.is_sorted_by_key(|row| row / 100) && rows.len() == long.len());
        assert_eq!(sorted(&[long], 1).1.len(), bytes.len());
    }
}
