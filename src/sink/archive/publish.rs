//! The last act of archiving: what may exist is announced, files take their places, the manifest, `_latest.json`, and only
//! then what stands beside the tables, and at last what was replaced is removed. Wherever this is cut off, `_latest.json` names a
//! manifest whose tables are all there, and what stands beside them is of this state or of the one before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ArchiveWriter;
use crate::archive::beside::is_beside;
use crate::archive::manifest::{FileEntry, Link, Replaced};
use crate::archive::{LATEST, MANIFESTS, Manifest, PENDING, STAGING, Storage, day, manifest, paths};
use crate::error::{Error, ErrorKind, Result};
use crate::model::time::Micros;

/// `_pending.json`: what a job may have put in place, or may have removed only in part.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Tells this job from any other.
    job: String,
    pub files: Vec<String>,
}

impl Pending {
    /// What a job at work, or a killed one, has announced.
    pub fn read(storage: &Storage) -> Result<Option<Pending>> {
        // It is written whole before any file moves, so one that cannot be read announces nothing.
        let pending: Option<Pending> = storage.read(PENDING)?.and_then(|content| serde_json::from_slice(&content).ok());
        let unknown = pending.iter().flat_map(|pending| &pending.files).find(|path| !paths::is_known(path));
        unknown.map_or(Ok(()), |path| {
            let detail = format!("names {path:?}, which is no file of an archive");
            Err(manifest::damaged(storage, PENDING, &detail)
                .hint("nothing was touched; no archiving writes such a file: remove it"))
        })?;
        Ok(pending)
    }
}

/// The result of publishing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    pub written: u64,
    pub unchanged: u64,
    pub removed: u64,
    /// Of the files written.
    pub bytes: u64,
    /// Of all files that are in force.
    pub total_bytes: u64,
    pub total_rows: u64,
}

impl ArchiveWriter {
    /// Publishes the staged files under this manifest, whose files, history and place in the chain are filled in here.
    pub fn publish(mut self, mut manifest: Manifest) -> Result<Published> {
        manifest.files = std::mem::take(&mut self.files);
        self.write_views(&manifest)?;
        let former = self.former.as_ref().map(|(_, former)| former);
        let in_force = former.iter().flat_map(|former| &former.files);
        let replaced: Vec<_> = in_force.filter(|(path, _)| !manifest.files.contains_key(*path)).collect();
        manifest.beside = std::mem::take(&mut self.beside);
        manifest.history = history(&replaced, manifest.as_of);
        manifest.previous = self.former.as_ref().map(|(link, _)| link.clone());
        let published = Published {
            written: (self.staged.len() + self.staged_beside.len()) as u64,
            unchanged: (manifest.files.len() + manifest.beside.len() - self.staged.len() - self.staged_beside.len()) as u64,
            removed: replaced.len() as u64,
            bytes: self.staged.keys().map(|path| manifest.files[path].bytes).sum::<u64>()
                + self.staged_beside.keys().map(|path| manifest.beside[path].bytes).sum::<u64>(),
            total_bytes: manifest.bytes(),
            total_rows: manifest.files.values().map(|file| file.rows).sum(),
        };
        let same = |former: &Manifest| {
            let (previous, history, sheets) = (former.previous.clone(), former.history.clone(), former.sheets.clone());
            *former == Manifest { previous, history, sheets, ..manifest.clone() }
        };
        if self.staged.is_empty() && self.staged_beside.is_empty() && former.is_some_and(same) {
            self.storage.remove(PENDING)?;
            return Ok(published);
        }
        let sheets = manifest.pack(former.map_or(&[], |former| &former.sheets));
        let of_sheets = |manifest: &Manifest| manifest.sheets.iter().map(|link| link.path.clone()).collect::<BTreeSet<_>>();
        let (before, after) = (former.map(of_sheets).unwrap_or_default(), of_sheets(&manifest));
        let removed: Vec<String> = replaced.into_iter().map(|(path, _)| path.clone()).chain(&before - &after).collect();
        let sheets = sheets.into_iter().filter(|(path, _)| !before.contains(path)).collect();
        self.put_in_place(&manifest, &sheets, &removed)?;
        self.put_beside()?;
        self.set_aside(&removed)?;
        self.storage.remove(PENDING)?;
        Ok(published)
    }

    fn put_in_place(&self, manifest: &Manifest, sheets: &BTreeMap<String, String>, removed: &[String]) -> Result<()> {
        let text = manifest.text();
        let path = self.free_name(Micros(manifest.as_of))?;
        let put = self.staged.keys().chain(self.staged_beside.keys()).chain(sheets.keys());
        let announced = put.chain(removed).chain([&path]).cloned().collect();
        let pending = serde_json::to_vec_pretty(&Pending { job: job_name(), files: announced }).expect("plain data");
        self.storage.write(PENDING, &pending)?;
        self.staged.iter().try_for_each(|(path, file)| self.storage.publish(file, path))?;
        self.check(manifest)?;
        if self.storage.read(PENDING)?.as_deref() != Some(&pending) {
            let error =
                Error::new(ErrorKind::Refused, format!("archiving to {}", self.storage.display()), "another job took over");
            return Err(error.hint("let one job at a time archive to a place"));
        }
        sheets.iter().try_for_each(|(path, text)| self.storage.write(path, text.as_bytes()))?;
        self.storage.write(&path, text.as_bytes())?;
        let link = Link { manifest: path, blake3: blake3::hash(text.as_bytes()).to_hex().to_string() };
        let link = serde_json::to_string_pretty(&link).expect("plain data") + "\n";
        self.storage.replace(LATEST, &self.latest, link.as_bytes())
    }

    /// Only now, when nobody else can have won: what has a name that stays must be of the manifest in force.
    fn put_beside(&self) -> Result<()> {
        let put = self.staged_beside.iter().try_for_each(|(path, file)| self.storage.publish(file, path));
        put.map_err(|e| e.hint("all tables are archived; run it again, so that what stands beside them follows"))
    }

    /// What was replaced stays until the next archiving, for readers that hold the previous manifest. What the last archiving left is removed.
    fn set_aside(&self, removed: &[String]) -> Result<()> {
        let old = self.there.keys().filter(|path| paths::before_replaced(path).is_some());
        old.into_iter().try_for_each(|path| self.storage.remove(path))?;
        removed.iter().try_for_each(|path| if self.forgets { self.storage.remove(path) } else { self.storage.set_aside(path) })
    }

    /// No manifest may name a file that is not there.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let there = self.storage.list()?;
        let absent = manifest.files.iter().find(|(path, file)| there.get(*path) != Some(&file.bytes));
        absent.map_or(Ok(()), |(path, _)| {
            let doing = format!("archiving to {}", self.storage.display());
            Err(Error::new(ErrorKind::Io, doing, format!("{path} is not there, or not whole"))
                .hint("what was archived before is still in force; `recount verify` tells more"))
        })
    }

    /// The path of a new manifest: its moment, numbered where that was archived before.
    fn free_name(&self, as_of: Micros) -> Result<String> {
        let there = self.storage.list()?;
        let stamp = day::stamp(as_of);
        let name = |n: u32| match n {
            1 => format!("{MANIFESTS}/{stamp}.json"),
            n => format!("{MANIFESTS}/{stamp}-{n}.json"),
        };
        Ok((1..).map(name).find(|name| !there.contains_key(name)).expect("invariant: numbers do not run out"))
    }
}

/// Of this archiving alone: the manifests before have those of theirs.
fn history(replaced: &[(&String, &FileEntry)], as_of: i64) -> BTreeMap<String, Vec<Replaced>> {
    let mut history: BTreeMap<String, Vec<Replaced>> = BTreeMap::new();
    for (path, file) in replaced {
        let folder = path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder);
        let entry = Replaced { as_of, rows: file.rows, blake3: file.blake3.clone() };
        history.entry(folder.to_owned()).or_default().push(entry);
    }
    history
}

fn job_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
}

fn announced(storage: &Storage) -> Result<Vec<String>> {
    Ok(Pending::read(storage)?.map(|pending| pending.files).unwrap_or_default())
}

/// Refuses a place that holds something, but no archive.
pub fn check_place(storage: &Storage, former: Option<&(Link, Manifest)>) -> Result<()> {
    if former.is_some() {
        return Ok(());
    }
    let announced = announced(storage)?;
    let own = |path: &String| path == PENDING || path.starts_with(STAGING) || announced.contains(path);
    let litter = |path: &str, bytes: u64| paths::is_litter(path, bytes, &BTreeSet::new());
    let foreign = storage.list()?.into_iter().find(|(path, bytes)| !own(path) && !litter(path, *bytes));
    foreign.map_or(Ok(()), |(path, _)| {
        let detail = format!("it is no archive, and holds {path}");
        let error = Error::new(ErrorKind::Usage, format!("archiving to {}", storage.display()), detail);
        Err(error.hint("give a new or empty folder, or one that holds an archive"))
    })
}

/// Removes what a killed job has put in place and no manifest names.
pub fn recover(storage: &Storage, former: Option<&(Link, Manifest)>) -> Result<()> {
    let in_force = |path: &str| {
        former.is_some_and(|(link, manifest)| {
            let is_sheet = manifest.sheets.iter().any(|link| link.path == path);
            is_sheet || manifest.files.contains_key(path) || manifest.beside.contains_key(path) || link.manifest == path
        })
    };
    let announced = announced(storage)?;
    announced.iter().filter(|path| !in_force(path)).try_for_each(|path| storage.remove(path))?;
    // What stands beside the tables may be of an earlier state, which stays announced until this job has put it right.
    let pending = Pending { job: job_name(), files: announced.into_iter().filter(|path| is_beside(path)).collect() };
    match pending.files.is_empty() {
        true => storage.remove(PENDING),
        false => storage.write(PENDING, &serde_json::to_vec_pretty(&pending).expect("plain data")),
    }
}
