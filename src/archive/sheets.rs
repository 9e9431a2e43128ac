//! The lists of a manifest, its files and its days, in *sheets* of bounded size. A sheet is never changed: an archiving writes those anew
//! that differ, and they lie together by date, so what a night writes does not grow with the nights before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files::manifest::{Fault, Format};
use crate::files::path::is_hash;
use crate::parallel;

use super::Storage;
use super::manifest::{FileEntry, Manifest, RunEntry, damaged};
use super::paths::{sheet_name, sheet_path};

/// Files and days of one sheet: some five nights, in about 25 kB.
const ENTRIES: usize = 128;
/// Neighbours that have no more than this together become one.
const FEW: usize = ENTRIES / 2;
/// Sheets that are fetched at a time: a store takes as long for each answer as for eight.
const AT_ONCE: usize = 8;
/// Digits of a sheet's hash that are in its name.
const NAME_DIGITS: usize = 16;

const FORMAT: Format = Format { name: "recount archive sheet", newest: 1, is_sealed: false };

/// A sheet by its path and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetLink {
    pub path: String,
    /// Where it begins: the digits of a day or a moment, and a path, or none for a day itself.
    pub first: String,
    pub blake3: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sheet {
    format: String,
    version: u64,
    #[serde(default)]
    days: BTreeMap<String, Vec<RunEntry>>,
    #[serde(default)]
    files: BTreeMap<String, FileEntry>,
}

impl Sheet {
    fn new() -> Sheet {
        Sheet { format: FORMAT.name.to_owned(), version: FORMAT.newest, days: BTreeMap::new(), files: BTreeMap::new() }
    }

    fn len(&self) -> usize {
        self.days.len() + self.files.len()
    }

    fn take(&mut self, other: Sheet) {
        self.days.extend(other.days);
        self.files.extend(other.files);
    }
}

enum Entry<'m> {
    Day(&'m str, &'m Vec<RunEntry>),
    File(&'m str, &'m FileEntry),
}

impl Manifest {
    /// Gives its files and days their sheets, which part where those of the manifest before part; and the texts of all, by path.
    pub fn pack(&mut self, former: &[SheetLink]) -> BTreeMap<String, String> {
        let bounds: BTreeSet<&str> = former.iter().map(|link| link.first.as_str()).collect();
        let mut texts = BTreeMap::new();
        let mut links = Vec::new();
        for (first, sheet) in joined(parted(self.entries(), &bounds)) {
            let text = serde_json::to_string(&sheet).expect("plain data") + "\n";
            let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
            let path = sheet_name(&blake3[..NAME_DIGITS]);
            texts.insert(path.clone(), text);
            links.push(SheetLink { path, first, blake3 });
        }
        self.sheets = links;
        texts
    }

    /// By date or moment, so that those lie together that change together.
    fn entries(&self) -> BTreeMap<String, Entry<'_>> {
        let key = |partition: &str, path: &str| {
            // Of a moment all of it: else the files of a second archiving of a day would lie between those of the first.
            let time: String = partition.chars().filter(char::is_ascii_digit).collect();
            format!("{time} {path}")
        };
        let days = self.days.iter().map(|(day, runs)| (key(day, ""), Entry::Day(day, runs)));
        let files = self.files.iter().map(|(path, file)| (key(&file.partition, path), Entry::File(path, file)));
        days.chain(files).collect()
    }

    /// With what its sheets say.
    pub fn whole(mut self, storage: &Storage) -> Result<Manifest> {
        let links = std::mem::take(&mut self.sheets);
        parallel::in_order(
            AT_ONCE,
            &links,
            |link| read(storage, link),
            |sheet| {
                let twice = sheet.files.keys().find(|path| self.files.contains_key(*path));
                if let Some(name) = twice.or_else(|| sheet.days.keys().find(|day| self.days.contains_key(*day))) {
                    return Err(damaged(storage, super::MANIFESTS, &format!("has {name} in two sheets")));
                }
                self.days.extend(sheet.days);
                self.files.extend(sheet.files);
                Ok(())
            },
        )?;
        self.sheets = links;
        Ok(self)
    }

    /// What in its sheets no archiving writes.
    pub(super) fn sheet_fault(&self) -> Option<String> {
        self.sheets.iter().find_map(|link| match &link.path {
            path if !sheet_path(path) => Some(format!("names {path:?}, which is no sheet of an archive")),
            path if !is_hash(&link.blake3) => Some(format!("has no hash of {path}")),
            _ => None,
        })
    }
}

/// A sheet ends where it is full, and where one ended before.
fn parted(entries: BTreeMap<String, Entry<'_>>, bounds: &BTreeSet<&str>) -> Vec<(String, Sheet)> {
    let mut sheets: Vec<(String, Sheet)> = Vec::new();
    let mut last = String::new();
    for (key, entry) in entries {
        let between = (Bound::Excluded(last.as_str()), Bound::Included(key.as_str()));
        let ends = bounds.range::<str, _>(between).next().is_some();
        if ends || sheets.last().is_none_or(|(_, sheet)| sheet.len() == ENTRIES) {
            sheets.push((key.clone(), Sheet::new()));
        }
        let (_, sheet) = sheets.last_mut().expect("invariant: there is one by now");
        match entry {
            Entry::Day(day, runs) => drop(sheet.days.insert(day.to_owned(), runs.clone())),
            Entry::File(path, file) => drop(sheet.files.insert(path.to_owned(), file.clone())),
        }
        last = key;
    }
    sheets
}

fn joined(sheets: Vec<(String, Sheet)>) -> Vec<(String, Sheet)> {
    let mut joined: Vec<(String, Sheet)> = Vec::new();
    for (first, sheet) in sheets {
        match joined.last_mut() {
            Some((_, before)) if before.len() + sheet.len() <= FEW => before.take(sheet),
            _ => joined.push((first, sheet)),
        }
    }
    joined
}

fn read(storage: &Storage, link: &SheetLink) -> Result<Sheet> {
    let path = &link.path;
    let content = storage.read_or_replaced(path)?.ok_or_else(|| damaged(storage, path, "is missing"))?;
    if blake3::hash(&content).to_hex().as_str() != link.blake3 {
        return Err(damaged(storage, path, "does not match its hash: it was edited, or is damaged"));
    }
    FORMAT.read(&content).map_err(|fault| match fault {
        Fault::Damaged(detail) => damaged(storage, path, &detail),
        Fault::Newer(newer) => {
            damaged(storage, path, &format!("has format version {newer}, which its manifest does not go with"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::Scoring;
    use crate::model::time::Micros;

    /// A manifest of this many nights, each with so many files; the last ten nights are written anew each time.
    fn nights(nights: u32) -> Manifest {
        let mut manifest = Manifest::new(Micros(0), Scoring::default());
        for night in 1..=nights {
            let day = format!("{}-{:02}-{:02}", 2025 + night / 360, night % 360 / 30 + 1, night % 30 + 1);
            let state = nights.min(night + 10);
            manifest.days.insert(day.clone(), vec![RunEntry { id: 1, gfs_init: 0, target: 0, retained: night + 90 < nights }]);
            for table in 0..15 {
                let path = format!("t{table:02}/init_date={day}/part-0-{state:016x}.parquet");
                let blake3 = format!("{state:064x}");
                manifest
                    .files
                    .insert(path, FileEntry { table: String::new(), partition: day.clone(), rows: 1, bytes: 1, blake3 });
            }
        }
        manifest
    }

    /// What the archiving of this night writes, and how many sheets there are then.
    fn written(former: &mut Manifest, night: u32) -> usize {
        let mut manifest = nights(night);
        let texts = manifest.pack(&former.sheets);
        let is_new = |path: &str| former.sheets.iter().all(|link| link.path != path);
        let written = texts.iter().filter(|(path, _)| is_new(path)).map(|(_, text)| text.len()).sum();
        *former = manifest;
        written
    }

    #[test]
    fn a_night_writes_as_much_after_years_as_after_months() {
        let mut former = nights(1);
        let written: Vec<usize> = (1..=1000).map(|night| written(&mut former, night)).collect();
        let most = |nights: std::ops::Range<usize>| written[nights].iter().max().copied().unwrap();
        assert!(most(900..1000) <= most(100..200) * 11 / 10, "{} and {}", most(900..1000), most(100..200));
        let entries = 1000 * 16;
        assert!(former.sheets.len() <= entries / FEW, "{} sheets: they stay more than half full", former.sheets.len());
    }

    #[test]
    fn what_is_packed_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
        let mut former = nights(90);
        former.pack(&[]);
        let mut manifest = nights(100);
        for (path, text) in manifest.pack(&former.sheets) {
            storage.write(&path, text.as_bytes()).unwrap();
        }
        let head = Manifest { days: BTreeMap::new(), files: BTreeMap::new(), ..manifest.clone() };
        assert_eq!(head.clone().whole(&storage).unwrap(), manifest);
        let twice = Manifest { sheets: [head.sheets.clone(), head.sheets.clone()].concat(), ..head };
        assert!(twice.whole(&storage).unwrap_err().to_string().contains("in two sheets"));
    }
}
