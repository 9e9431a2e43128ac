//! The parts of a file, each with its own hash: what stands before the first batch, each batch behind the texts that are new in
//! it, and what stands behind the last one. So a batch is checked as it is read, and a file need not be read twice.
//!
//! The hash is XXH3 of 128 bits: it finds what disks and copies do to bytes, in an eighth of the time that BLAKE3 takes. Against
//! somebody who wants to deceive neither would help, since the manifest can be written anew as well.

use std::fs::File;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::hashed::{Hashed, HashedFile};

/// The parts of a file, and the texts of its dictionaries, which stand in several of them and are needed for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub texts_xxh3: String,
    pub parts: Vec<Part>,
}

/// One part; it begins where the one before it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub end: u64,
    pub xxh3: String,
}

pub fn in_digits(hash: u128) -> String {
    format!("{hash:032x}")
}

pub fn from_digits(digits: &str) -> Option<u128> {
    u128::from_str_radix(digits, 16).ok()
}

/// A file that is hashed by parts, and as a whole.
pub struct PartedFile {
    file: HashedFile,
    hasher: XxHash3_128,
    parts: Vec<Part>,
}

impl PartedFile {
    pub fn new(file: File) -> PartedFile {
        PartedFile { file: HashedFile::new(file), hasher: XxHash3_128::new(), parts: Vec::new() }
    }

    /// Ends a part.
    pub fn cut(&mut self) {
        let hasher = std::mem::replace(&mut self.hasher, XxHash3_128::new());
        self.parts.push(Part { end: self.file.bytes(), xxh3: in_digits(hasher.finish_128()) });
    }

    pub fn finish(mut self) -> io::Result<(Hashed, Vec<Part>)> {
        self.cut();
        Ok((self.file.finish()?, self.parts))
    }
}

impl Write for PartedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.write(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
