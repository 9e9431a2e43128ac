//! An archive of an older format stays readable, and one of a newer format says so.

use std::fs;
use std::path::Path;

use crate::support::recount;
use crate::support::repository::root;

use super::{archived_sample, copy, files};

/// Written by the first recount that had archives, and never again: two days of four miners.
const FORMAT_1: &str = "tests/archive/format-1";
/// What its rollups come to.
const FORMAT_1_DIGEST: &str = "249859fed195fc05d0d4d5b678239ac0e306bbae9ae5d6d890fe9c8d86656c21";

#[test]
fn the_first_format_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("old").to_str().unwrap().to_owned();
    copy(root().join(FORMAT_1).to_str().unwrap(), &dest);
    recount(["verify", &dest]).run().succeeds();
    let report = recount(["reconcile", &dest, "--format", "json"]).run().succeeds().json();
    assert_eq!(report["digest"], FORMAT_1_DIGEST);
}

#[test]
fn a_newer_format_says_so() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("_manifest/")).unwrap();
    let text = String::from_utf8(content).unwrap();
    let newer = text.replace("\"version\": 1,", "\"version\": 3,");
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let latest = Path::new(&dest).join("_latest.json");
    let link = fs::read_to_string(&latest).unwrap().replace(&hash(&text), &hash(&newer));
    fs::write(Path::new(&dest).join(&name), newer).unwrap();
    fs::write(&latest, link).unwrap();
    recount(["reconcile", &dest]).run().ends_with(2).stderr_has("format version 3").stderr_has("newer recount");
}
