//! A program that was built without the feature `cloud` opens no bucket, and says so.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

use super::Seen;

/// There is none.
#[derive(Debug)]
pub enum Bucket {}

impl Bucket {
    pub fn open(url: &str, _scheme: &str) -> Result<Bucket> {
        let detail = "this program was built without archives in buckets";
        Err(Error::new(ErrorKind::Usage, format!("opening the archive {url}"), detail)
            .hint("they come with the feature cloud: cargo build --features cloud (on by default); or give a folder"))
    }

    pub fn look(&self, _path: &str) -> Result<Seen> {
        match *self {}
    }

    #[cfg(feature = "query")]
    pub fn read_ranges(&self, _path: &str, _otherwise: &str, _ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        match *self {}
    }

    pub fn list(&self) -> Result<BTreeMap<String, u64>> {
        match *self {}
    }

    pub fn write(&self, _what: &str, _path: &str, _content: Vec<u8>) -> Result<()> {
        match *self {}
    }

    pub fn replace(&self, _path: &str, _seen: &Seen, _content: &[u8]) -> Result<bool> {
        match *self {}
    }

    pub fn set_aside(&self, _path: &str, _to: &str) -> Result<()> {
        match *self {}
    }

    pub fn remove(&self, _path: &str) -> Result<()> {
        match *self {}
    }
}
