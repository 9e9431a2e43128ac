//! How fast rows come out of PostgreSQL's binary format: the scores of one run, whole and row by row as the driver hands them
//! over. Nothing here reads from a server.

mod support;

use std::hint::black_box;
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use recount::internals::generate::{Generator, Plan};
use recount::internals::model::evidence::{COMPONENTS, InputTable, SCORES};
use recount::internals::source::decode::Decoder;
use recount::internals::source::layout::Layout;

fn main() {
    println!(
        "digest of the rows: scores {}, components {}",
        digest(&SCORES_COPIED, &SCORES),
        digest(&COMPONENTS_COPIED, &COMPONENTS)
    );
    divan::main();
}

const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

/// The rows of a table as `COPY` would send them, each with its header of columns and lengths.
struct Copied {
    layout: Layout,
    rows: Vec<Vec<u8>>,
}

static SCORES_COPIED: LazyLock<Copied> = LazyLock::new(|| copied(&SCORES, |run| run.0));
static COMPONENTS_COPIED: LazyLock<Copied> = LazyLock::new(|| copied(&COMPONENTS, |run| run.1));

fn copied(table: &InputTable, pick: fn((RecordBatch, RecordBatch)) -> RecordBatch) -> Copied {
    let miners = if support::is_small() { 8 } else { 256 };
    let generator = Generator::new(Plan { runs: 20, miners, seed: 1, ..Plan::default() }).expect("a plan");
    let run = generator.evidence(&generator.units()[4]).remove(0);
    let batch = pick((run.scores, run.components));
    Copied { layout: Layout::from(table), rows: (0..batch.num_rows()).map(|row| tuple(table, &batch, row)).collect() }
}

fn tuple(table: &InputTable, batch: &RecordBatch, row: usize) -> Vec<u8> {
    let mut bytes = (table.columns.len() as i16).to_be_bytes().to_vec();
    for column in batch.columns() {
        let value = if column.is_null(row) { None } else { Some(value(column.as_ref(), row)) };
        bytes.extend(value.as_ref().map_or(-1, |value| value.len() as i32).to_be_bytes());
        bytes.extend(value.unwrap_or_default());
    }
    bytes
}

fn value(column: &dyn Array, row: usize) -> Vec<u8> {
    match column.data_type() {
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_be_bytes().to_vec(),
        // Ids are four bytes in production.
        DataType::Int64 => (column.as_primitive::<Int64Type>().value(row) as i32).to_be_bytes().to_vec(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_be_bytes().to_vec(),
        DataType::Timestamp(..) => {
            (column.as_primitive::<TimestampMicrosecondType>().value(row) - EPOCH_OFFSET_US).to_be_bytes().to_vec()
        }
        _ => {
            let coded = column.as_dictionary::<Int32Type>();
            coded.values().as_string::<i32>().value(coded.keys().value(row) as usize).as_bytes().to_vec()
        }
    }
}

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: &[u8] = &(-1i16).to_be_bytes();

/// Of the rows as they were before, which those decoded have to be to the byte.
fn digest(copied: &Copied, table: &InputTable) -> String {
    let mut decoder = Decoder::new(&copied.layout, copied.layout.table);
    decoder.push(&[HEADER, &copied.rows.concat(), END].concat()).expect("rows");
    let batch = decoder.finish().expect("a batch");
    let rows: Vec<Vec<u8>> = (0..batch.num_rows()).map(|row| tuple(table, &batch, row)).collect();
    assert!(rows == copied.rows, "other rows came out of the decoder than went in");
    blake3::hash(&rows.concat()).to_hex()[..16].to_owned()
}

fn decode(bencher: Bencher<'_, '_>, copied: &Copied, pieces: &[&[u8]]) {
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    bencher.counter(ItemsCount::new(copied.rows.len())).counter(BytesCount::new(bytes)).bench_local(|| {
        let mut decoder = Decoder::new(&copied.layout, copied.layout.table);
        pieces.iter().for_each(|piece| decoder.push(black_box(piece)).expect("rows"));
        decoder.finish().expect("a batch")
    });
}

fn table(name: &str) -> &'static Copied {
    if name == "scores" { &SCORES_COPIED } else { &COMPONENTS_COPIED }
}

#[divan::bench(args = ["scores", "components"])]
fn row_by_row(bencher: Bencher<'_, '_>, name: &str) {
    let copied = table(name);
    let rows = copied.rows.iter().map(Vec::as_slice);
    let pieces: Vec<&[u8]> = [HEADER].into_iter().chain(rows).chain([END]).collect();
    decode(bencher, copied, &pieces);
}

#[divan::bench(args = ["scores", "components"])]
fn in_pieces_of_64_kib(bencher: Bencher<'_, '_>, name: &str) {
    let copied = table(name);
    let whole = [HEADER, &copied.rows.concat(), END].concat();
    decode(bencher, copied, &whole.chunks(1 << 16).collect::<Vec<_>>());
}
