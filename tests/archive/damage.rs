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
fn an_edited_manifest_is_named_even_where_its_hash_was_edited_too() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("_manifest/")).unwrap();
    let text = String::from_utf8(content).unwrap();
    let at = text.find("\"digest\": \"").unwrap() + 11;
    let mut edited = text.clone();
    edited.replace_range(at..at + 4, if text[at..].starts_with("0000") { "1111" } else { "0000" });
    fs::write(Path::new(&dest).join(&name), &edited).unwrap();
    names(&dest, &name);
    // With its hash put right, what it says is still not what the evidence comes to.
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
