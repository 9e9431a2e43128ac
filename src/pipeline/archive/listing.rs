//! `recount archive ls`: what an archive holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::manifest::refused;
use crate::archive::tables::TABLES;
use crate::archive::{LATEST, Manifest, Storage};
use crate::error::Result;
use crate::model::time::Micros;

/// The content of an archive, by table.
#[derive(Debug, Clone)]
pub struct Listing {
    pub dest: String,
    pub as_of: Micros,
    pub runs: u64,
    pub digest: String,
    /// In the order of the documentation: results first.
    pub tables: Vec<(&'static str, TableLine)>,
}

/// The files of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableLine {
    pub partitions: u64,
    pub first: String,
    pub last: String,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// Reads the manifest in force, and no file.
pub fn list(dest: &str) -> Result<Listing> {
    let storage = Storage::open(dest)?;
    let Some((_, manifest)) = Manifest::latest(&storage)?.1 else {
        return Err(refused(&storage, format!("there is no {LATEST} in it")).hint("`recount archive SOURCE --to DEST` makes one"));
    };
    let mut tables: BTreeMap<&str, (TableLine, BTreeSet<&str>)> = BTreeMap::new();
    for file in manifest.files.values() {
        let (line, partitions) = tables.entry(&file.table).or_default();
        partitions.insert(&file.partition);
        line.files += 1;
        line.rows += file.rows;
        line.bytes += file.bytes;
    }
    let line = |name: &str| {
        let (mut line, partitions) = tables.remove(name)?;
        line.partitions = partitions.len() as u64;
        line.first = partitions.first().map(|&first| first.to_owned()).unwrap_or_default();
        line.last = partitions.last().map(|&last| last.to_owned()).unwrap_or_default();
        Some(line)
    };
    let mut line = line;
    let tables = TABLES.into_iter().filter_map(|table| Some((table.name, line(table.name)?))).collect();
    Ok(Listing {
        dest: dest.to_owned(),
        as_of: Micros(manifest.as_of),
        runs: manifest.days.values().map(|runs| runs.len() as u64).sum(),
        digest: manifest.digest.clone(),
        tables,
    })
}
