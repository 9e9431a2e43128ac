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
mod manifests;
mod meanwhile;
mod newest;
mod nights;
mod privacy;
#[cfg(feature = "query")]
mod query;
mod questions;
#[cfg(all(feature = "cloud", feature = "query"))]
mod recipes;
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

/// A file of JSON.
pub fn json(dest: &str, name: &str) -> Json {
    serde_json::from_slice(&fs::read(Path::new(dest).join(name)).expect("a readable file")).expect("JSON")
}

/// The manifest in force, with what its sheets say.
pub fn manifest(dest: &str) -> Json {
    let mut manifest = json(dest, json(dest, "_latest.json")["manifest"].as_str().expect("a path"));
    let sheets: Vec<Json> = sheets(&manifest).iter().map(|path| json(dest, path)).collect();
    for list in ["files", "days"] {
        let entries = sheets.iter().filter_map(|sheet| sheet[list].as_object()).flatten();
        manifest[list] = entries.map(|(name, entry)| (name.clone(), entry.clone())).collect::<serde_json::Map<_, _>>().into();
    }
    manifest
}

/// The paths of the sheets of a manifest.
pub fn sheets(manifest: &Json) -> Vec<String> {
    let links = manifest["sheets"].as_array().into_iter().flatten();
    links.map(|link| link["path"].as_str().expect("a path").to_owned()).collect()
}

/// Changes the manifest in force, and makes all hashes anew. All its files and days are in one sheet then.
pub fn forge(dest: &str, change: impl FnOnce(&mut Json, &str)) {
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let mut link = json(dest, "_latest.json");
    let name = link["manifest"].as_str().unwrap().to_owned();
    let mut manifest = manifest(dest);
    let before = sheets(&manifest);
    change(&mut manifest, &name);
    before.iter().for_each(|path| fs::remove_file(Path::new(dest).join(path)).unwrap());
    let (files, days) = (manifest["files"].take(), manifest["days"].take());
    let sheet = serde_json::json!({"format": "recount archive sheet", "version": 1, "days": days, "files": files}).to_string();
    let path = format!("_manifest/sheet-{}.json", &hash(&sheet)[..16]);
    manifest["sheets"] = serde_json::json!([{"path": path, "first": "", "blake3": hash(&sheet)}]);
    fs::write(Path::new(dest).join(&path), sheet).unwrap();
    manifest.as_object_mut().unwrap().retain(|name, _| name != "files" && name != "days");
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    link["blake3"] = hash(&text).into();
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
