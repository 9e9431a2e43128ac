//! The manifest of an archive: every file with its hash, the runs of each day, and the manifest before this one. Files and days stand
//! in its [sheets](super::sheets).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::files::manifest::{Fault, Format};
use crate::files::path::is_hash;
use crate::model::evidence::Run;
use crate::model::ids::{LeadHours, RunId};
use crate::model::settings::Scoring;
use crate::model::time::Micros;

use super::LATEST;
use super::beside::{BesideEntry, is_beside};
use super::paths::{self, manifest_path};
use super::sheets::SheetLink;
use super::storage::{FILE_BYTES, Seen, Storage};
use super::tables::Table;

/// The format that this recount writes; it reads this one and all before it. Since 2 there are rows that are gone from the database,
/// and a reader must know which of them count; since 3 findings of no run are a table, and `table` is `source_table`; since 4 there are files beside the tables;
/// since 5 files and days are in sheets, and `history` has only what this archiving replaced.
pub const FORMAT_VERSION: u64 = 5;
/// Not sealed: what names a manifest names its hash too.
const FORMAT: Format = Format { name: "recount archive", newest: FORMAT_VERSION, is_sealed: false };

/// What an archive holds after one archiving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u64,
    /// The program that wrote it.
    pub tool: String,
    /// The time of the snapshot, microseconds since 1970.
    pub as_of: i64,
    pub server_version: String,
    /// The digest of all recomputed rollups, as `reconcile` shows it.
    pub digest: String,
    pub scoring: Scoring,
    pub has_steps: bool,
    pub has_stored_stats: bool,
    pub has_stored_miners: bool,
    pub has_stored_subnet: bool,
    pub wide_leads: Vec<LeadHours>,
    /// The tables that it has.
    pub tables: Vec<String>,
    /// The runs, by day.
    #[serde(default, skip_serializing)]
    pub days: BTreeMap<String, Vec<RunEntry>>,
    /// The files, by path.
    #[serde(default, skip_serializing)]
    pub files: BTreeMap<String, FileEntry>,
    /// Where files and days are read.
    #[serde(default)]
    pub sheets: Vec<SheetLink>,
    /// Files beside the tables, by path.
    #[serde(default)]
    pub beside: BTreeMap<String, BesideEntry>,
    /// Files that were replaced, by partition: by this archiving, and before version 5 by all so far, oldest first.
    pub history: BTreeMap<String, Vec<Replaced>>,
    pub previous: Option<Link>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry {
    pub id: i32,
    pub gfs_init: i64,
    pub target: i64,
    /// The database no longer has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retained: bool,
}

impl RunEntry {
    /// What never changes about a run.
    pub fn times(&self) -> (i32, i64, i64) {
        (self.id, self.gfs_init, self.target)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub table: String,
    /// The value in its path: a day, or a moment.
    pub partition: String,
    pub rows: u64,
    pub bytes: u64,
    pub blake3: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The archiving that replaced it.
    pub as_of: i64,
    pub rows: u64,
    pub blake3: String,
}

/// A manifest by its path and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub manifest: String,
    pub blake3: String,
}

impl Manifest {
    pub fn new(as_of: Micros, scoring: Scoring) -> Manifest {
        Manifest {
            format: FORMAT.name.to_owned(),
            version: FORMAT_VERSION,
            tool: concat!("recount ", env!("CARGO_PKG_VERSION")).to_owned(),
            as_of: as_of.0,
            server_version: String::new(),
            digest: String::new(),
            scoring,
            has_steps: false,
            has_stored_stats: false,
            has_stored_miners: false,
            has_stored_subnet: false,
            wide_leads: Vec::new(),
            tables: Vec::new(),
            days: BTreeMap::new(),
            files: BTreeMap::new(),
            sheets: Vec::new(),
            beside: BTreeMap::new(),
            history: BTreeMap::new(),
            previous: None,
        }
    }

    /// The text of the file, without what its sheets say.
    pub fn text(&self) -> String {
        FORMAT.text(self)
    }

    /// The runs, ascending by id.
    pub fn runs(&self) -> Vec<Run> {
        let run = |entry: &RunEntry| Run::new(RunId(entry.id), Micros(entry.gfs_init), Micros(entry.target));
        let mut runs: Vec<Run> = self.days.values().flatten().map(run).collect();
        runs.sort_by_key(|run| run.id);
        runs
    }

    /// The runs that the database no longer has.
    pub fn gone(&self) -> BTreeSet<RunId> {
        self.days.values().flatten().filter(|entry| entry.retained).map(|entry| RunId(entry.id)).collect()
    }

    pub fn has_table(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table == name)
    }

    /// Of all files that are in force.
    pub fn bytes(&self) -> u64 {
        let beside = self.beside.values().map(|file| file.bytes);
        self.files.values().map(|file| file.bytes).chain(beside).sum()
    }

    /// The files of one partition, in order of their parts.
    pub fn partition(&self, table: &Table, partition: &str) -> impl Iterator<Item = (&String, &FileEntry)> {
        let folder = table.folder(partition) + "/";
        let from = self.files.range(folder.clone()..);
        from.take_while(move |(path, _)| path.starts_with(&folder))
    }

    /// The manifest in force, with its link and what `_latest.json` was; `None` where there is no archive yet.
    pub fn latest(storage: &Storage) -> Result<(Seen, Option<(Link, Manifest)>)> {
        let seen = storage.look(LATEST)?;
        let Some(content) = &seen.content else { return Ok((seen, None)) };
        let link: Link = parse(storage, LATEST, content)?;
        match Manifest::at(storage, &link).and_then(|manifest| manifest.whole(storage)?.checked(storage, &link.manifest)) {
            Ok(manifest) => Ok((seen, Some((link, manifest)))),
            // Sheets go like files: an archiving or two have come between.
            Err(_) if storage.look(LATEST)?.content != seen.content => Manifest::latest(storage),
            Err(error) => Err(error),
        }
    }

    /// Reads a manifest without its sheets, and holds it against the hash in the link.
    pub fn at(storage: &Storage, link: &Link) -> Result<Manifest> {
        let path = &link.manifest;
        if !manifest_path(path) {
            return Err(damaged(storage, LATEST, &format!("names {path:?}, which is no manifest of an archive")));
        }
        let content = storage.read(path)?.ok_or_else(|| damaged(storage, path, "is missing"))?;
        if blake3::hash(&content).to_hex().as_str() != link.blake3 {
            return Err(damaged(storage, path, "does not match its hash: it was edited, or is damaged"));
        }
        let manifest: Manifest = FORMAT.read(&content).map_err(|fault| match fault {
            Fault::Damaged(detail) => damaged(storage, path, &detail),
            Fault::Newer(newer) => {
                let detail = format!("it has format version {newer}, this recount reads up to version {FORMAT_VERSION}");
                refused(storage, detail).hint("read it with a newer recount")
            }
        })?;
        manifest.checked(storage, path)
    }

    fn checked(self, storage: &Storage, path: &str) -> Result<Manifest> {
        match self.fault(path) {
            Some(detail) => Err(damaged(storage, path, &detail)),
            None => Ok(self),
        }
    }

    /// What in it no archiving writes.
    fn fault(&self, path: &str) -> Option<String> {
        let wrong = |(path, file): (&String, &FileEntry)| match paths::table_file(path) {
            None => Some(format!("names {path:?}, which is no file of an archive")),
            Some(found) if found != (&file.table, &file.partition) => Some(format!("has {path} in another table or partition")),
            Some(_) if file.bytes > FILE_BYTES => Some(format!("says that {path} has {} bytes, more than any file", file.bytes)),
            Some(_) if !is_hash(&file.blake3) => Some(format!("has no hash of {path}")),
            Some(_) => None,
        };
        let beside_wrong = |(path, file): (&String, &BesideEntry)| match is_beside(path) {
            false => Some(format!("names {path:?}, which is no file of an archive")),
            true if file.bytes > FILE_BYTES => Some(format!("says that {path} has {} bytes, more than any file", file.bytes)),
            true if !is_hash(&file.blake3) => Some(format!("has no hash of {path}")),
            true => None,
        };
        let previous = self.previous.as_ref().and_then(|link| match link.manifest.as_str() {
            previous if previous == path => Some("names itself as the manifest before it".to_owned()),
            previous if !manifest_path(previous) => Some(format!("names {previous:?}, which is no manifest of an archive")),
            _ => None,
        });
        let listed = previous.or_else(|| self.sheet_fault());
        listed.or_else(|| self.files.iter().find_map(wrong)).or_else(|| self.beside.iter().find_map(beside_wrong))
    }
}

fn parse<T: serde::de::DeserializeOwned>(storage: &Storage, path: &str, content: &[u8]) -> Result<T> {
    serde_json::from_slice(content).map_err(|e| damaged(storage, path, &format!("is not what was written: {e}")))
}

/// An archive that cannot be read.
pub fn refused(storage: &Storage, detail: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Snapshot, format!("opening archive {}", storage.display()), detail)
}

/// A file of it that is not what was written.
pub fn damaged(storage: &Storage, path: &str, detail: &str) -> Error {
    refused(storage, format!("{path} {detail}")).hint("`recount verify` names everything that is wrong with it")
}
