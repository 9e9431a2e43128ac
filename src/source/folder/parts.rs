//! The parts of a file, each with its own hash: what stands before the first batch, each batch behind the texts that are new in
//! it, and what stands behind the last one. So a batch is checked as it is read, and a file need not be read twice.

use std::fs::File;
use std::io::{self, Write};

use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::hashed::{Hashed, HashedFile};

/// The parts of a file, and the texts of its dictionaries, which stand in several of them and are needed for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub texts_blake3: String,
    pub parts: Vec<Part>,
}

/// One part; it begins where the one before it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub end: u64,
    pub blake3: String,
}

/// A file that is hashed by parts, and as a whole.
pub struct PartedFile {
    file: HashedFile,
    hasher: Hasher,
    parts: Vec<Part>,
}

impl PartedFile {
    pub fn new(file: File) -> PartedFile {
        PartedFile { file: HashedFile::new(file), hasher: Hasher::new(), parts: Vec::new() }
    }

    /// Ends a part.
    pub fn cut(&mut self) {
        let blake3 = self.hasher.finalize().to_hex().to_string();
        self.hasher.reset();
        self.parts.push(Part { end: self.file.bytes(), blake3 });
    }

    pub fn finish(mut self) -> io::Result<(Hashed, Vec<Part>)> {
        self.cut();
        Ok((self.file.finish()?, self.parts))
    }
}

impl Write for PartedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
