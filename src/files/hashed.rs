//! Files that are hashed and counted as they are written.

use std::fs::File;
use std::io::{self, BufWriter, Write};

const BUFFER_BYTES: usize = 1 << 20;

/// A file in the making.
pub struct HashedFile {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// A file with everything written to it, and the hash and the length of that.
pub struct Hashed {
    pub file: File,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub blake3: String,
}

impl HashedFile {
    pub fn new(file: File) -> HashedFile {
        HashedFile { file: BufWriter::with_capacity(BUFFER_BYTES, file), hasher: blake3::Hasher::new(), bytes: 0 }
    }

    /// Written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands the rest to the operating system. Making it durable is left to the caller.
    pub fn finish(self) -> io::Result<Hashed> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Hashed { file, bytes: self.bytes, blake3: self.hasher.finalize().to_hex().to_string() })
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        disk::write(bytes.len())?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A disk that is full after this many bytes, for the thread of one test.
#[cfg(test)]
pub mod disk {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    pub fn has(bytes: usize) {
        LEFT.set(bytes);
    }

    pub fn write(bytes: usize) -> io::Result<()> {
        let left = LEFT.get().checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        if LEFT.get() != usize::MAX {
            LEFT.set(left);
        }
        Ok(())
    }
}
