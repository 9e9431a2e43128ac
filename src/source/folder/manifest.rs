//! `manifest.json`: what a snapshot folder holds, and the hashes that tell whether it still holds it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{damaged, file_name, refused, unreadable};
use crate::error::Result;
use crate::files::manifest::{Fault, Format};
use crate::files::path::{self, SMALL_BYTES};
use crate::files::seal::NO_HASH;
use crate::source::TABLES;
use crate::source::parts::Parts;

pub const MANIFEST: &str = "manifest.json";
/// The format that this recount writes. In version 1 the large tables have a value for each row in every column, from version 2
/// on stretches for what repeats, from version 4 on for ids too, and its files are hashed by parts. All are read.
/// (The parts of version 3 have other hashes, which are not looked at.)
pub const FORMAT_VERSION: u64 = 4;
const FORMAT: Format = Format { name: "recount snapshot", newest: FORMAT_VERSION, is_sealed: true };

/// The content of a snapshot folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u64,
    /// ISO 8601, UTC.
    pub taken_at: String,
    pub server_version: String,
    pub has_steps: bool,
    pub has_stored_stats: bool,
    pub wide_leads: Vec<i32>,
    pub notes: Vec<String>,
    /// What was in force when the snapshot was written.
    pub settings: Json,
    /// The files by name.
    pub files: BTreeMap<String, FileEntry>,
    /// Which run the batches of the four run tables hold: the first batch of each the first run, and so on.
    pub runs: Vec<i32>,
    /// Which unit the batches of `weather_forecast_stats` hold, by `forecast_run_id`; one more holds the stray rows.
    pub units: Vec<String>,
    /// BLAKE3 of this very file, with zeros in place of this hash.
    pub manifest_blake3: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub rows: u64,
    pub bytes: u64,
    pub batches: usize,
    pub blake3: String,
    /// None before version 4.
    #[serde(default)]
    pub checksums: Option<Parts>,
}

impl Manifest {
    pub fn new() -> Manifest {
        Manifest {
            format: FORMAT.name.to_owned(),
            version: FORMAT_VERSION,
            taken_at: String::new(),
            server_version: String::new(),
            has_steps: false,
            has_stored_stats: false,
            wide_leads: Vec::new(),
            notes: Vec::new(),
            settings: Json::Null,
            files: BTreeMap::new(),
            runs: Vec::new(),
            units: Vec::new(),
            manifest_blake3: NO_HASH.to_owned(),
        }
    }

    /// The text of the file, with its own hash in it.
    pub fn seal(mut self) -> String {
        self.manifest_blake3 = NO_HASH.to_owned();
        FORMAT.text(&self)
    }

    /// Reads the manifest of a folder and holds it against its own hash.
    pub fn read(dir: &Path) -> Result<Manifest> {
        let bytes = path::read(dir, MANIFEST, SMALL_BYTES).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => refused(dir, format!("there is no {MANIFEST} in it"))
                .hint("give the path of a folder that `recount export` wrote, or a postgres:// URL"),
            _ => unreadable(dir, MANIFEST, e),
        })?;
        Manifest::parse(dir, &bytes)
    }

    fn parse(dir: &Path, bytes: &[u8]) -> Result<Manifest> {
        let manifest: Manifest = FORMAT.read(bytes).map_err(|fault| match fault {
            Fault::Damaged(detail) => damaged(dir, MANIFEST, detail),
            Fault::Newer(newer) => {
                let detail = format!("{MANIFEST} has format version {newer}, this recount reads up to version {FORMAT_VERSION}");
                refused(dir, detail).hint("read it with a newer recount, or export it again with this one")
            }
        })?;
        match manifest.files.keys().find(|name| !TABLES.iter().any(|table| file_name(table) == **name)) {
            Some(name) => Err(damaged(dir, MANIFEST, format!("names {name:?}, which is no file of a snapshot"))),
            None => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn sealed() -> String {
        Manifest { notes: vec!["a \"note\"".to_owned()], ..Manifest::new() }.seal()
    }

    fn parse(bytes: &[u8]) -> Result<Manifest> {
        Manifest::parse(Path::new("night"), bytes)
    }

    #[test]
    fn what_was_sealed_is_read() {
        let manifest = parse(sealed().as_bytes()).unwrap();
        assert_eq!(manifest.notes, ["a \"note\""]);
        assert_ne!(manifest.manifest_blake3, NO_HASH);
    }

    #[test]
    fn any_changed_or_missing_byte_is_found() {
        let sealed = sealed().into_bytes();
        for at in 0..sealed.len() {
            for change in [1, 4, 32, 128] {
                let mut bytes = sealed.clone();
                bytes[at] ^= change;
                assert_eq!(parse(&bytes).unwrap_err().kind(), ErrorKind::Snapshot, "byte {at} ^ {change}");
            }
            assert_eq!(parse(&sealed[..at]).unwrap_err().kind(), ErrorKind::Snapshot, "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_says_so() {
        let newer = sealed().replace("\"version\": 4", "\"version\": 5");
        let error = parse(newer.as_bytes()).unwrap_err();
        insta::assert_snapshot!(error, @"opening snapshot night: manifest.json has format version 5, this recount reads up to version 4");
        insta::assert_snapshot!(error.hint_text().unwrap(), @"read it with a newer recount, or export it again with this one");
    }
}
