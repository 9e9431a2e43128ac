//! Whatever is done to an archive, `verify` names it.

use std::fs;
use std::path::Path;

use crate::support::recount;

use super::{archived_sample, files, manifest, sample};

fn names(dest: &str, path: &str) {
    recount(["verify", dest]).run().ends_with(1).stdout_has(path).stdout_has("NOT INTACT");
}

#[test]
fn a_flipped_byte_is_named_in_any_file() {
    let (_folder, dest) = archived_sample();
    // One file of each table, and each file beside them; the place in the file goes on from one to the next.
    let mut tables = std::collections::BTreeSet::new();
    let chosen: Vec<_> = files(&dest)
        .into_iter()
        .filter(|(name, _)| name.starts_with('_') || tables.insert(name.split('/').next().unwrap().to_owned()))
        .collect();
    assert!(chosen.len() > 14, "{}", chosen.len());
    for (turn, (name, content)) in chosen.into_iter().enumerate() {
        let mut flipped = content.clone();
        let at = flipped.len() * (turn % 7) / 7;
        flipped[at] ^= 1 << (turn % 8);
        fs::write(Path::new(&dest).join(&name), flipped).unwrap();
        names(&dest, &name);
        fs::write(Path::new(&dest).join(&name), content).unwrap();
    }
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn a_missing_and_an_added_file_are_named() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("scores/")).unwrap();
    fs::remove_file(Path::new(&dest).join(&name)).unwrap();
    names(&dest, &name);
    fs::write(Path::new(&dest).join(&name), &content).unwrap();
    // The right content in a wrong day would be counted twice by everyone who reads with a pattern.
    for added in ["scores/init_date=1999-01-01", "steps", "_manifest"] {
        let added = format!("{added}/{}", name.rsplit('/').next().unwrap());
        let path = Path::new(&dest).join(&added);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        names(&dest, &added);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_file_browsers_and_buckets_leave_is_passed_over_with_a_note() {
    let (_folder, dest) = archived_sample();
    let day = files(&dest).into_keys().find(|name| name.starts_with("scores/")).unwrap();
    let day = day.rsplit_once('/').unwrap().0.to_owned();
    let litter = [
        (".DS_Store", "\0\0\0\u{1}Bud1"),
        ("Thumbs.db", "thumbs"),
        ("scores/_SUCCESS", ""),
        ("scores_$folder$", ""),
        (&format!("{day}_$folder$"), ""),
        (&format!("{day}/.DS_Store"), "more"),
    ];
    for (name, content) in litter {
        fs::write(Path::new(&dest).join(name), content).unwrap();
    }
    let told = recount(["verify", &dest]).run().succeeds().stdout_has("Intact").stdout_has("note: passed over");
    assert!(told.stdout.contains("and 5 more"), "{told}");
    recount(["archive", &sample(), "--to", &dest, "--era5-weight", "0.5"]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    // Of a name that somebody reads, or with something in it, it is what was added.
    for name in ["letter_$folder$", "scores/a.parquet", "miner_stats_$folder$"] {
        fs::write(Path::new(&dest).join(name), if name.starts_with("miner") { "1" } else { "" }).unwrap();
        names(&dest, name);
        fs::remove_file(Path::new(&dest).join(name)).unwrap();
    }
    // A folder that somebody looked into is as good as empty.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".DS_Store"), "seen").unwrap();
    recount(["archive", &sample(), "--to", folder.path().to_str().unwrap()]).run().succeeds();
}

#[test]
fn a_broken_manifest_is_said_to_be_what_is_wrong() {
    let (_folder, dest) = archived_sample();
    let name = files(&dest).into_keys().find(|name| name.starts_with("_manifest/")).unwrap();
    for broken in [&name, "_latest.json"] {
        fs::write(Path::new(&dest).join(broken), "{").unwrap();
        let told = recount(["verify", &dest]).run().ends_with(1).stdout_has("NOT INTACT, 1 problem: 0 files, broken manifest");
        assert!(told.stdout.contains(broken) && !told.stdout.contains("1970"), "{told}");
        let report = recount(["verify", &dest, "--format", "json"]).run().ends_with(1).json();
        assert_eq!((&report["as_of"], &report["files"]), (&serde_json::Value::Null, &0.into()));
    }
}

#[test]
fn an_edited_manifest_is_named_even_where_its_hash_was_edited_too() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("_manifest/")).unwrap();
    let text = String::from_utf8(content).unwrap();
    let at = text.find("\"digest\": \"").unwrap() + 11;
    let mut edited = text.clone();
    edited.replace_range(at..at + 4, if text[at..].starts_with("0000") { "1111" } else { "0000" });
    fs::write(Path::new(&dest).join(&name), &edited).unwrap();
    names(&dest, &name);
    // With its hash put right, what it says is still not what the evidence gives.
    let latest = Path::new(&dest).join("_latest.json");
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let link = fs::read_to_string(&latest).unwrap().replace(&hash(&text), &hash(&edited));
    fs::write(&latest, link).unwrap();
    names(&dest, "the digest of all rollups");
}

#[test]
fn the_past_is_held_to_its_hashes_too() {
    let (_folder, dest) = archived_sample();
    recount(["archive", &sample(), "--to", &dest, "--era5-weight", "0.5"]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    let first = manifest(&dest)["previous"]["manifest"].as_str().unwrap().to_owned();
    let path = Path::new(&dest).join(&first);
    let content = fs::read_to_string(&path).unwrap();
    fs::write(&path, content.replacen("\"era5_weight\": 0.95", "\"era5_weight\": 0.90", 1)).unwrap();
    assert_ne!(fs::read_to_string(&path).unwrap(), content);
    names(&dest, &first);
    fs::remove_file(&path).unwrap();
    names(&dest, &first);
}

#[test]
fn a_lost_file_is_written_again_from_its_source() {
    let (_folder, dest) = archived_sample();
    let whole = files(&dest);
    for name in whole.keys().filter(|name| name.contains("init_date=2025-01-04")) {
        fs::remove_file(Path::new(&dest).join(name)).unwrap();
    }
    recount(["verify", &dest]).run().ends_with(1).stdout_has("is missing");
    recount(["archive", &sample(), "--to", &dest]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    assert!(
        whole.iter().filter(|(name, _)| !name.starts_with('_')).all(|(name, content)| files(&dest).get(name) == Some(content))
    );
}
