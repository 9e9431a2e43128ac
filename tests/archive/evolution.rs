//! An archive of an older format stays readable, and one of a newer format says so.

use std::fs;
use std::path::Path;

use crate::support::repository::root;
use crate::support::{database, recount};

use super::{archived_sample, copy, files, manifest};

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
fn old_days_are_brought_to_the_format_of_today_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (dest, empty) = (path("old"), path("empty"));
    copy(root().join(FORMAT_1).to_str().unwrap(), &dest);
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["export", &db.url(), "--out", &empty]).run().succeeds();
    let day = |dest: &str| {
        let is_old = |(name, _): &(String, Vec<u8>)| name.starts_with("lead_scores/");
        files(dest).into_iter().filter(is_old).map(|(_, content)| content).collect::<Vec<_>>()
    };
    let before = day(&dest);
    recount(["archive", &empty, "--to", &dest]).run().succeeds();
    assert_eq!(day(&dest), before, "days that only the archive has stay as they are");
    recount(["verify", &dest]).run().succeeds();
    let tables = manifest(&dest)["tables"].clone();
    for later in ["findings_without_run", "retained", "differences", "nights"] {
        assert!(tables.as_array().unwrap().contains(&later.into()), "it takes in what there was not yet: {tables}");
    }
    recount(["archive", &empty, "--to", &dest, "--rewrite"]).run().succeeds();
    assert!(day(&dest) != before);
    recount(["verify", &dest]).run().succeeds();
    let report = recount(["reconcile", &dest, "--format", "json"]).run().json();
    assert_eq!(report["digest"], FORMAT_1_DIGEST);
}

#[test]
fn a_newer_format_says_so() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("_manifest/")).unwrap();
    let text = String::from_utf8(content).unwrap();
    let newer = text.replace("\"version\": 4,", "\"version\": 5,");
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let latest = Path::new(&dest).join("_latest.json");
    let link = fs::read_to_string(&latest).unwrap().replace(&hash(&text), &hash(&newer));
    fs::write(Path::new(&dest).join(&name), newer).unwrap();
    fs::write(&latest, link).unwrap();
    recount(["reconcile", &dest]).run().ends_with(2).stderr_has("format version 5").stderr_has("newer recount");
}
