//! How much memory a Parquet file may take when it is decoded. A file of some hundred kilobytes can state, and unpack to,
//! gigabytes: it is refused by what its footer states, before anything is unpacked; and while it is decoded, what it has come to
//! is held against the same bound, since a footer can lie.

use std::fmt;

use parquet::file::metadata::ParquetMetaData;

/// Rows that are decoded at a time where texts stand in each row, however often they repeat in the file.
pub const BATCH_ROWS: usize = 1 << 10;
/// Bytes that any file may come to.
const FREE_BYTES: u64 = 256 << 20;
/// Bytes that each byte of a file may come to beside that. Rows of our tables take a tenth of their size, and hardly less than a
/// hundredth.
const PER_BYTE: u64 = 128;
/// Bytes of a cell in memory, at least.
const CELL_BYTES: u64 = 4;

/// Why a file is not decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge {
    bytes: u64,
    allowed: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "it unpacks to {} MB, and by its size may have {}", megabytes(self.bytes), megabytes(self.allowed))
    }
}

impl std::error::Error for TooLarge {}

/// What a file may still come to.
#[derive(Debug)]
pub struct Room {
    taken: u64,
    allowed: u64,
}

impl Room {
    pub fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.taken = self.taken.saturating_add(bytes as u64);
        if self.taken > self.allowed { Err(TooLarge { bytes: self.taken, allowed: self.allowed }) } else { Ok(()) }
    }
}

/// Holds what the footer of a file of this many bytes states against what it may come to.
pub fn check_footer(footer: &ParquetMetaData, bytes: u64) -> Result<Room, TooLarge> {
    let sum = |numbers: &mut dyn Iterator<Item = i64>| {
        numbers.fold(0u64, |sum, number| sum.saturating_add(u64::try_from(number).unwrap_or(u64::MAX)))
    };
    let chunks = || footer.row_groups().iter().flat_map(|group| group.columns());
    let stated = sum(&mut chunks().map(|chunk| chunk.uncompressed_size()));
    let cells = sum(&mut chunks().map(|chunk| chunk.num_values()));
    let room = Room { taken: 0, allowed: FREE_BYTES.saturating_add(bytes.saturating_mul(PER_BYTE)) };
    let bytes = stated.max(cells.saturating_mul(CELL_BYTES));
    if bytes > room.allowed { Err(TooLarge { bytes, allowed: room.allowed }) } else { Ok(room) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_adds_up() {
        let mut room = Room { taken: 0, allowed: 10 };
        assert_eq!(room.take(6), Ok(()));
        assert_eq!(room.take(4), Ok(()));
        assert_eq!(room.take(1), Err(TooLarge { bytes: 11, allowed: 10 }));
        assert!(Room { taken: 0, allowed: 10 }.take(usize::MAX).is_err());
    }
}
