//! Reads Parquet files of an archive back, in the schema that a reader asks for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::Statistics;

use crate::error::Result;
use crate::files::decode::decoding;
use crate::files::{bounds, pages};

use super::beside::BesideEntry;
use super::encoding::concat;
use super::manifest::{FileEntry, Manifest, damaged};
use super::storage::Storage;
use super::tables::Table;

/// Bytes of files that are kept after their first use, so that a day of many runs is fetched once.
const KEPT_BYTES: usize = 256 << 20;

/// Files of one archive, fetched whole and held against their hashes.
#[derive(Debug)]
pub struct Reader {
    storage: Storage,
    manifest: Manifest,
    /// Oldest first.
    kept: Mutex<VecDeque<(String, Bytes)>>,
    /// By folder.
    lacking: Mutex<BTreeMap<String, Vec<&'static str>>>,
}

impl Reader {
    pub fn new(storage: Storage, manifest: Manifest) -> Reader {
        Reader { storage, manifest, kept: Mutex::default(), lacking: Mutex::default() }
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The rows of a partition in this schema; with `run`, only of the row groups that hold it alone.
    pub fn rows(&self, table: &Table, partition: &str, schema: &SchemaRef, run: Option<i32>) -> Result<RecordBatch> {
        self.rows_from(table, partition, schema, run, true)
    }

    /// As [`Reader::rows`], of the files that are there and have the size that they must have.
    pub fn rows_there(&self, table: &Table, partition: &str, schema: &SchemaRef, run: Option<i32>) -> Result<RecordBatch> {
        self.rows_from(table, partition, schema, run, false)
    }

    /// Which of a table's keys no file of a partition has: it was written before there were any.
    pub fn lacking(&self, table: &Table, partition: &str) -> Result<Vec<&'static str>> {
        if table.keys.is_empty() {
            return Ok(Vec::new());
        }
        let folder = table.folder(partition);
        let known = || self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lacking) = known().get(&folder) {
            return Ok(lacking.clone());
        }
        let mut lacking: Vec<&'static str> = table.keys.iter().map(|(name, _)| *name).collect();
        for (path, entry) in self.manifest.partition(table, partition) {
            let Some(content) = self.content(path, entry)? else { continue };
            let columns = decoding(|| columns_of(&content), ParquetError::General);
            let columns = columns.map_err(|e| damaged(&self.storage, path, &format!("is damaged: {e}")))?;
            lacking.retain(|name| !columns.iter().any(|column| column == name));
        }
        known().insert(folder, lacking.clone());
        Ok(lacking)
    }

    /// The rows of a file beside the tables; `None` where it is missing or cut off.
    pub fn beside(&self, path: &str, entry: &BesideEntry, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let Some(content) = self.storage.read(path)?.filter(|content| is_it(content, entry.bytes, &entry.blake3)) else {
            return Ok(None);
        };
        let decoded = rows_of(&content, schema, None);
        concat(schema, &decoded.map_err(|e| damaged(&self.storage, path, &format!("is damaged: {e}")))?).map(Some)
    }

    fn rows_from(
        &self,
        table: &Table,
        partition: &str,
        schema: &SchemaRef,
        run: Option<i32>,
        is_needed: bool,
    ) -> Result<RecordBatch> {
        let mut batches = Vec::new();
        for (path, entry) in self.manifest.partition(table, partition) {
            let content = match self.content(path, entry)? {
                Some(content) => content,
                None if is_needed => return Err(damaged(&self.storage, path, "is missing, or not whole")),
                None => continue,
            };
            let decoded = rows_of(&content, schema, run);
            batches.extend(decoded.map_err(|e| damaged(&self.storage, path, &format!("is damaged: {e}")))?);
        }
        concat(schema, &batches)
    }

    /// The bytes of a file, as the manifest knows them; `None` where it is missing or cut off.
    fn content(&self, path: &str, entry: &FileEntry) -> Result<Option<Bytes>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, content)) = kept().iter().find(|(name, _)| name == path) {
            return Ok(Some(content.clone()));
        }
        let whole = |content: &Bytes| content.len() as u64 == entry.bytes;
        let Some(content) = self.storage.read_or_replaced(path)?.filter(whole) else { return Ok(None) };
        if blake3::hash(&content).to_hex().as_str() != entry.blake3 {
            return Err(damaged(&self.storage, path, "does not match its hash"));
        }
        let mut kept = kept();
        kept.push_back((path.to_owned(), content.clone()));
        while kept.iter().map(|(_, content)| content.len()).sum::<usize>() > KEPT_BYTES {
            kept.pop_front();
        }
        Ok(Some(content))
    }
}

/// Whether this is what was written.
pub fn is_it(content: &Bytes, bytes: u64, blake3: &str) -> bool {
    content.len() as u64 == bytes && blake3::hash(content).to_hex().as_str() == blake3
}

fn columns_of(content: &Bytes) -> std::result::Result<Vec<String>, ParquetError> {
    let footer = ArrowReaderMetadata::load(content, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    Ok(footer.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// The rows that a file counts in its footer.
pub fn rows_in(content: &impl ChunkReader) -> std::result::Result<u64, ParquetError> {
    let count = || {
        let metadata = ArrowReaderMetadata::load(content, ArrowReaderOptions::new())?;
        let metadata = metadata.metadata();
        bounds::check_footer(metadata, content.len()).map_err(|e| ParquetError::External(Box::new(e)))?;
        pages::check(metadata, content)?;
        let groups: i64 = metadata.row_groups().iter().map(|group| group.num_rows()).sum();
        let rows = metadata.file_metadata().num_rows();
        u64::try_from(rows)
            .ok()
            .filter(|_| rows == groups)
            .ok_or_else(|| ParquetError::General("its rows do not add up".to_owned()))
    };
    decoding(count, ParquetError::General)
}

/// What is wrong with a file, whose every row is decoded for it.
#[cfg(feature = "query")]
pub fn fault_of(content: &Bytes) -> Option<String> {
    let whole = || {
        // As the engine reads it: with the schema that Arrow's writer has left beside the file's own.
        ArrowReaderMetadata::load(content, ArrowReaderOptions::new())?;
        let footer = ArrowReaderMetadata::load(content, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
        decode(content, footer.schema(), None).map(drop)
    };
    decoding(whole, ParquetError::General).err().map(|e| e.to_string())
}

/// The rows of a file, of one run where it is asked for; whatever its bytes are.
pub fn rows_of(content: &Bytes, schema: &SchemaRef, run: Option<i32>) -> std::result::Result<Vec<RecordBatch>, ParquetError> {
    decoding(|| decode(content, schema, run), ParquetError::General)
}

/// The rows of a file. A nullable column that an older format lacks is NULL throughout.
fn decode(content: &Bytes, wanted: &SchemaRef, run: Option<i32>) -> std::result::Result<Vec<RecordBatch>, ParquetError> {
    let found = ArrowReaderMetadata::load(content, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    let fields = found.schema().fields().iter().map(|field| {
        let same =
            wanted.fields().iter().find(|wanted| [wanted.name(), former_name(wanted.name())].contains(&field.name().as_str()));
        let kind = same.unwrap_or(field).data_type();
        Field::new(field.name(), kind.clone(), field.is_nullable())
    });
    let schema = bounds::coded(&Arc::new(Schema::new(fields.collect::<Vec<_>>())));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(schema);
    let mut builder = ParquetRecordBatchReaderBuilder::try_new_with_options(content.clone(), options)?;
    let external = |e| ParquetError::External(Box::new(e));
    let mut room = bounds::check_footer(builder.metadata(), content.len() as u64).map_err(external)?;
    pages::check(builder.metadata(), content)?;
    if let Some(run) = run {
        let groups = builder.metadata().row_groups().iter().enumerate().filter(|(_, group)| holds(group, run));
        let groups = groups.map(|(index, _)| index).collect();
        builder = builder.with_row_groups(groups);
    }
    let names = wanted.fields().iter().flat_map(|field| [field.name().as_str(), former_name(field.name())]);
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let reader = builder.with_projection(mask).with_batch_size(bounds::BATCH_ROWS).build()?;
    let fit = |batch: std::result::Result<RecordBatch, _>| {
        let batch = fitted(&batch?, &bounds::coded(wanted))?;
        room.take_rows(&batch, wanted).map_err(external)?;
        Ok(bounds::plain(&batch, wanted)?)
    };
    reader.map(fit).collect()
}

/// What files of the first version call a column.
fn former_name(column: &str) -> &str {
    match column {
        "source_table" => "table",
        same => same,
    }
}

fn fitted(batch: &RecordBatch, wanted: &SchemaRef) -> std::result::Result<RecordBatch, arrow_schema::ArrowError> {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let found = [field.name(), former_name(field.name())].into_iter().find_map(|name| batch.column_by_name(name).cloned());
        found.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    };
    RecordBatch::try_new(wanted.clone(), wanted.fields().iter().map(column).collect())
}

/// Row groups of runs hold one run each, so its statistics name it.
fn holds(group: &RowGroupMetaData, run: i32) -> bool {
    let column = group.columns().iter().find(|column| column.column_path().string() == "run_id");
    match column.and_then(|column| column.statistics()) {
        Some(Statistics::Int32(range)) => range.min_opt() <= Some(&run) && Some(&run) <= range.max_opt(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{Array, Int32Array, StringArray};
    use arrow_schema::DataType;
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn file(groups: &[&[i32]]) -> Bytes {
        let field = |name, kind| Field::new(name, kind, true);
        let schema = Arc::new(Schema::new(vec![field("name", DataType::Utf8), field("run_id", DataType::Int32)]));
        let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
        for runs in groups {
            let names: StringArray = runs.iter().map(|run| Some(format!("run {run}"))).collect();
            let runs = Int32Array::from(runs.to_vec());
            writer.write(&RecordBatch::try_new(schema.clone(), vec![Arc::new(names), Arc::new(runs)]).unwrap()).unwrap();
            writer.flush().unwrap();
        }
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn a_column_that_an_older_file_lacks_is_null_and_one_that_is_not_asked_for_is_left_out() {
        let wanted = Arc::new(Schema::new(vec![
            Field::new("run_id", DataType::Int32, true),
            Field::new("later", DataType::Float64, true),
        ]));
        let found = concat(&wanted, &decode(&file(&[&[1, 1], &[2]]), &wanted, None).unwrap()).unwrap();
        assert_eq!(found.column(0).as_primitive::<Int32Type>().values(), &[1, 1, 2]);
        assert_eq!((found.num_columns(), found.column(1).null_count()), (2, 3));
        let never_null = Arc::new(Schema::new(vec![Field::new("later", DataType::Float64, false)]));
        assert!(decode(&file(&[&[1]]), &never_null, None).is_err());
    }

    #[test]
    fn the_row_groups_of_one_run_are_read_alone_and_text_comes_coded() {
        let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let wanted = Arc::new(Schema::new(vec![Field::new("name", coded, true)]));
        let batches = decode(&file(&[&[1, 1], &[2], &[3]]), &wanted, Some(2)).unwrap();
        let found = concat(&wanted, &batches).unwrap();
        let names = found.column(0).as_dictionary::<Int32Type>();
        assert_eq!((found.num_rows(), names.values().as_string::<i32>().value(names.keys().value(0) as usize)), (1, "run 2"));
        assert!(decode(&file(&[&[1]]), &wanted, Some(9)).unwrap().is_empty());
    }
}
