//! Folders of ours with one file in them that somebody forged: all hashes and seals are made anew, so that it is read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use recount::internals::files::{NO_HASH, seal};
use recount::internals::pipeline::verify;
use recount::internals::sink::{read_diff, script_of};
use recount::{Job, SourceOptions, compare, open};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Target, said};
use crate::lexer;

/// The first byte of an input says which file it is, and by its highest bit what is done with the folder, where that is one of two
/// things; the rest is what the file holds.
pub struct Folder {
    _home: TempDir,
    dir: PathBuf,
    whole: BTreeMap<String, Vec<u8>>,
    /// The files that are forged.
    names: Vec<String>,
    /// What was forged by the last input.
    last: Option<String>,
    kind: Kind,
}

struct Kind {
    is_manifest: fn(&str) -> bool,
    /// Writes this content of a file, and whatever has its hash.
    put: fn(&Folder, &str, &[u8]),
    run: [fn(&Path) -> String; 2],
}

pub fn snapshot(manifest: bool) -> Folder {
    let kind = Kind { is_manifest: |name| name == "manifest.json", put: put_in_snapshot, run: [run_snapshot; 2] };
    Folder::made(manifest, kind, |home| {
        generate(home, "made", &["--runs", "2", "--miners", "3"]);
    })
}

pub fn archive(manifest: bool) -> Folder {
    let is_manifest = |name: &str| name.starts_with('_') && name.ends_with(".json");
    Folder::made(manifest, Kind { is_manifest, put: put_in_archive, run: [run_archive, run_verify] }, |home| {
        // As little as has evidence of every kind: every input is answered by reading all of it.
        generate(home, "from", &["--runs", "2", "--miners", "2"]);
        recount(home, &["archive", "from", "--to", "made"], 0);
    })
}

pub fn diff(manifest: bool) -> Folder {
    let kind = Kind { is_manifest: |name| name == "manifest.json", put: put_in_diff, run: [run_diff; 2] };
    Folder::made(manifest, kind, |home| {
        generate(home, "from", &["--runs", "2", "--miners", "3"]);
        recount(home, &["diff", "from", "--out", "made"], 1);
    })
}

fn recount(home: &Path, args: &[&str], status: i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_recount")).args(args).current_dir(home).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(status), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn generate(home: &Path, out: &str, size: &[&str]) {
    let kind = ["--seed", "1", "--leads", "24", "--messy", "--drift", "2"];
    recount(home, &[&["generate", "--out", out][..], size, &kind].concat(), 0);
}

/// The Parquet files of an archive, by their paths.
pub fn parquet_of_an_archive() -> impl Iterator<Item = (String, Vec<u8>)> {
    archive(false).whole.into_iter().filter(|(name, _)| name.ends_with(".parquet"))
}

/// All files below a folder, by their paths from there.
fn files(root: &Path, below: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(below).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(root, &path, into);
        } else {
            let name = path.strip_prefix(root).expect("below it").to_str().expect("UTF-8").to_owned();
            into.insert(name, fs::read(&path).expect("a file"));
        }
    }
}

impl Folder {
    fn made(manifest: bool, kind: Kind, make: fn(&Path)) -> Folder {
        // In memory, where there is such a place: a file is written for each input.
        let memory = Path::new("/dev/shm");
        let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
        make(home.path());
        let dir = home.path().join("made");
        let mut whole = BTreeMap::new();
        files(&dir, &dir, &mut whole);
        let names = whole.keys().filter(|name| (kind.is_manifest)(name) == manifest).cloned().collect();
        Folder { _home: home, dir, whole, names, last: None, kind }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.join(name), content).expect("a file that can be written");
    }

    fn json(&self, name: &str) -> Json {
        serde_json::from_slice(&self.whole[name]).expect("JSON")
    }
}

/// What is said of a folder in which nothing was forged.
const FINE: [&str; 3] = ["done", "a script", "in order"];
/// Set in the first byte of an input: the second of two ways.
const WAY: u8 = 1 << 7;

impl Target for Folder {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let ways = [0, WAY];
        let named = |at: u8, name: &String| ways.map(|way| [&[at | way][..], &self.whole[name]].concat());
        (0u8..).zip(&self.names).flat_map(|(at, name)| named(at, name)).collect()
    }

    fn run(&mut self, input: &[u8]) -> String {
        let Some((at, content)) = input.split_first() else { return String::new() };
        let run = self.kind.run[usize::from(*at & WAY != 0)];
        let name = self.names[usize::from(*at & !WAY) % self.names.len()].clone();
        if let Some(last) = self.last.take() {
            self.write(&last, &self.whole[&last]);
        }
        (self.kind.put)(self, &name, content);
        let answer = run(&self.dir);
        // An input that ends at the door whatever is in it would try nothing.
        assert!(content != self.whole[&name] || FINE.contains(&answer.as_str()), "{name} as it was made: {answer}");
        self.last = Some(name);
        answer
    }
}

fn hash(content: &[u8]) -> Json {
    blake3::hash(content).to_hex().as_str().into()
}

/// Puts the right seal to a text that has room for one.
fn sealed(text: &[u8]) -> Vec<u8> {
    const KEY: &str = "\"manifest_blake3\": \"";
    let Ok(mut text) = std::str::from_utf8(text).map(str::to_owned) else { return text.to_vec() };
    match text.rfind(KEY).map(|at| at + KEY.len()).map(|at| at..at + NO_HASH.len()) {
        Some(place) if text.get(place.clone()).is_some() => {
            text.replace_range(place, NO_HASH);
            seal(&text).into_bytes()
        }
        _ => text.into_bytes(),
    }
}

fn put_in_snapshot(folder: &Folder, name: &str, content: &[u8]) {
    if (folder.kind.is_manifest)(name) {
        return folder.write(name, sealed(content));
    }
    folder.write(name, content);
    let mut manifest = folder.json("manifest.json");
    let entry = manifest["files"].get_mut(name).expect("a file of the manifest");
    (entry["bytes"], entry["blake3"], entry["checksums"]) = (content.len().into(), hash(content), Json::Null);
    folder.write("manifest.json", sealed(&serde_json::to_vec_pretty(&manifest).expect("JSON")));
}

fn run_snapshot(dir: &Path) -> String {
    said(reconcile(dir))
}

fn reconcile(dir: &Path) -> recount::Result<()> {
    let source = open(&dir.to_str().expect("UTF-8").parse()?, &SourceOptions::default())?;
    compare(&Job { threads: 1, ..Job::default() }, &source, &()).map(drop)
}

fn put_in_archive(folder: &Folder, name: &str, content: &[u8]) {
    // The input before may have had other hashes put into them.
    for (name, content) in folder.whole.iter().filter(|(name, _)| (folder.kind.is_manifest)(name)) {
        folder.write(name, content);
    }
    folder.write(name, content);
    let mut link = folder.json("_latest.json");
    if name == "_latest.json" {
        return;
    }
    let newest = link["manifest"].as_str().expect("a name").to_owned();
    let manifest = if name == newest {
        content.to_vec()
    } else {
        let mut manifest = folder.json(&newest);
        let fresh = |entry: &mut Json| (entry["bytes"], entry["blake3"]) = (content.len().into(), hash(content));
        if let Some(entry) = manifest["beside"].get_mut(name) {
            fresh(entry);
        }
        for link in manifest["sheets"].as_array_mut().expect("a list") {
            let path = link["path"].as_str().expect("a path").to_owned();
            let mut sheet = folder.json(&path);
            if path == name {
                link["blake3"] = hash(content);
            } else if sheet["files"].get_mut(name).map(fresh).is_some() {
                let sheet = serde_json::to_vec(&sheet).expect("JSON");
                link["blake3"] = hash(&sheet);
                folder.write(&path, sheet);
            }
        }
        serde_json::to_vec_pretty(&manifest).expect("JSON")
    };
    link["blake3"] = hash(&manifest);
    folder.write(&newest, manifest);
    folder.write("_latest.json", link.to_string());
}

fn run_archive(dir: &Path) -> String {
    said(reconcile(dir))
}

fn run_verify(dir: &Path) -> String {
    let problems = verify(dir.to_str().expect("UTF-8"), 1, &()).map(|verified| {
        let problems = verified.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.detail));
        problems.collect::<Vec<_>>().join("; ")
    });
    problems.map_or_else(|error| error.to_string(), |found| if found.is_empty() { "in order".to_owned() } else { found })
}

fn put_in_diff(folder: &Folder, name: &str, content: &[u8]) {
    if (folder.kind.is_manifest)(name) {
        return folder.write(name, sealed(content));
    }
    folder.write(name, content);
    let mut manifest = folder.json("manifest.json");
    let entry = manifest["files"].get_mut(name).expect("a file of the manifest");
    (entry["bytes"], entry["blake3"]) = (content.len().into(), hash(content));
    folder.write("manifest.json", sealed(&serde_json::to_vec_pretty(&manifest).expect("JSON")));
}

/// What a diff says becomes the script of `apply --sql`, in which every text stays a text.
fn run_diff(dir: &Path) -> String {
    match read_diff(dir) {
        Ok(corrections) => {
            let script = script_of(&corrections);
            let text = script.split_once("AUTOCOMMIT on\n").expect("the settings of psql").1;
            assert_eq!(lexer::flaw(text), None);
            "a script".to_owned()
        }
        Err(error) => error.to_string(),
    }
}
