//! The files of an archive, without a look at what their rows mean: is every one there, as it was written, and none beside them?

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::beside::{BesideEntry, VIEWS};
use crate::archive::manifest::{FileEntry, Link, Replaced};
use crate::archive::paths::{before_replaced, is_litter};
use crate::archive::read::rows_in;
use crate::archive::{LATEST, MANIFESTS, Manifest, PENDING, STAGING, Storage, views};
use crate::error::{ErrorKind, Result};
use crate::model::job::Watch;
use crate::parallel;
use crate::sink::archive::Pending;

use super::verify::{Problem, Verified, problem};

/// What the manifests before the one in force tell.
#[derive(Default)]
struct Past {
    manifests: BTreeSet<String>,
    /// What files beside the tables were once; no hash: there was none.
    beside: BTreeMap<String, BTreeSet<Option<String>>>,
    /// The hashes of what was replaced: files by partition, and sheets by path.
    files: BTreeMap<String, Vec<String>>,
    sheets: BTreeMap<String, String>,
}

/// Since this version of a manifest the text of the views is what it is.
const VIEWS_VERSION: u64 = 4;

/// Every file is known, and the manifests hang together down to the first.
pub fn check(storage: &Storage, link: &Link, manifest: &Manifest, verified: &mut Verified) -> Result<()> {
    let past = past(storage, link, manifest, verified)?;
    let mut known: BTreeSet<String> = manifest.files.keys().chain(manifest.beside.keys()).cloned().collect();
    known.extend(manifest.sheets.iter().map(|link| link.path.clone()));
    known.extend([LATEST.to_owned(), PENDING.to_owned()].into_iter().chain(past.manifests.iter().cloned()));
    let announced: BTreeSet<String> = match Pending::read(storage) {
        Err(error) if error.kind() == ErrorKind::Snapshot => {
            verified.problems.push(problem(PENDING, error.to_string()));
            BTreeSet::new()
        }
        pending => pending?.map(|pending| pending.files.into_iter().collect()).unwrap_or_default(),
    };
    let mut leftovers = 0;
    let mut litter = Vec::new();
    for (path, bytes) in storage.list()?.into_iter().filter(|(path, _)| !known.contains(path)) {
        if let Some(before) = before_replaced(&path).and_then(|before| was_replaced(&past, before)) {
            if let Some(detail) = not_as_it_was(storage, &path, before)? {
                verified.problems.push(problem(path, detail));
            }
        } else if is_litter(&path, bytes, &known) {
            litter.push(if path.is_empty() { "/".to_owned() } else { path });
        } else if announced.contains(&path) || path.starts_with(&format!("{STAGING}/")) {
            leftovers += 1;
        } else {
            let what =
                if path.starts_with(MANIFESTS) { "is no manifest of this archive" } else { "is in no manifest: it was added" };
            verified.problems.push(problem(path, what));
        }
    }
    if leftovers > 0 || !announced.is_empty() {
        verified.notes.push(format!("an archiving is at work or was cut off ({leftovers} files); the next one sweeps them"));
    }
    if let Some(first) = litter.first() {
        let more = if litter.len() > 1 { format!(" and {} more", litter.len() - 1) } else { String::new() };
        verified.notes.push(format!("passed over what file browsers and buckets leave: {first}{more}"));
    }
    check_beside(storage, manifest, &announced, &past, verified)
}

/// The hash of a file or a sheet that was replaced; a file's name begins with it.
fn was_replaced<'p>(past: &'p Past, path: &str) -> Option<&'p str> {
    if let Some(hash) = past.sheets.get(path) {
        return Some(hash);
    }
    let (folder, name) = path.rsplit_once('/')?;
    let hash = name.strip_suffix(".parquet")?.rsplit('-').next()?;
    past.files.get(folder)?.iter().map(String::as_str).find(|known| known.starts_with(hash))
}

impl Past {
    fn take_history(&mut self, history: &BTreeMap<String, Vec<Replaced>>) {
        for (folder, replaced) in history {
            let hashes = replaced.iter().map(|replaced| replaced.blake3.clone());
            self.files.entry(folder.clone()).or_default().extend(hashes);
        }
    }
}

fn not_as_it_was(storage: &Storage, path: &str, blake3: &str) -> Result<Option<String>> {
    let content = match storage.read(path) {
        Err(error) if error.kind() == ErrorKind::Snapshot => return Ok(Some(error.to_string())),
        content => content?,
    };
    // Another archiving may have removed it meanwhile.
    let is_other = content.is_some_and(|content| blake3::hash(&content).to_hex().as_str() != blake3);
    Ok(is_other.then(|| "was replaced, and is not what it was".to_owned()))
}

fn past(storage: &Storage, link: &Link, manifest: &Manifest, verified: &mut Verified) -> Result<Past> {
    let mut past = Past::default();
    past.manifests.insert(link.manifest.clone());
    past.take_history(&manifest.history);
    let mut previous = manifest.previous.clone();
    let is_first = previous.is_none();
    while let Some(link) = previous {
        if !past.manifests.insert(link.manifest.clone()) {
            verified.problems.push(problem(&link.manifest, "comes before itself: the chain of manifests has no beginning"));
            break;
        }
        previous = match Manifest::at(storage, &link) {
            Ok(before) => {
                for path in manifest.beside.keys() {
                    let hash = before.beside.get(path).map(|entry| entry.blake3.clone());
                    past.beside.entry(path.clone()).or_default().insert(hash);
                }
                past.take_history(&before.history);
                past.sheets.extend(before.sheets.into_iter().map(|link| (link.path, link.blake3)));
                before.previous
            }
            Err(error) if error.kind() == ErrorKind::Snapshot => {
                verified.problems.push(problem(&link.manifest, error.to_string()));
                None
            }
            Err(error) => return Err(error),
        };
    }
    if is_first {
        past.beside = manifest.beside.keys().map(|path| (path.clone(), BTreeSet::from([None]))).collect();
    }
    Ok(past)
}

/// Files beside the tables follow the manifest, so a job that was cut off leaves them as they were before.
fn check_beside(
    storage: &Storage,
    manifest: &Manifest,
    announced: &BTreeSet<String>,
    past: &Past,
    verified: &mut Verified,
) -> Result<()> {
    for (path, entry) in &manifest.beside {
        let (detail, found) = match whole(storage, manifest, path, entry) {
            Err(error) if error.kind() == ErrorKind::Snapshot => (error.to_string(), None),
            found => match found? {
                (None, _) => continue,
                (Some(detail), hash) => (detail, Some(hash)),
            },
        };
        let was_so = |hash| past.beside.get(path).is_some_and(|hashes| hashes.contains(&hash));
        if announced.contains(path) && found.is_some_and(was_so) {
            verified.notes.push(format!("{path} is of an earlier state; the next archiving brings it up to date"));
        } else {
            verified.problems.push(problem(path, detail));
        }
    }
    Ok(())
}

/// What is wrong with a file beside the tables, and the hash of what is there.
fn whole(storage: &Storage, manifest: &Manifest, path: &str, entry: &BesideEntry) -> Result<(Option<String>, Option<String>)> {
    let Some(content) = storage.read(path)? else { return Ok((Some("is missing".to_owned()), None)) };
    let hash = blake3::hash(&content).to_hex().to_string();
    let detail = if hash != entry.blake3 {
        Some("does not match its hash")
    } else if path == VIEWS && manifest.version >= VIEWS_VERSION && content != views::text(manifest).as_bytes() {
        Some("does not match its tables")
    } else {
        None
    };
    Ok((detail.map(str::to_owned), Some(hash)))
}

/// Presence, size, hash and rows of every file.
pub fn check_files(storage: &Storage, manifest: &Manifest, threads: usize, watch: &dyn Watch) -> Result<Vec<Problem>> {
    let files: Vec<_> = manifest.files.iter().collect();
    let mut problems = Vec::new();
    let mut done = 0;
    let check = |(path, entry): &(&String, &FileEntry)| {
        watch.check()?;
        Ok(check_file(storage, path, entry)?.map(|detail| problem(*path, detail)))
    };
    parallel::in_order(threads, &files, check, |found| {
        problems.extend(found);
        done += 1;
        watch.progress("files", done, files.len() as u64);
        Ok(())
    })?;
    Ok(problems)
}

fn check_file(storage: &Storage, path: &str, entry: &FileEntry) -> Result<Option<String>> {
    let content = match storage.read(path) {
        Err(error) if error.kind() == ErrorKind::Snapshot => return Ok(Some(error.to_string())),
        content => content?,
    };
    let Some(content) = content else { return Ok(Some("is missing".to_owned())) };
    let bytes = content.len() as u64;
    if bytes != entry.bytes {
        return Ok(Some(format!("has {bytes} bytes, the manifest says {}", entry.bytes)));
    }
    if blake3::hash(&content).to_hex().as_str() != entry.blake3 {
        return Ok(Some("does not match its hash".to_owned()));
    }
    Ok(match rows_in(&content) {
        Ok(rows) if rows == entry.rows => None,
        Ok(rows) => Some(format!("has {rows} rows, the manifest says {}", entry.rows)),
        Err(error) => Some(format!("cannot be read: {error}")),
    })
}
