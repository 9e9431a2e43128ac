//! How rows become Parquet: order, encodings, metadata. Everything that has a say in the bytes is set here.

use std::ops::{BitOr, Shl};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::take::take_record_batch;
use parquet::basic::{Compression, Encoding as ColumnEncoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::error::{Context, ErrorKind, Result};
use crate::files::parquet::{Encoder, ParquetFile, RowGroup};
use crate::model::job::Encoding;

use super::tables::Table;

/// No file has more bytes of rows; with its footer it stays below 512 MB. A day that has more goes on in a further file.
pub const MAX_FILE_BYTES: u64 = 480 << 20;
/// A row group that would be larger is two.
const MAX_GROUP_BYTES: u64 = MAX_FILE_BYTES / 4;
/// Rows of a page: what the page index can skip. Of this many doubles, two bytes fill a block of zstd (128 KB) each time, so
/// that signs and exponents, which repeat, are not coded together with the noise of the other bytes.
const PAGE_ROWS: usize = 1 << 16;
const PAGE_BYTES: usize = 1 << 20;
/// A column of more distinct bytes than this is no longer worth a dictionary.
const DICTIONARY_BYTES: usize = 1 << 20;
const ZSTD_LEVEL: i32 = 3;
/// Without the program's version: a new release must not rewrite a year of days. The form is what readers parse.
const CREATED_BY: &str = "recount version 1.0.0 (build archive)";
/// The format of the file, among its metadata.
pub const VERSION_KEY: &str = "recount.format_version";
/// Of a file by itself; the manifest has a version of its own.
const FILE_VERSION: u64 = 3;
/// Its table, among its metadata.
pub const TABLE_KEY: &str = "recount.table";
/// Distinct hotkeys that a filter of one run is made for; a subnet has 256 miners.
const BLOOM_VALUES: u64 = 256;
const BLOOM_ERROR: f64 = 0.01;

/// Whole numbers that hardly repeat.
const MEASURED: [&str; 3] = ["latency_ms", "hosting_latency_ms", "forecast_inference_duration_seconds"];

/// How a column is encoded before zstd. Chosen by measurement: see "Archives" in `docs/performance.md`.
fn encode_column(builder: WriterPropertiesBuilder, field: &Field, doubles: Encoding) -> WriterPropertiesBuilder {
    let path = ColumnPath::from(field.name().as_str());
    let plain = |encoding| (false, encoding);
    let (dictionary, encoding) = match field.data_type() {
        DataType::Float64 => plain(of_doubles(doubles)),
        // Ids go up by small steps.
        DataType::Int64 => plain(ColumnEncoding::DELTA_BINARY_PACKED),
        // Times come in bursts: zstd finds what they share, and finds it best in plain.
        DataType::Timestamp(..) | DataType::Boolean => plain(ColumnEncoding::PLAIN),
        DataType::Int32 if MEASURED.contains(&field.name().as_str()) => plain(ColumnEncoding::DELTA_BINARY_PACKED),
        // Runs, miners, leads, names: few values, many times.
        _ => (true, ColumnEncoding::PLAIN),
    };
    let builder = builder.set_column_dictionary_enabled(path.clone(), dictionary);
    if dictionary { builder } else { builder.set_column_encoding(path, encoding) }
}

/// What Parquet calls the encoding of a column of doubles.
pub fn of_doubles(encoding: Encoding) -> ColumnEncoding {
    match encoding {
        Encoding::Plain => ColumnEncoding::PLAIN,
        // The bytes of similar doubles agree in their front: put those side by side.
        Encoding::Compact => ColumnEncoding::BYTE_STREAM_SPLIT,
    }
}

/// Tables whose runs fill several pages; in the others an index of pages would repeat that of row groups.
const INDEXED: [&str; 2] = ["scores", "component_scores"];

/// The properties of a table's files.
fn properties(table: &Table, schema: &SchemaRef, doubles: Encoding) -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("invariant: it is a level of zstd");
    let index = |column: &&str| schema.index_of(column).expect("invariant: a table is in order of its own columns") as i32;
    let sorted = |column| SortingColumn { column_idx: index(column), descending: false, nulls_first: true };
    let indexed = INDEXED.contains(&table.name);
    let metadata = [(VERSION_KEY, FILE_VERSION.to_string()), (TABLE_KEY, table.name.to_owned())];
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        // Pages of the first version are compressed whole, those of the second without their levels.
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(if indexed { EnabledStatistics::Page } else { EnabledStatistics::Chunk })
        .set_offset_index_disabled(!indexed)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(table.order.iter().map(sorted).collect()))
        .set_key_value_metadata(Some(metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec()));
    for field in schema.fields() {
        builder = encode_column(builder, field, doubles);
        // Ids, runs and miners are in order, so their statistics prune; a hotkey is in every day or in few.
        if field.name() == "miner_hotkey" && ["weather_forecast_stats", "responses"].contains(&table.name) {
            let path = ColumnPath::from(field.name().as_str());
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_ERROR)
                .set_column_bloom_filter_max_ndv(path, BLOOM_VALUES);
        }
    }
    builder
}

/// The columns that hold a NaN. Of such a chunk least and greatest say nothing to a reader for whom NaN is the greatest of all
/// (DuckDB, ClickHouse): it would pass over rows that it is asked for.
fn with_nan(batch: &RecordBatch) -> impl Iterator<Item = ColumnPath> {
    let has_nan = |column: &ArrayRef| {
        column.as_primitive_opt::<Float64Type>().is_some_and(|values| values.iter().flatten().any(f64::is_nan))
    };
    let schema = batch.schema();
    let columns = batch.columns().iter().enumerate().filter(move |(_, column)| has_nan(column));
    columns.map(move |(index, _)| ColumnPath::from(schema.field(index).name().as_str()))
}

/// Puts the rows in the table's order and encodes them. Where row groups are encoded in parallel, their bytes are the same.
pub fn row_groups(table: &Table, schema: &SchemaRef, batch: &RecordBatch, doubles: Encoding) -> Result<Vec<RowGroup>> {
    let doing = || format!("encoding {}", table.name);
    let batch = ordered(batch, table.order).doing(ErrorKind::Data, doing)?;
    let properties = with_nan(&batch).fold(properties(table, schema, doubles), |properties, column| {
        properties.set_column_statistics_enabled(column, EnabledStatistics::None)
    });
    let encoder = Encoder::new(schema, properties.build()).doing(ErrorKind::Data, doing)?;
    let mut groups = Vec::new();
    encode(&encoder, &batch, MAX_GROUP_BYTES, &mut groups).doing(ErrorKind::Data, doing)?;
    Ok(groups)
}

/// Encodes rows that are in order; where they take more than `max` bytes, each half on its own.
fn encode(encoder: &Encoder, batch: &RecordBatch, max: u64, groups: &mut Vec<RowGroup>) -> parquet::errors::Result<()> {
    let rows = batch.num_rows();
    let group = encoder.encode(batch)?;
    if group.bytes > max && rows > 1 {
        let half = rows / 2;
        encode(encoder, &batch.slice(0, half), max, groups)?;
        return encode(encoder, &batch.slice(half, rows - half), max, groups);
    }
    if rows > 0 {
        groups.push(group);
    }
    Ok(())
}

/// The rows in order of these columns, NULLs first, text by code points.
pub fn ordered(batch: &RecordBatch, order: &[&str]) -> std::result::Result<RecordBatch, arrow_schema::ArrowError> {
    let keys: Vec<Vec<i64>> = order.iter().filter_map(|name| batch.column_by_name(name)).map(sort_key).collect();
    places(&keys, batch.num_rows()).map_or_else(|| Ok(batch.clone()), |places| take_record_batch(batch, &places))
}

/// The rows in order of their keys, equal ones as they were; `None` where they are already.
fn places(keys: &[Vec<i64>], rows: usize) -> Option<UInt32Array> {
    let cell = |row: usize| keys.iter().map(move |key| key[row]);
    if (1..rows).all(|row| cell(row - 1).le(cell(row))) {
        return None;
    }
    let ranges: Vec<Range<'_>> = keys.iter().filter_map(|key| Range::of(key)).collect();
    let row_bits = usize::BITS - rows.leading_zeros();
    let bits = row_bits + ranges.iter().map(|range| range.width).sum::<u32>();
    // Numbers sort several times faster than rows of cells.
    Some(if bits <= u64::BITS {
        sorted(packed::<u64>(&ranges, rows, row_bits), |packed| packed & ((1 << row_bits) - 1))
    } else if bits <= u128::BITS {
        sorted(packed::<u128>(&ranges, rows, row_bits), |packed| (packed & ((1 << row_bits) - 1)) as u64)
    } else {
        let mut places: Vec<u32> = (0..rows as u32).collect();
        places.sort_by(|&a, &b| cell(a as usize).cmp(cell(b as usize)));
        places.into()
    })
}

fn sorted<T: Ord>(mut packed: Vec<T>, row: impl Fn(T) -> u64) -> UInt32Array {
    packed.sort_unstable();
    packed.into_iter().map(|packed| row(packed) as u32).collect()
}

/// A key, and what its cells take of a packed number.
struct Range<'k> {
    key: &'k [i64],
    least: i64,
    width: u32,
}

impl Range<'_> {
    fn of(key: &[i64]) -> Option<Range<'_>> {
        let (least, most) = (*key.iter().min()?, *key.iter().max()?);
        Some(Range { key, least, width: u64::BITS - most.abs_diff(least).leading_zeros() })
    }
}

/// The keys of each row, and last the row, as one number in the same order.
fn packed<T>(ranges: &[Range<'_>], rows: usize, row_bits: u32) -> Vec<T>
where
    T: Copy + From<u64> + Shl<u32, Output = T> + BitOr<Output = T>,
{
    let mut packed = vec![T::from(0); rows];
    let push = |number: &mut T, width, value: u64| *number = *number << width | value.into();
    for Range { key, least, width } in ranges {
        packed.iter_mut().zip(*key).for_each(|(number, cell)| push(number, *width, cell.abs_diff(*least)));
    }
    packed.iter_mut().zip(0..).for_each(|(number, row)| push(number, row_bits, row));
    packed
}

/// Numbers that stand in the same order as the cells.
fn sort_key(column: &ArrayRef) -> Vec<i64> {
    let mut key: Vec<i64> = match column.data_type() {
        DataType::Int32 => column.as_primitive::<Int32Type>().values().iter().map(|&value| value.into()).collect(),
        DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
        DataType::Dictionary(..) => {
            let coded = column.as_dictionary::<Int32Type>();
            let ranks = ranks(coded.values());
            coded.keys().values().iter().map(|&code| ranks.get(code as usize).copied().unwrap_or_default()).collect()
        }
        _ => ranks(column),
    };
    // One below the least, so that the range stays small; there is nothing below the least of all.
    if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
        let present = nulls.valid_indices().map(|row| key[row]).min();
        let null = present.map_or(0, |least| least.saturating_sub(1));
        nulls.iter().zip(&mut key).filter(|(is_valid, _)| !is_valid).for_each(|(_, value)| *value = null);
    }
    key
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

/// A new file of a table.
pub fn create(path: &Path, table: &Table, schema: &SchemaRef) -> Result<ParquetFile> {
    // Of a file itself the properties decide the footer, whatever its columns are encoded with.
    let properties = properties(table, schema, Encoding::default()).build();
    ParquetFile::create(path, schema, properties).map(|(file, _)| file)
}

/// Whether this row group may stand in the file beside those that it has.
pub fn has_room(file: &ParquetFile, group: &RowGroup) -> bool {
    file.rows() == 0 || file.bytes() + group.bytes <= MAX_FILE_BYTES
}

/// Batches of one schema as one.
pub fn concat(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let columns = (0..schema.fields().len()).map(|index| {
        let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        if parts.is_empty() {
            return Ok(arrow_array::new_empty_array(schema.field(index).data_type()));
        }
        arrow_select::concat::concat(&parts)
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
    let whole = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns));
    whole.doing(ErrorKind::Data, || "putting rows together".to_owned())
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Float64Type;
    use arrow_array::{Float64Array, Int32Array, StringArray};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::archive::tables::{COMPONENTS_TABLE, LEAD_SCORES, SCORES_TABLE, STATS, with_keys};
    use crate::files::parquet::Finished;
    use crate::model::rollups::{ForecastStat, LeadScore};
    use crate::model::rows::batch_of;

    /// Lead scores of one run, the last miner first; one score is NaN and one is NULL.
    fn leads(miners: i32) -> RecordBatch {
        let rows: Vec<LeadScore> = (0..miners)
            .rev()
            .map(|uid| LeadScore {
                run_id: Some(7),
                miner_uid: Some(uid),
                lead_hours: Some(24),
                scored: Some(true),
                era5_score: match uid {
                    0 => None,
                    1 => Some(f64::NAN),
                    uid => Some(f64::from(uid).sqrt()),
                },
                ..LeadScore::default()
            })
            .collect();
        with_keys(&LEAD_SCORES, &batch_of(&rows))
    }

    fn file_of(table: &Table, groups: Vec<RowGroup>) -> (Bytes, Finished) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let mut file = create(&path, table, &table.schema(&[])).unwrap();
        groups.into_iter().for_each(|group| file.append(group).unwrap());
        let done = file.finish().unwrap();
        (std::fs::read(path).unwrap().into(), done)
    }

    fn scores(content: &Bytes) -> Vec<Option<u64>> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(content.clone()).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        let of = |batch: &RecordBatch| -> Vec<Option<u64>> {
            batch
                .column_by_name("era5_score")
                .unwrap()
                .as_primitive::<Float64Type>()
                .iter()
                .map(|x| x.map(f64::to_bits))
                .collect()
        };
        batches.iter().flat_map(of).collect()
    }

    #[test]
    fn rows_too_many_for_a_group_are_halved_and_keep_their_order_and_bits() {
        let schema = LEAD_SCORES.schema(&[]);
        let batch = ordered(&leads(1000), LEAD_SCORES.order).unwrap();
        let encoder = Encoder::new(&schema, properties(&LEAD_SCORES, &schema, Encoding::Plain).build()).unwrap();
        let mut groups = Vec::new();
        encode(&encoder, &batch, 2000, &mut groups).unwrap();
        assert!(groups.len() > 3 && groups.iter().all(|group| group.bytes <= 2000), "{}", groups.len());
        let whole = row_groups(&LEAD_SCORES, &schema, &leads(1000), Encoding::Plain).unwrap();
        assert_eq!(whole.len(), 1);
        let (halved, whole) = (file_of(&LEAD_SCORES, groups), file_of(&LEAD_SCORES, whole));
        assert_eq!((halved.1.rows, whole.1.rows), (1000, 1000));
        let found = scores(&whole.0);
        assert_eq!(found, scores(&halved.0));
        assert_eq!(found[..3], [None, Some(f64::NAN.to_bits()), Some(2f64.sqrt().to_bits())]);
        let hash = blake3::hash(&whole.0).to_hex().to_string();
        assert_eq!((whole.1.bytes, whole.1.blake3), (whole.0.len() as u64, hash));
    }

    #[test]
    fn a_file_that_would_grow_too_large_has_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let schema = LEAD_SCORES.schema(&[]);
        let mut file = create(&folder.path().join("a.parquet"), &LEAD_SCORES, &schema).unwrap();
        let mut groups = row_groups(&LEAD_SCORES, &schema, &leads(8), Encoding::Plain).unwrap();
        groups[0].bytes = 2 * MAX_FILE_BYTES;
        assert!(has_room(&file, &groups[0]), "the first one always has");
        groups[0].bytes = MAX_FILE_BYTES - 100;
        file.append(groups.remove(0)).unwrap();
        let mut more = row_groups(&LEAD_SCORES, &schema, &leads(8), Encoding::Plain).unwrap().remove(0);
        assert!(has_room(&file, &more));
        more.bytes = MAX_FILE_BYTES;
        assert!(!has_room(&file, &more));
    }

    #[test]
    fn a_file_says_what_it_is_and_lets_engines_skip() {
        let row =
            ForecastStat { run_id: Some(1), miner_uid: Some(2), miner_hotkey: Some("5F".to_owned()), ..ForecastStat::default() };
        let (schema, batch) = (STATS.schema(&[]), with_keys(&STATS, &batch_of(&[row])));
        let (content, _) = file_of(&STATS, row_groups(&STATS, &schema, &batch, Encoding::Plain).unwrap());
        let reader = SerializedFileReader::new(content.clone()).unwrap();
        let file = reader.metadata().file_metadata();
        let told = |key: &str| {
            file.key_value_metadata().unwrap().iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone())
        };
        assert_eq!((told(VERSION_KEY).as_deref(), told(TABLE_KEY).as_deref()), (Some("3"), Some("weather_forecast_stats")));
        let group = reader.metadata().row_group(0);
        assert_eq!(group.sorting_columns().map(|columns| columns.len()), Some(2));
        let filtered = |name: &str| {
            let column = group.columns().iter().find(|column| column.column_path().string() == name).unwrap();
            column.bloom_filter_offset().is_some()
        };
        assert!(filtered("miner_hotkey") && !filtered("miner_rank"));
        let read = ParquetRecordBatchReaderBuilder::try_new(content).unwrap();
        let field = read.schema().field_with_name("overall_forecast_score").unwrap().clone();
        let metadata = |key: &str| field.metadata().get(key).cloned().unwrap_or_default();
        assert_eq!((metadata("rule").as_str(), metadata("unit").as_str()), ("R4", "0..1"));
    }

    #[test]
    fn pages_are_indexed_where_a_run_has_several() {
        let indexed = |table: &Table| {
            let schema = table.schema(&[]);
            let one: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1]));
            let columns = schema.fields().iter().map(|field| arrow::compute::cast(&one, field.data_type()).unwrap());
            let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
            let (content, _) = file_of(table, row_groups(table, &schema, &batch, Encoding::Plain).unwrap());
            let reader = SerializedFileReader::new(content).unwrap();
            let column = reader.metadata().row_group(0).column(0).clone();
            assert!(column.statistics().is_some(), "row groups are skipped in every table");
            (column.column_index_offset().is_some(), column.offset_index_offset().is_some())
        };
        assert_eq!([&SCORES_TABLE, &COMPONENTS_TABLE, &LEAD_SCORES].map(indexed), [(true, true), (true, true), (false, false)]);
    }

    #[test]
    fn a_chunk_with_nan_has_no_least_and_greatest_and_doubles_are_plain_unless_asked() {
        let schema = LEAD_SCORES.schema(&[]);
        let statistics = |scores: [f64; 2], doubles| {
            let lead = |(lead, score): (usize, &f64)| LeadScore {
                run_id: Some(1),
                lead_hours: Some(lead as i32),
                acc: Some(*score),
                skill: Some(0.5),
                ..LeadScore::default()
            };
            let rows: Vec<LeadScore> = scores.iter().enumerate().map(lead).collect();
            let groups = row_groups(&LEAD_SCORES, &schema, &with_keys(&LEAD_SCORES, &batch_of(&rows)), doubles).unwrap();
            let reader = SerializedFileReader::new(file_of(&LEAD_SCORES, groups).0).unwrap();
            let group = reader.metadata().row_group(0).clone();
            ["acc", "skill", "run_id"].map(|name| {
                let column = group.columns().iter().find(|column| column.column_path().string() == name).unwrap();
                let is_split = column.encodings().any(|encoding| encoding == ColumnEncoding::BYTE_STREAM_SPLIT);
                (column.statistics().is_some(), is_split)
            })
        };
        let (known, unknown, compact) = ((true, false), (false, false), (true, true));
        assert_eq!(statistics([0.1, f64::INFINITY], Encoding::Plain), [known, known, known]);
        assert_eq!(statistics([0.1, f64::NAN], Encoding::Plain), [unknown, known, known]);
        assert_eq!(statistics([0.1, 0.2], Encoding::Compact), [compact, compact, known]);
    }

    #[test]
    fn keys_of_any_range_give_the_same_order() {
        let wide = |value: i64| if value < 3 { i64::MIN } else { i64::MAX };
        let narrow = [vec![3, 1, 3, 1], vec![1, 4, 1, 2]];
        // One number of 64 bits holds the first, one of 128 bits the next, and none the last.
        for wide_keys in 0..=2 {
            let stretch = |(at, key): (usize, &Vec<i64>)| key.iter().map(|&x| if at < wide_keys { wide(x) } else { x }).collect();
            let keys: Vec<Vec<i64>> = narrow.iter().enumerate().map(stretch).collect();
            assert_eq!(places(&keys, 4).unwrap().values(), &[3, 1, 0, 2], "{keys:?}");
            assert_eq!(places(&keys, 1), None);
        }
        assert_eq!(places(&[], 4), None);
    }

    #[test]
    fn rows_are_ordered_by_number_and_by_code_point_with_null_first() {
        let coded: arrow_array::DictionaryArray<Int32Type> =
            [Some("z"), None, Some("Z"), Some("é"), Some("a"), Some("z")].into_iter().collect();
        let field = |name, kind| Field::new(name, kind, true);
        let schema = Arc::new(arrow_schema::Schema::new(vec![
            field("code", coded.data_type().clone()),
            field("text", DataType::Utf8),
            field("number", DataType::Int32),
            field("place", DataType::Float64),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(coded),
            Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("b"), Some("b"), Some("b")])),
            Arc::new(Int32Array::from(vec![Some(1), Some(1), Some(1), Some(1), Some(1), None])),
            Arc::new(Float64Array::from(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])),
        ];
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let places = |order: &[&str]| ordered(&batch, order).unwrap().column(3).as_primitive::<Float64Type>().values().to_vec();
        assert_eq!(places(&["code", "number"]), [1.0, 2.0, 4.0, 5.0, 0.0, 3.0]);
        assert_eq!(places(&["text", "code", "number"]), [1.0, 2.0, 4.0, 5.0, 0.0, 3.0]);
        assert_eq!(places(&["number"]), [5.0, 0.0, 1.0, 2.0, 3.0, 4.0], "ties stay as they come");
    }
}
