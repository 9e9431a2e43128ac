//! An archive that somebody forged: nothing outside of its place is read, written or removed, and no damage ends in a panic.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::support::command::Run;
use crate::support::recount;

use super::{archived_sample, files, forge, sample};

fn archive(dest: &str) -> Run {
    recount(["archive", &sample(), "--to", dest, "--era5-weight", "0.5"]).run()
}

/// Ends with an error that speaks of a file, and not with a panic.
fn refused(run: Run, status: i32) -> Run {
    run.ends_with(status).never_says("panicked")
}

#[test]
fn a_pending_list_removes_nothing_outside() {
    let (folder, dest) = archived_sample();
    let precious = folder.path().join("precious");
    fs::write(&precious, "kept").unwrap();
    let before = files(&dest);
    for path in ["../precious", precious.to_str().unwrap(), "scores/../../precious", "_staging/../../precious", "notes.txt"] {
        let pending = json!({"job": "another", "files": [path]}).to_string();
        fs::write(Path::new(&dest).join("_pending.json"), pending).unwrap();
        refused(archive(&dest), 2).stderr_has("_pending.json names");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
        refused(recount(["verify", &dest]).run(), 1).stdout_has("_pending.json");
    }
    fs::remove_file(Path::new(&dest).join("_pending.json")).unwrap();
    assert_eq!(files(&dest), before, "nothing was touched");
}

#[test]
fn symbolic_links_within_an_archive_are_not_followed() {
    let (folder, dest) = archived_sample();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("lock"), "kept").unwrap();
    fs::write(outside.join("other"), "kept").unwrap();
    let untouched = || {
        assert_eq!(fs::read_to_string(outside.join("lock")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(outside.join("other")).unwrap(), "kept");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
    };
    let staging = Path::new(&dest).join("_staging");
    symlink(&outside, &staging).unwrap();
    refused(archive(&dest), 2).stderr_has("_staging cannot be used");
    untouched();
    fs::remove_file(&staging).unwrap();
    fs::create_dir(&staging).unwrap();
    symlink(outside.join("lock"), staging.join("lock")).unwrap();
    refused(archive(&dest), 2).stderr_has("_staging cannot be used");
    untouched();
    fs::remove_dir_all(&staging).unwrap();

    // A table that leads elsewhere is neither read nor written.
    let table = Path::new(&dest).join("scores");
    let moved = folder.path().join("moved");
    fs::rename(&table, &moved).unwrap();
    symlink(&moved, &table).unwrap();
    let count = || walk(&moved);
    let before = count();
    refused(recount(["reconcile", &dest]).run(), 2).stderr_has("symbolic link");
    refused(recount(["verify", &dest]).run(), 1).stdout_has("symbolic link");
    refused(archive(&dest), 2);
    assert_eq!(count(), before);
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }
        })
        .collect();
    names.sort();
    names
}

#[test]
fn pipes_and_devices_are_no_files_of_an_archive() {
    for name in ["_latest.json", "_pending.json"] {
        let (_folder, dest) = archived_sample();
        let path = Path::new(&dest).join(name);
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        refused(archive(&dest), 2).stderr_has("is not a regular file");
        refused(recount(["verify", &dest]).run(), 1).stdout_has("is not a regular file");
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        refused(archive(&dest), 2).stderr_has("symbolic link");
    }
}

/// Changes a manifest, whose name it is given.
type Forgery = fn(&mut Json, &str);

#[test]
fn a_forged_manifest_is_refused_by_every_reader() {
    let forgeries: [(&str, Forgery); 6] = [
        ("names itself", |manifest, name| manifest["previous"] = json!({"manifest": name, "blake3": "0".repeat(64)})),
        ("which is no manifest", |manifest, _| manifest["previous"] = json!({"manifest": "../a.json", "blake3": "0"})),
        ("which is no file of an archive", |manifest, _| {
            let file = manifest["files"].as_object().unwrap().values().next().unwrap().clone();
            manifest["files"]["../precious"] = file;
        }),
        ("\"../precious\", which is no file of an archive", |manifest, _| {
            let file = manifest["beside"].as_object().unwrap().values().next().unwrap().clone();
            manifest["beside"]["../precious"] = file;
        }),
        ("in another table or partition", |manifest, _| {
            let file = manifest["files"].as_object_mut().unwrap().values_mut().next().unwrap();
            file["partition"] = "1999-01-01".into();
        }),
        ("more than any file", |manifest, _| {
            let file = manifest["files"].as_object_mut().unwrap().values_mut().next().unwrap();
            file["bytes"] = (1u64 << 40).into();
        }),
    ];
    for (detail, change) in forgeries {
        let (_folder, dest) = archived_sample();
        forge(&dest, change);
        refused(recount(["reconcile", &dest]).run(), 2).stderr_has(detail);
        refused(recount(["verify", &dest]).run(), 1).stdout_has(detail);
        refused(archive(&dest), 2).stderr_has(detail);
    }
}

#[test]
fn damage_with_hashes_made_anew_is_named_and_never_a_panic() {
    let (_folder, dest) = archived_sample();
    let mut tables = std::collections::BTreeSet::new();
    let chosen: Vec<_> = files(&dest)
        .into_iter()
        .filter(|(name, _)| !name.starts_with('_') && tables.insert(name.split('/').next().unwrap().to_owned()))
        .collect();
    // Footers are where most panics were: the last bytes of a file, and some of its middle.
    for (turn, (name, content)) in chosen.into_iter().enumerate() {
        for (step, from_end) in [9, 20, 60, 150, 400, content.len() / 2].into_iter().enumerate() {
            let mut damaged = content.clone();
            let at = damaged.len().saturating_sub(from_end);
            damaged[at] ^= [0x80, 0x01, 0xff][(turn + step) % 3];
            let path = Path::new(&dest).join(&name);
            fs::write(&path, &damaged).unwrap();
            forge(&dest, |manifest, _| {
                let files = if manifest["files"][&name].is_object() { "files" } else { "beside" };
                manifest[files][&name]["blake3"] = blake3::hash(&damaged).to_hex().to_string().into();
            });
            // Metadata that no reader uses may be changed without anybody noticing.
            let run = recount(["verify", &dest]).run().never_says("panicked");
            assert!(matches!(run.status, Some(0 | 1)), "{name}, byte {at}\n{run}");
            let run = recount(["reconcile", &dest]).run().never_says("panicked");
            assert!(matches!(run.status, Some(0..=2)), "{name}, byte {at}\n{run}");
            #[cfg(feature = "query")]
            if let Some((table, _)) = name.split_once("/").filter(|_| !name.starts_with("latest/")) {
                let run =
                    recount(["query", &dest, &format!("SELECT * FROM {table}"), "--format", "csv"]).run().never_says("panicked");
                assert!(matches!(run.status, Some(0 | 2)), "{name}, byte {at}\n{run}");
                assert!(run.status == Some(0) || run.stderr.contains(&format!("{name} is damaged")), "{name}, byte {at}\n{run}");
            }
            fs::write(&path, &content).unwrap();
            forge(&dest, |manifest, _| {
                let files = if manifest["files"][&name].is_object() { "files" } else { "beside" };
                manifest[files][&name]["blake3"] = blake3::hash(&content).to_hex().to_string().into();
            });
        }
    }
    recount(["verify", &dest]).run().succeeds();
}
