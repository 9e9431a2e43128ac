//! A big table without an index on its run: copied once, in order of runs, into a temporary file from which any run is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::ids::RunId;
use crate::source::ipc::{IpcFile, IpcWriter};
use crate::source::layout::Layout;

const BUFFER_BYTES: usize = 1 << 20;

/// The rows of a table by run.
#[derive(Debug)]
pub struct Spool {
    table: &'static str,
    schema: SchemaRef,
    file: IpcFile,
    batches: HashMap<i32, Range<usize>>,
}

/// A spool in the making; rows come in order of their runs.
pub struct SpoolWriter {
    table: &'static str,
    schema: SchemaRef,
    run_column: usize,
    writer: IpcWriter<BufWriter<File>>,
    batches: HashMap<i32, Range<usize>>,
    written: usize,
}

impl SpoolWriter {
    /// A file without a name: it is gone with the process, however that ends.
    pub fn create(layout: &Layout, dir: &Path) -> Result<SpoolWriter> {
        let doing = || format!("copying {} into a temporary file in {}", layout.table, dir.display());
        let file = tempfile::tempfile_in(dir).doing(ErrorKind::Io, doing)?;
        let schema = layout.schema();
        let run_column = schema.index_of("run_id").expect("every table that is spooled has a run");
        let writer = IpcWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file), &schema);
        let writer = writer.map_err(|e| cannot_spool(layout.table, e))?;
        Ok(SpoolWriter { table: layout.table, schema, run_column, writer, batches: HashMap::new(), written: 0 })
    }

    /// Appends rows, cut where the run changes.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let runs = batch.column(self.run_column).as_primitive::<Int32Type>();
        let mut start = 0;
        for rows in runs.values().chunk_by(i32::eq) {
            self.append_run(rows[0], &batch.slice(start, rows.len()))?;
            start += rows.len();
        }
        Ok(())
    }

    fn append_run(&mut self, run: i32, rows: &RecordBatch) -> Result<()> {
        let index = self.written;
        let batches = self.batches.entry(run).or_insert(index..index);
        if batches.end != index {
            return Err(Error::new(ErrorKind::Data, format!("reading {}", self.table), format!("run {run} came twice")));
        }
        batches.end += 1;
        self.written += 1;
        self.writer.write(rows).map_err(|e| cannot_spool(self.table, e))
    }

    pub fn finish(self) -> Result<Spool> {
        let cannot = |e| cannot_spool(self.table, e);
        let file = self.writer.finish().map_err(cannot)?.into_inner().map_err(|e| cannot(e.into_error().into()))?;
        let file = IpcFile::open(file).map_err(cannot)?;
        Ok(Spool { table: self.table, schema: self.schema, file, batches: self.batches })
    }
}

impl Spool {
    /// The rows of one run.
    pub fn read(&self, run: RunId) -> Result<RecordBatch> {
        let batches = self.batches.get(&run.0).cloned().unwrap_or(0..0);
        let batches = batches.map(|index| self.file.batch(index, &self.schema)).collect::<std::result::Result<Vec<_>, _>>();
        let batch = batches.and_then(|batches| match batches.as_slice() {
            [one] => Ok(one.clone()),
            several => concat_batches(&self.schema, several),
        });
        batch.map_err(|e| cannot_spool(self.table, e))
    }
}

#[cold]
fn cannot_spool(table: &str, error: ArrowError) -> Error {
    let detail = match &error {
        ArrowError::IoError(_, e) => e.to_string(),
        other => other.to_string(),
    };
    let hint = format!("choose a folder with more room by TMPDIR, or CREATE INDEX CONCURRENTLY ON {table} (run_id)");
    Error::new(ErrorKind::Io, format!("copying {table} into a temporary file"), detail).hint(hint).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{DictionaryArray, Int32Array};
    use arrow_schema::{DataType, Field};

    use super::*;
    use crate::model::columns::Type;
    use crate::model::evidence::Wire;
    use crate::source::layout::LayoutColumn;

    fn layout() -> Layout {
        let column = |name: &'static str, wire| LayoutColumn { name: name.into(), wire, nullable: false };
        Layout { table: "t", columns: vec![column("run_id", Wire::Plain(Type::Int32)), column("name", Wire::Plain(Type::Text))] }
    }

    fn batch(runs: &[i32]) -> RecordBatch {
        let names: Vec<String> = runs.iter().map(|run| format!("of {run}")).collect();
        let names: DictionaryArray<Int32Type> = names.iter().map(String::as_str).collect();
        RecordBatch::try_new(layout().schema(), vec![Arc::new(Int32Array::from(runs.to_vec())), Arc::new(names)]).unwrap()
    }

    #[test]
    fn runs_come_back_whole_however_they_were_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SpoolWriter::create(&layout(), dir.path()).unwrap();
        for runs in [&[1, 1][..], &[1, 2], &[], &[4, 4, 5]] {
            writer.append(&batch(runs)).unwrap();
        }
        let spool = writer.finish().unwrap();
        for (run, rows) in [(1, 3), (2, 1), (3, 0), (4, 2), (5, 1)] {
            let read = spool.read(RunId(run)).unwrap();
            assert_eq!(read.num_rows(), rows, "run {run}");
            let names = read.column(1).as_dictionary::<Int32Type>().downcast_dict::<arrow_array::StringArray>().unwrap();
            assert!(names.into_iter().all(|name| name == Some(&format!("of {run}"))));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn a_run_that_comes_twice_is_an_error() {
        let mut writer = SpoolWriter::create(&layout(), &std::env::temp_dir()).unwrap();
        let error = writer.append(&batch(&[1, 2, 1])).unwrap_err();
        assert_eq!(error.to_string(), "reading t: run 1 came twice");
    }

    #[test]
    fn every_table_that_is_read_by_run_has_one() {
        for table in crate::model::evidence::RUN_TABLES {
            let field = Field::new("run_id", DataType::Int32, false);
            assert_eq!(table.schema().field_with_name("run_id").unwrap(), &field);
        }
    }
}
