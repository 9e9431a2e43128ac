//! Every engine reads every table, and all see the same.

use serde_json::Value as Json;

use recount::internals::archive as tables;

use crate::support::python::answer;
use crate::support::{conformance, database, recount};

use super::manifest;

/// An archive with NaN, infinities, NULL and findings in it.
fn messy() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let db = database();
    conformance::load(&db, "small");
    recount(["archive", &db.url(), "--to", &dest]).run().succeeds();
    (folder, dest)
}

fn seen_by(engine: &str, dest: &str) -> Json {
    answer(include_str!("engines.py"), std::path::Path::new(dest), &[engine, dest])
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
fn duckdb_polars_and_pyarrow_see_the_same_rows_types_and_sums() {
    let (_folder, dest) = messy();
    let seen = ["duckdb", "polars", "pyarrow"].map(|engine| (engine, seen_by(engine, &dest)));
    let first = &seen[0].1;
    for (engine, other) in &seen {
        for (table, found) in other.as_object().unwrap() {
            for (column, found) in found["columns"].as_object().unwrap() {
                assert_eq!(found[0], documented(table, column), "{engine}, type of {table}.{column}");
                assert_eq!(found[1], first[table]["columns"][column][1], "{engine}, sum of {table}.{column}");
            }
            assert_eq!(found["columns"].as_object().unwrap().len(), first[table]["columns"].as_object().unwrap().len());
        }
    }
    for (table, found) in first.as_object().unwrap() {
        let files = manifest(&dest)["files"].as_object().unwrap().clone();
        let rows: u64 = files.values().filter(|file| file["table"] == **table).filter_map(|file| file["rows"].as_u64()).sum();
        assert_eq!(found["rows"], rows, "{table}");
    }
    let scores = &first["scores"]["columns"]["score"][1];
    assert!((0..3).all(|at| scores[at].as_u64() > Some(0)), "NULL, NaN and infinity are all in it, and apart: {scores}");
}

#[test]
fn an_archive_of_nothing_has_every_table_with_its_types() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let db = database();
    recount(["migrate", "--standalone", "--database-url", &db.url()]).run().succeeds();
    recount(["archive", &db.url(), "--to", &dest]).run().succeeds();
    recount(["verify", &dest]).run().succeeds();
    for engine in ["duckdb", "polars", "pyarrow"] {
        let seen = seen_by(engine, &dest);
        for table in tables::TABLES {
            let found = &seen[table.name];
            let rows = u64::from(["nights", "weather_subnet_stats"].contains(&table.name));
            assert_eq!(found["rows"], rows, "{engine}, {}", table.name);
            for field in table.schema(&[]).fields() {
                let kind = &found["columns"][field.name()][0];
                assert_eq!(*kind, documented(table.name, field.name()), "{engine}, {}.{}", table.name, field.name());
            }
        }
    }
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
