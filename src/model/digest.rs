//! One number for all recomputed rollups: equal bits give equal digests, whatever the threads, the chunks or the source.

use blake3::Hasher;

use super::rollups::Rollup;
use super::value::{Value, canonical_json};

/// Enough bytes at a time for the hash to work on many blocks side by side.
const BUFFER_BYTES: usize = 1 << 16;

/// Feeds the rows of a table: its name, cell by cell with a tag for the type (text with its length before it), their number.
pub fn feed<'r, R: Rollup + 'r>(hasher: &mut Hasher, rows: impl IntoIterator<Item = &'r R>) {
    let mut buffer = Vec::with_capacity(2 * BUFFER_BYTES);
    let mut count = 0u64;
    buffer.extend(R::TABLE.as_bytes());
    for row in rows {
        count += 1;
        for index in 0..R::COLUMNS.len() {
            write(row.value(index), &mut buffer);
        }
        if buffer.len() >= BUFFER_BYTES {
            hasher.update(&buffer);
            buffer.clear();
        }
    }
    buffer.extend(count.to_le_bytes());
    hasher.update(&buffer);
}

fn write(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(x) => out.extend([1, x.into()]),
        Value::Int(x) => tagged(2, &x.to_le_bytes(), out),
        Value::Float(x) => tagged(3, &x.to_bits().to_le_bytes(), out),
        Value::Time(x) => tagged(4, &x.0.to_le_bytes(), out),
        Value::Text(x) => text(5, &x, out),
        Value::Json(x) => text(6, &canonical_json(&x), out),
    }
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(bytes);
}

fn text(tag: u8, text: &str, out: &mut Vec<u8>) {
    tagged(tag, &(text.len() as u64).to_le_bytes(), out);
    out.extend(text.as_bytes());
}
