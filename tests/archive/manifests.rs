//! Manifests grow with what they list, and a night writes as much of them after fifty archivings as after thirty.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{database, recount};

use super::{archived_sample, files, json, manifest, sample, sheets};

const ARCHIVINGS: usize = 50;

/// Manifests and sheets by path.
fn manifests(dest: &str) -> BTreeMap<String, Vec<u8>> {
    files(dest).into_iter().filter(|(name, _)| name.starts_with("_manifest/")).collect()
}

fn bytes<'f>(files: impl IntoIterator<Item = &'f Vec<u8>>) -> usize {
    files.into_iter().map(Vec::len).sum()
}

/// Each night a run is new, and the ten before it are written anew.
#[test]
fn fifty_archivings_write_the_same_amount_each() {
    let db = database();
    let url = db.url();
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    let runs = ARCHIVINGS.to_string();
    recount(["generate", "--runs", &runs, "--miners", "2", "--seed", "6", "--no-components", "--database-url", &url])
        .run()
        .succeeds();
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let (mut written, mut before) = (Vec::new(), BTreeMap::new());
    for night in 1..=ARCHIVINGS {
        db.execute(&format!(
            "UPDATE weather_miner_scores SET score = score * 0.999 WHERE run_id BETWEEN {night} - 10 AND {night}"
        ));
        recount(["archive", &url, "--to", &dest, "--runs", &format!("1..{night}")]).run().succeeds();
        let after = manifests(&dest);
        written.push(bytes(after.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(_, content)| content)));
        before = after;
    }
    recount(["verify", &dest]).run().succeeds();
    let most = |nights: std::ops::Range<usize>| written[nights].iter().max().copied().unwrap();
    let told = format!("{} bytes of manifests, written night by night: {written:?}", bytes(before.values()));
    assert!(most(40..50) <= most(25..35) * 5 / 4, "{told}");
    // What is listed once, and what each night says of itself.
    let listed = bytes(before.iter().filter(|(name, _)| name.contains("sheet-")).map(|(_, content)| content));
    let entries = manifest(&dest)["files"].as_object().unwrap().len() + manifest(&dest)["days"].as_object().unwrap().len();
    assert!(listed <= entries * 300, "{listed} bytes of sheets for {entries} entries");
}

#[test]
fn an_older_manifest_gets_sheets_and_its_history_stays_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("old").to_str().unwrap().to_owned();
    super::copy(crate::support::repository::root().join("tests/archive/format-3").to_str().unwrap(), &dest);
    let first = json(&dest, "_latest.json")["manifest"].as_str().unwrap().to_owned();
    let listed = json(&dest, &first);
    assert!(sheets(&listed).is_empty() && !listed["files"].as_object().unwrap().is_empty());
    recount(["archive", &sample(), "--to", &dest]).run().succeeds();
    let head = json(&dest, json(&dest, "_latest.json")["manifest"].as_str().unwrap());
    assert!(!sheets(&head).is_empty() && head["files"].is_null() && head["days"].is_null());
    assert_eq!(head["previous"]["manifest"], first);
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn verify_and_every_reader_name_a_sheet_that_is_missing_changed_or_added() {
    let (_folder, dest) = archived_sample();
    let sheet = sheets(&manifest(&dest)).remove(0);
    let path = Path::new(&dest).join(&sheet);
    let content = fs::read(&path).unwrap();
    let told = |detail: &str| {
        recount(["verify", &dest]).run().ends_with(1).stdout_has(&sheet).stdout_has(detail);
        recount(["reconcile", &dest]).run().ends_with(2).stderr_has(&sheet);
        recount(["archive", &sample(), "--to", &dest]).run().ends_with(2).stderr_has(&sheet);
    };
    let text = String::from_utf8(content.clone()).unwrap();
    fs::write(&path, text.replacen("\"rows\":", "\"rows\":1", 1)).unwrap();
    told("does not match its hash");
    fs::remove_file(&path).unwrap();
    told("is missing");
    fs::write(&path, &content).unwrap();
    recount(["verify", &dest]).run().succeeds();
    let added = "_manifest/sheet-0123456789abcdef.json";
    fs::write(Path::new(&dest).join(added), &content).unwrap();
    recount(["verify", &dest]).run().ends_with(1).stdout_has(added);
}

#[test]
fn a_forged_sheet_is_refused() {
    let (_folder, dest) = archived_sample();
    let latest = json(&dest, "_latest.json");
    let name = latest["manifest"].as_str().unwrap();
    for (detail, change) in [
        ("no sheet of an archive", "../precious.json"),
        ("no sheet of an archive", "_manifest/20250101T000000000000Z.json"),
        ("is missing", "_manifest/sheet-00.json"),
    ] {
        let mut head = json(&dest, name);
        let before = fs::read(Path::new(&dest).join(name)).unwrap();
        head["sheets"][0]["path"] = change.into();
        let text = head.to_string();
        let mut link = latest.clone();
        link["blake3"] = blake3::hash(text.as_bytes()).to_hex().to_string().into();
        fs::write(Path::new(&dest).join(name), text).unwrap();
        fs::write(Path::new(&dest).join("_latest.json"), link.to_string()).unwrap();
        recount(["reconcile", &dest]).run().ends_with(2).stderr_has(detail);
        recount(["verify", &dest]).run().ends_with(1).stdout_has(detail);
        fs::write(Path::new(&dest).join(name), before).unwrap();
    }
}
