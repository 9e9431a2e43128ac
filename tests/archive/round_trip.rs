//! From a source into an archive and back.

use crate::support::recount;

use super::{archived_sample, files, manifest, sample};

#[test]
fn an_archive_verifies_and_stands_for_its_source() {
    let (_folder, dest) = archived_sample();
    recount(["verify", &dest]).run().succeeds().stdout_has("Intact");
    let report = |source: &str| recount(["reconcile", source, "--format", "json"]).run().ends_with(1).json();
    let (from_source, from_archive) = (report(&sample()), report(&dest));
    for part in ["digest", "tables", "findings", "patterns"] {
        assert_eq!(from_source[part], from_archive[part], "{part}");
    }
    assert_eq!(from_source["snapshot"], from_archive["snapshot"]);
    assert_eq!(manifest(&dest)["digest"], from_source["digest"]);
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let (_folder, dest) = archived_sample();
    let before = files(&dest);
    let again = recount(["archive", &sample(), "--to", &dest, "--format", "json"]).run().succeeds().json();
    assert_eq!(again["files"]["written"], 0);
    assert_eq!(files(&dest), before);
    // Another setting changes results, and leaves the evidence alone.
    let dense = ["archive", &sample(), "--to", &dest, "--era5-weight", "0.5", "--format", "json"];
    let other = recount(dense).run().succeeds().json();
    assert!(other["files"]["written"].as_u64() > Some(0));
    assert!(files(&dest).keys().filter(|name| name.starts_with("scores/")).all(|name| before.contains_key(name)));
    assert!(!manifest(&dest)["history"].as_object().unwrap().is_empty());
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn days_are_added_to_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("a").to_str().unwrap().to_owned();
    recount(["archive", &sample(), "--to", &dest, "--runs", "1..4"]).run().succeeds();
    recount(["verify", &dest]).run().succeeds().stdout_has("of 4 runs");
    recount(["archive", &sample(), "--to", &dest]).run().succeeds();
    let (_folder, whole) = archived_sample();
    let tables = |dest: &str| files(dest).into_iter().filter(|(name, _)| !name.starts_with('_')).collect::<Vec<_>>();
    assert_eq!(tables(&dest), tables(&whole), "in two steps or in one");
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn an_archive_can_begin_at_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("a").to_str().unwrap().to_owned();
    recount(["archive", &sample(), "--to", &dest, "--since", "2025-01-04"]).run().succeeds();
    let days = manifest(&dest)["days"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(days.len() > 2 && days.iter().all(|day| day.as_str() >= "2025-01-04"), "{days:?}");
    recount(["verify", &dest]).run().succeeds();
    // The next archiving adds the days before it.
    recount(["archive", &sample(), "--to", &dest]).run().succeeds().stdout_has("Archived 10 runs as of");
    assert_eq!(manifest(&dest)["days"].as_object().unwrap().len(), 8);
    // Narrowed again, it keeps what it has.
    recount(["archive", &sample(), "--to", &dest, "--since", "2025-01-04"]).run().succeeds();
    assert_eq!(manifest(&dest)["days"].as_object().unwrap().len(), 8);
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn reconcile_archives_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("a").to_str().unwrap().to_owned();
    recount(["reconcile", &sample(), "--archive", &dest]).run().ends_with(1).stdout_has("Archived 10 runs");
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn some_tables_alone_can_be_archived() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("a").to_str().unwrap().to_owned();
    let some = ["archive", &sample(), "--to", &dest, "--tables", "miner_stats,lead_scores"];
    recount(some).run().succeeds();
    assert!(files(&dest).keys().all(|name| {
        ["miner_stats", "lead_scores", "latest/miner_stats", "views.sql", "_"].iter().any(|start| name.starts_with(start))
    }));
    recount(["verify", &dest]).run().succeeds().stdout_has("no evidence");
    recount(["reconcile", &dest]).run().ends_with(2).stderr_has("--tables");
    recount(["archive", &sample(), "--to", &dest, "--tables", "scores"]).run().ends_with(2).stderr_has("another choice");
    recount(["archive", &sample(), "--to", &dest, "--tables", "moon"]).run().ends_with(2).stderr_has("no table moon");
}

#[test]
fn a_listing_shows_what_is_there() {
    let (_folder, dest) = archived_sample();
    let listing = recount(["archive", "ls", &dest, "--format", "json"]).run().succeeds().json();
    assert_eq!(listing["runs"], 10);
    assert_eq!(listing["tables"]["weather_forecast_stats"]["partitions"], 8);
    recount(["archive", "ls", &dest]).run().succeeds().stdout_has("component_scores");
}

#[test]
fn a_place_that_holds_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let dest = folder.path().to_str().unwrap();
    recount(["archive", &sample(), "--to", dest]).run().ends_with(2).stderr_has("letter.txt");
    assert_eq!(files(dest).len(), 1);
    recount(["verify", dest]).run().ends_with(2).stderr_has("_latest.json");
    recount(["archive", &sample(), "--to", "ftp://somewhere"]).run().ends_with(2).stderr_has("ftp://");
}

#[test]
fn an_older_snapshot_does_not_take_the_place_of_a_newer_one() {
    let (_folder, dest) = archived_sample();
    let make = ["generate", "--runs", "2", "--miners", "2", "--seed", "1", "--no-components", "--out", "early"];
    let early = recount(make).run().succeeds();
    let run = recount(["archive", early.folder().join("early").to_str().unwrap(), "--to", &dest]).run();
    run.ends_with(3).stderr_has("newer");
}
