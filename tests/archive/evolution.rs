//! An archive of an older format stays readable, and one of a newer format says so.

use std::fs;
use std::path::Path;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::support::repository::root;
use crate::support::{database, recount};

use super::{archived_sample, copy, files, manifest};

/// Written by programs of then, and never again: two days of four miners, and two of three. Beside each, the hashes of its rollups.
const OLD: [(&str, &str); 2] = [
    ("tests/archive/format-1", "249859fed195fc05d0d4d5b678239ac0e306bbae9ae5d6d890fe9c8d86656c21"),
    ("tests/archive/format-3", "449c379dabf87721fe9b22588157807e48c8973b290496581ed223e891bc807e"),
];

/// A fixture to work with.
fn old(folder: &TempDir, fixture: &str) -> String {
    let dest = folder.path().join("old").to_str().unwrap().to_owned();
    copy(root().join(fixture).to_str().unwrap(), &dest);
    dest
}

#[test]
fn every_older_format_is_read() {
    for (fixture, digest) in OLD {
        let folder = tempfile::tempdir().unwrap();
        let dest = old(&folder, fixture);
        recount(["verify", &dest]).run().succeeds();
        let report = recount(["reconcile", &dest, "--format", "json"]).run().succeeds().json();
        assert_eq!(report["digest"], digest);
        recount(["recompute", &dest, "--out", "again"]).run().succeeds();
    }
}

/// The columns of the first file of a table.
fn columns(dest: &str, table: &str) -> Vec<String> {
    let name = files(dest).into_keys().find(|name| name.starts_with(&format!("{table}/"))).unwrap();
    let file = fs::File::open(Path::new(dest).join(name)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    reader.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[test]
fn old_days_are_brought_to_the_format_of_today_where_that_is_asked_for() {
    let source = tempfile::tempdir().unwrap();
    let empty = source.path().join("empty").to_str().unwrap().to_owned();
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["export", &db.url(), "--out", &empty]).run().succeeds();
    for (fixture, digest) in OLD {
        let folder = tempfile::tempdir().unwrap();
        let dest = old(&folder, fixture);
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
        assert!(columns(&dest, "runs").contains(&"retained".to_owned()), "that a run is gone is said at once");
        recount(["archive", &empty, "--to", &dest, "--rewrite"]).run().succeeds();
        assert!(day(&dest) != before);
        for (table, key) in [("lead_scores", "placed"), ("scores", "metric")] {
            assert!(columns(&dest, table).contains(&key.to_owned()), "{table}");
        }
        recount(["verify", &dest]).run().succeeds();
        let report = recount(["reconcile", &dest, "--format", "json"]).run().json();
        assert_eq!(report["digest"], digest);
    }
}

#[test]
fn a_newer_format_says_so() {
    let (_folder, dest) = archived_sample();
    let (name, content) = files(&dest).into_iter().find(|(name, _)| name.starts_with("_manifest/")).unwrap();
    let text = String::from_utf8(content).unwrap();
    let newer = text.replace("\"version\": 5,", "\"version\": 6,");
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let latest = Path::new(&dest).join("_latest.json");
    let link = fs::read_to_string(&latest).unwrap().replace(&hash(&text), &hash(&newer));
    fs::write(Path::new(&dest).join(&name), newer).unwrap();
    fs::write(&latest, link).unwrap();
    recount(["reconcile", &dest]).run().ends_with(2).stderr_has("format version 6").stderr_has("newer recount");
}
