//! `views.sql`, as DuckDB takes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::support::python::answer;
use crate::support::recount;

use super::newest::two_nights;
use super::{archived_sample, forge, manifest};

/// The rows of each table by partition, as the manifest has them.
fn expected(dest: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut tables: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for file in manifest(dest)["files"].as_object().unwrap().values() {
        let text = |name: &str| file[name].as_str().unwrap().to_owned();
        let partitions = tables.entry(text("table")).or_default();
        *partitions.entry(text("partition")).or_default() += file["rows"].as_u64().unwrap();
    }
    tables
}

fn check(dest: &str, seen: &Json) {
    let mut views = 0;
    for (table, mut rows) in expected(dest) {
        rows.retain(|_, rows| *rows > 0);
        let view = &seen[&table];
        assert_eq!(view["rows"], json!(rows), "{table}");
        views += 1;
        if view["columns"]["init_date"].is_string() {
            assert_eq!(view["columns"]["init_date"], "DATE", "{table}");
            continue;
        }
        assert_eq!(view["columns"]["as_of"], "TIMESTAMP", "{table}");
        let newest = expected(dest)[&table].keys().next_back().cloned().unwrap();
        let newest: BTreeMap<_, _> = rows.into_iter().filter(|(moment, _)| *moment == newest).collect();
        let latest = &seen[format!("{table}_latest")];
        assert_eq!((&latest["rows"], &latest["columns"]), (&json!(newest), &view["columns"]), "{table}");
        views += 1;
    }
    assert_eq!(seen.as_object().unwrap().len(), views, "no view is of anything else");
}

#[test]
fn duckdb_sees_every_table_with_its_types_wherever_it_runs() {
    let (folder, dest, _) = two_nights();
    let seen = |dest: &str, place: &str| answer(include_str!("views.py"), folder.path(), &[dest, place]);
    check(&dest, &seen(&dest, "inside"));
    check(&dest, &seen(&dest, "outside"));
    let (_sample, sample) = archived_sample();
    check(&sample, &seen(&sample, "outside"));
}

#[test]
fn verify_names_views_that_were_changed_forged_or_removed() {
    let (_folder, dest) = archived_sample();
    let path = Path::new(&dest).join("views.sql");
    let names = || {
        recount(["verify", &dest]).run().ends_with(1).stdout_has("views.sql: ").stdout_has("NOT INTACT");
    };
    let text = fs::read_to_string(&path).unwrap();
    let forged = format!("{text}DROP VIEW runs;\n");
    fs::write(&path, &forged).unwrap();
    names();
    forge(&dest, |manifest, _| {
        let blake3 = blake3::hash(forged.as_bytes()).to_hex().to_string();
        manifest["beside"]["views.sql"] = json!({"bytes": forged.len(), "blake3": blake3});
    });
    names();
    fs::remove_file(&path).unwrap();
    names();
}
