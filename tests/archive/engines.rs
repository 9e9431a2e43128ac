//! Every engine reads every table, and all see the same.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;

use recount::internals::archive as tables;

use crate::support::python::{answer, answer_with, spark};
use crate::support::repository::root;
use crate::support::{conformance, database, recount};

use super::{copy, json, rows};

/// An archive with NaN, infinities, NULL and findings in it.
fn messy() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let db = database();
    conformance::load(&db, "small");
    recount(["archive", &db.url(), "--to", &dest]).run().succeeds();
    (folder, dest)
}

/// Archives of every format there was, and one of each brought to that of today.
fn old(folder: &Path) -> Vec<String> {
    let at = |name: String| folder.join(name).to_str().unwrap().to_owned();
    let empty = at("empty".to_owned());
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["export", &db.url(), "--out", &empty]).run().succeeds();
    let mut dests = Vec::new();
    for format in ["format-1", "format-3"] {
        let fixture = root().join("tests/archive").join(format);
        for (dest, is_new) in [(at(format.to_owned()), false), (at(format!("{format}-rewritten")), true)] {
            copy(fixture.to_str().unwrap(), &dest);
            if is_new {
                recount(["archive", &empty, "--to", &dest, "--rewrite"]).run().succeeds();
            }
            dests.push(dest);
        }
    }
    dests
}

fn seen_by(engine: &str, dests: &[&str]) -> Vec<Json> {
    let args: Vec<&str> = [engine].iter().chain(dests).copied().collect();
    let script = include_str!("engines.py");
    let folder = Path::new(dests[0]);
    let seen = if engine == "spark" { answer_with(&spark(), script, folder, &args) } else { answer(script, folder, &args) };
    seen.as_array().unwrap().clone()
}

/// The word of the data dictionary for a column.
fn documented(table: &str, column: &str) -> String {
    let schema = tables::table(table).unwrap().schema(&[]);
    let kind = schema.field_with_name(column).map(|field| field.data_type().clone());
    match kind {
        Ok(arrow::datatypes::DataType::Boolean) => "boolean".to_owned(),
        Ok(arrow::datatypes::DataType::Int32) => "int32".to_owned(),
        Ok(arrow::datatypes::DataType::Int64) => "int64".to_owned(),
        Ok(arrow::datatypes::DataType::Float64) => "double".to_owned(),
        Ok(arrow::datatypes::DataType::Timestamp(..)) => "timestamp[us, tz=UTC]".to_owned(),
        Ok(_) => "text".to_owned(),
        Err(_) if column.starts_with("era5_score_") => "double".to_owned(),
        Err(_) => "partition".to_owned(),
    }
}

#[test]
fn every_engine_sees_the_same_rows_types_and_sums() {
    let (folder, messy) = messy();
    let nothing = of_nothing(folder.path());
    let old = old(folder.path());
    let dests: Vec<&str> = [&messy, &nothing].into_iter().chain(&old).map(String::as_str).collect();
    let first = seen_by("duckdb", &dests);
    check_first(&first, &dests);
    for engine in ["polars", "pyarrow", "chdb", "spark"] {
        // Before format 3 doubles were split into streams of bytes, which Spark does not read.
        let is_read = |dest: &str| engine != "spark" || !dest.ends_with("format-1");
        let (read, expected): (Vec<&str>, Vec<&Json>) = dests.iter().zip(&first).filter(|(dest, _)| is_read(dest)).unzip();
        let seen = seen_by(engine, &read);
        assert_eq!(seen.len(), expected.len());
        for ((seen, expected), dest) in seen.iter().zip(expected).zip(read) {
            assert_eq!(names(seen), names(expected), "{engine}, {dest}");
            for (table, expected) in expected.as_object().unwrap() {
                let found = &seen[table];
                assert_eq!(found["rows"], expected["rows"], "{engine}, rows of {table} in {dest}");
                assert_eq!(names(&found["columns"]), names(&expected["columns"]), "{engine}, {table} in {dest}");
                for (column, expected) in expected["columns"].as_object().unwrap() {
                    assert_eq!(found["columns"][column], *expected, "{engine}, type and sum of {table}.{column} in {dest}");
                }
            }
        }
    }
}

fn names(object: &Json) -> BTreeSet<&String> {
    object.as_object().unwrap().keys().collect()
}

/// Rows are those of the manifests, types those of the data dictionary, and the archives have all that is hard to carry.
fn check_first(seen: &[Json], dests: &[&str]) {
    for (seen, dest) in seen.iter().zip(dests) {
        let is_of_today = !dest.ends_with("format-1") && !dest.ends_with("format-3");
        for (table, found) in seen.as_object().unwrap() {
            let rows = if is_of_today { rows(dest, table) } else { rows_then(dest, table) };
            assert_eq!(found["rows"], rows, "{table} in {dest}");
            for (column, found) in found["columns"].as_object().unwrap() {
                // What is called otherwise today is not in the dictionary.
                let kind = documented(table, column);
                assert!(found[0] == kind || !is_of_today && kind == "partition", "type of {table}.{column} in {dest}: {found}");
            }
        }
        assert!(!is_of_today || tables::TABLES.iter().all(|table| seen[table.name].is_object()), "{dest}");
    }
    let scores = &seen[0]["scores"]["columns"]["score"][1];
    assert!((0..3).all(|at| scores[at].as_u64() > Some(0)), "NULL, NaN and infinity are all in it, and apart: {scores}");
    let tables = seen[0].as_object().unwrap().values().filter(|found| found["rows"].as_u64() > Some(0));
    let columns = |found: &Json| -> Vec<bool> {
        found["columns"].as_object().unwrap().values().map(|column| column[1][0] == found["rows"]).collect()
    };
    assert!(tables.flat_map(columns).any(|is_null| is_null), "a column of a table with rows is NULL in all of them");
}

/// As [`rows`], where the manifest lists the files itself.
fn rows_then(dest: &str, table: &str) -> u64 {
    let manifest = json(dest, json(dest, "_latest.json")["manifest"].as_str().unwrap());
    let files = manifest["files"].as_object().unwrap().values().filter(|file| file["table"] == table);
    files.map(|file| file["rows"].as_u64().unwrap()).sum()
}

/// An archive of an empty database: every table is there with its types.
fn of_nothing(folder: &Path) -> String {
    let dest = folder.join("nothing").to_str().unwrap().to_owned();
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["archive", &db.url(), "--to", &dest]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    for table in tables::TABLES {
        let expected = u64::from(["nights", "weather_subnet_stats"].contains(&table.name));
        assert_eq!(rows(&dest, table.name), expected, "{}", table.name);
    }
    dest
}

#[test]
fn who_asks_for_nan_finds_it_and_plain_doubles_are_for_every_reader() {
    let (_folder, dest) = messy();
    let counted = answer(include_str!("nan.py"), std::path::Path::new(&dest), &[&dest]);
    assert!(counted["nan"].as_u64() > Some(0) && counted["above"].as_u64() > Some(0), "{counted}");
    for question in ["nan", "above"] {
        assert_eq!(counted[format!("duckdb {question}")], counted[question], "{counted}");
    }
    assert_eq!(counted["fastparquet"], counted["rows"], "{counted}");
}
