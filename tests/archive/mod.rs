//! Archives: what is written, whether it is found again by every tool, and what damage, death and bad networks do to it.

mod bombs;
mod damage;
mod determinism;
mod engines;
mod evolution;
mod examples;
mod history;
mod hostile;
mod keys;
mod killed;
mod meanwhile;
mod newest;
mod nights;
mod privacy;
#[cfg(feature = "query")]
mod query;
mod retained;
mod round_trip;
#[cfg(feature = "cloud")]
mod s3;
mod views;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::recount;
use crate::support::repository::root;

/// The sample snapshot of the repository.
pub fn sample() -> String {
    root().join("data/sample").to_str().expect("a name in UTF-8").to_owned()
}

/// A new folder, and an archive of the sample in it.
pub fn archived_sample() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dest = folder.path().join("archive").to_str().expect("a name in UTF-8").to_owned();
    recount(["archive", &sample(), "--to", &dest]).run().succeeds();
    (folder, dest)
}

/// Every file of an archive with its content.
pub fn files(dest: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    walk(Path::new(dest), Path::new(dest), &mut found);
    found
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("a name in UTF-8");
            found.insert(name.to_owned(), fs::read(&path).expect("a readable file"));
        }
    }
}

/// The manifest in force.
pub fn manifest(dest: &str) -> Json {
    let read = |name: &str| -> Json {
        serde_json::from_slice(&fs::read(Path::new(dest).join(name)).expect("a readable file")).expect("JSON")
    };
    read(read("_latest.json")["manifest"].as_str().expect("a path"))
}

/// Changes the manifest in force, and makes all hashes anew.
pub fn forge(dest: &str, change: impl FnOnce(&mut Json, &str)) {
    let read = |name: &str| -> Json { serde_json::from_slice(&fs::read(Path::new(dest).join(name)).unwrap()).unwrap() };
    let mut link = read("_latest.json");
    let name = link["manifest"].as_str().unwrap().to_owned();
    let mut manifest = read(&name);
    change(&mut manifest, &name);
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    link["blake3"] = blake3::hash(text.as_bytes()).to_hex().to_string().into();
    fs::write(Path::new(dest).join(&name), text).unwrap();
    fs::write(Path::new(dest).join("_latest.json"), link.to_string()).unwrap();
}

/// Rows of a table in the files that are in force.
pub fn rows(dest: &str, table: &str) -> u64 {
    let manifest = manifest(dest);
    let files = manifest["files"].as_object().unwrap().values().filter(|file| file["table"] == table);
    files.map(|file| file["rows"].as_u64().unwrap()).sum()
}

/// Copies a folder with all that is in it.
pub fn copy(from: &str, to: &str) {
    for (name, content) in files(from) {
        let path = Path::new(to).join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
}
