//! The decoder of COPY's binary format, which is given whatever a server sends.

use recount::internals::model::evidence::{COMPONENTS, InputTable, RESPONSES, SCORES, STEPS};
use recount::internals::source::decode::Decoder;
use recount::internals::source::layout::Layout;

use super::{Target, said};

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: &[u8] = &(-1i16).to_be_bytes();
const TABLES: [&InputTable; 4] = [&SCORES, &COMPONENTS, &STEPS, &RESPONSES];

/// The first byte of an input says which table it is of, the second in which pieces the stream arrives.
pub struct CopyStream {
    groups: bool,
}

impl CopyStream {
    pub fn new(groups: bool) -> CopyStream {
        CopyStream { groups }
    }
}

fn tuple(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = (fields.len() as i16).to_be_bytes().to_vec();
    for field in fields {
        bytes.extend((field.len() as i32).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

/// A tuple whose fields have these widths: the decoder tells by the width what it is given, so every width has its seed.
fn row(table: &InputTable, width: usize) -> Vec<u8> {
    let texts: [&[u8]; 3] = [b"gfs", b"{\"type\": \"timeout\", \"message\": \"no answer\"}", b"failed"];
    let fields: Vec<Vec<u8>> = (0..table.columns.len())
        .map(|at| match (at + width) % 5 {
            0 => vec![0, 0, 0, 7],
            1 => 24u64.to_be_bytes().to_vec(),
            2 => 0.5f64.to_be_bytes().to_vec(),
            3 => texts[(at + width) % 3].to_vec(),
            _ => vec![1],
        })
        .collect();
    tuple(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Two scores of one response.
fn group() -> Vec<u8> {
    let twice = |value: [u8; 8]| [value, value].concat();
    let id = |id: i64| ((24i64 << 32) + id).to_be_bytes();
    let seven = 7i32.to_be_bytes();
    tuple(&[
        &[id(1), id(2)].concat(),
        &900i32.to_be_bytes(),
        &seven,
        &3i32.to_be_bytes(),
        b"hotkey",
        b"era5_acc_t_24h\x01era5_rmse_t_24h",
        &twice(5i64.to_be_bytes()),
        &twice(0.5f64.to_be_bytes()),
        b"t\x01\x02",
        &1i64.to_be_bytes(),
    ])
}

impl Target for CopyStream {
    fn seeds(&self) -> Vec<Vec<u8>> {
        if self.groups {
            return vec![[&[0, 3], HEADER, &group(), &group(), END].concat(), [&[0, 0], HEADER, END].concat()];
        }
        let seed = |table: usize, width| {
            let row = row(TABLES[table], width);
            [&[table as u8, 5][..], HEADER, &row, &row, END].concat()
        };
        (0..TABLES.len()).flat_map(|table| (0..5).map(move |width| seed(table, width))).collect()
    }

    fn run(&mut self, input: &[u8]) -> String {
        let [table, piece, stream @ ..] = input else { return String::new() };
        let table = if self.groups { TABLES[0] } else { TABLES[usize::from(*table) % TABLES.len()] };
        let layout = Layout::from(table);
        let mut decoder = if self.groups { Decoder::of_groups(&layout, "rows") } else { Decoder::new(&layout, "rows") };
        let mut pieces = stream.chunks(if *piece == 0 { usize::MAX } else { usize::from(*piece) });
        match pieces.try_for_each(|piece| decoder.push(piece)) {
            Ok(()) => said(decoder.finish()),
            error => said(error),
        }
    }
}
