//! What each archiving found: `differences` and `nights`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value as Json, json};

use recount::internals::model::rollups::{NightRow, Rollup};
use recount::internals::model::rows::rows_from_batch;

use crate::support::recount;

use super::newest::two_nights;
use super::{archived_sample, files, forge, manifest, sample};

fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

/// The files of a table, by partition.
fn paths(dest: &str, table: &str) -> BTreeMap<String, String> {
    let manifest = manifest(dest);
    let files = manifest["files"].as_object().unwrap().iter().filter(|(_, file)| file["table"] == table);
    files.map(|(path, file)| (file["partition"].as_str().unwrap().to_owned(), path.clone())).collect()
}

/// The rows of a file as texts, by column, sorted.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let cell = |column: &ArrayRef, row: usize| {
        let options = FormatOptions::default().with_null("NULL");
        ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
    };
    let row = |batch: &RecordBatch, row: usize| {
        let fields = batch.schema().fields().clone();
        fields.iter().zip(batch.columns()).map(|(field, column)| (field.name().clone(), cell(column, row))).collect()
    };
    let of_batch = |batch: &RecordBatch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<BTreeMap<_, _>>>();
    let mut rows: Vec<_> = batches(path).iter().flat_map(of_batch).collect();
    rows.sort();
    rows
}

fn night(dest: &str, path: &str) -> NightRow {
    let rows: Vec<NightRow> = batches(&Path::new(dest).join(path)).iter().flat_map(|b| rows_from_batch(b).unwrap()).collect();
    assert_eq!(rows.len(), 1, "one row an archiving");
    rows.into_iter().next().unwrap()
}

fn only(dest: &str, table: &str) -> String {
    paths(dest, table).into_values().next().expect("a file")
}

#[test]
fn what_differed_is_what_diff_finds_but_for_what_is_within_tolerance() {
    let (folder, dest) = archived_sample();
    let out = folder.path().join("diff");
    recount(["diff", &sample(), "--out", out.to_str().unwrap()]).run().ends_with(1);
    // In SQL `table` and `column` are words.
    let renamed = |mut row: BTreeMap<String, String>| {
        for (word, name) in [("table", "source_table"), ("column", "column_name")] {
            let cell = row.remove(word).unwrap();
            row.insert(name.to_owned(), cell);
        }
        row
    };
    let all: Vec<_> = rows(&out.join("differences.parquet")).into_iter().map(renamed).collect();
    let (within, mut expected): (Vec<_>, Vec<_>) = all.into_iter().partition(|row| row["class"] == "within");
    expected.sort();
    assert_eq!(rows(&Path::new(&dest).join(only(&dest, "differences"))), expected);
    assert!(expected.len() > 10, "the sample has drift: {}, and within tolerance {}", expected.len(), within.len());
}

#[test]
fn a_night_says_what_reconcile_reports() {
    let (_folder, dest) = archived_sample();
    let report = recount(["reconcile", &sample(), "--format", "json"]).run().ends_with(1).json();
    let night = night(&dest, &only(&dest, "nights"));
    assert_eq!(json!(night.digest), report["digest"]);
    assert_eq!(night.recount_version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(night.runs, Some(10));
    assert_eq!(night.findings, Some(report["findings"].clone()));
    let part = |of: &str| -> Json {
        let tables = report["tables"].as_object().unwrap().iter();
        let counts = |table: &Json| {
            let mut counts = table[of].clone();
            // An archive knows no baseline.
            assert_eq!(counts.as_object_mut().unwrap().remove("accepted"), Some(json!(0)));
            counts
        };
        tables.map(|(name, table)| (name.clone(), counts(table))).collect::<serde_json::Map<_, _>>().into()
    };
    assert_eq!((night.rows, night.cells), (Some(part("rows")), Some(part("cells"))));
    // Other settings, another hash; it is that of the manifest's own words, keys sorted.
    let canonical = manifest(&dest)["scoring"].to_string();
    assert_eq!(night.settings_blake3, Some(blake3::hash(canonical.as_bytes()).to_hex().to_string()));
    recount(["archive", &sample(), "--to", &dest, "--era5-weight", "0.5"]).run().succeeds();
    let other = self::night(&dest, &only(&dest, "nights"));
    assert!(other.settings_blake3.is_some() && other.settings_blake3 != night.settings_blake3);
}

#[test]
fn every_archiving_has_its_own() {
    let (_folder, dest, _) = two_nights();
    for table in ["nights", "differences"] {
        assert_eq!(paths(&dest, table).len(), 2, "{table}, though nothing differs");
    }
    let runs: Vec<_> = paths(&dest, "nights").values().map(|path| night(&dest, path).runs).collect();
    assert_eq!(runs, [Some(2), Some(3)]);
    recount(["verify", &dest]).run().succeeds();
}

#[test]
fn verify_names_them_where_they_are_forged_with_all_hashes() {
    let (folder, dest) = archived_sample();
    let other = folder.path().join("other").to_str().unwrap().to_owned();
    recount(["archive", &sample(), "--to", &other, "--era5-weight", "0.5"]).run().succeeds();
    for table in [NightRow::TABLE, "differences"] {
        let (path, foreign) = (only(&dest, table), only(&other, table));
        let own = files(&dest)[&path].clone();
        let put = |content: &[u8], entry: &Json| {
            fs::write(Path::new(&dest).join(&path), content).unwrap();
            forge(&dest, |manifest, _| manifest["files"][&path] = entry.clone());
        };
        let entry = manifest(&dest)["files"][&path].clone();
        put(&files(&other)[&foreign], &manifest(&other)["files"][&foreign]);
        recount(["verify", &dest]).run().ends_with(1).stdout_has(&format!("{table}/as_of="));
        put(&own, &entry);
        recount(["verify", &dest]).run().succeeds();
    }
}
