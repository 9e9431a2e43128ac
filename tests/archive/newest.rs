//! The newest state under names that stay.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use tempfile::TempDir;

use recount::internals::model::rollups::{MinerStat, Rollup, SubnetStat};
use recount::internals::model::rows::rows_from_batch;

use crate::support::recount;

use super::{files, manifest};

const MINERS: &str = "latest/miner_stats.parquet";
const SUBNET: &str = "latest/weather_subnet_stats.parquet";

/// A validator of this many runs.
fn snapshot(folder: &TempDir, runs: &str) -> String {
    let path = folder.path().join(format!("snapshot-{runs}")).to_str().unwrap().to_owned();
    let make = ["generate", "--runs", runs, "--miners", "3", "--seed", "4", "--no-components", "--out", &path];
    recount(make).run().succeeds();
    path
}

fn read(path: &Path) -> RecordBatch {
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    batches.next().expect("a batch").unwrap()
}

fn rows_of<R: Rollup>(path: &Path) -> Vec<R> {
    rows_from_batch(&read(path)).unwrap()
}

/// An archive of two nights, of which the second has one run more.
pub fn two_nights() -> (TempDir, String, [String; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let nights = ["2", "3"].map(|runs| snapshot(&folder, runs));
    for night in &nights {
        recount(["archive", night, "--to", &dest]).run().succeeds();
    }
    (folder, dest, nights)
}

#[test]
fn they_hold_the_newest_state_alone_and_say_of_when_it_is() {
    let (folder, dest, nights) = two_nights();
    let again = folder.path().join("again");
    recount(["recompute", &nights[1], "--out", again.to_str().unwrap()]).run().succeeds();
    let latest = |name: &str| Path::new(&dest).join(name);
    assert_eq!(rows_of::<MinerStat>(&latest(MINERS)), rows_of::<MinerStat>(&again.join("miner_stats.parquet")));
    let subnet = "weather_subnet_stats.parquet";
    let sorted = |mut rows: Vec<SubnetStat>| {
        rows.sort_by(|a, b| (&a.scope, a.run_id).cmp(&(&b.scope, b.run_id)));
        rows
    };
    assert_eq!(sorted(rows_of(&latest(SUBNET))), sorted(rows_of(&again.join(subnet))));
    for name in [MINERS, SUBNET] {
        let batch = read(&latest(name));
        let as_of = batch.column_by_name("as_of").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
        let moment = manifest(&dest)["as_of"].as_i64();
        assert!(as_of.iter().all(|value| value == moment), "{name}: {as_of:?}");
    }
    let moments = files(&dest).into_keys().filter(|name| name.starts_with("miner_stats/")).count();
    assert_eq!(moments, 2, "the past is where it was");
}

#[test]
fn verify_names_them_where_they_are_changed_missing_or_forged() {
    let (_folder, dest, nights) = two_nights();
    let at = |name: &str| Path::new(&dest).join(name);
    let names = |name: &str| {
        recount(["verify", &dest]).run().ends_with(1).stdout_has(name).stdout_has("NOT INTACT");
    };
    for name in [MINERS, SUBNET] {
        let content = fs::read(at(name)).unwrap();
        let mut changed = content.clone();
        changed[content.len() / 2] ^= 1;
        fs::write(at(name), &changed).unwrap();
        names(name);
        fs::remove_file(at(name)).unwrap();
        names(name);
        // An archiving writes again what is not as it should be.
        recount(["archive", &nights[1], "--to", &dest]).run().succeeds();
        assert_eq!(fs::read(at(name)).unwrap(), content);
        recount(["verify", &dest]).run().succeeds();
    }
    // The other table's file is whole, and its hash is put right: its rows are not what the evidence gives.
    let other =
        fs::read(files(&dest).into_keys().find(|name| name.starts_with("miner_stats/")).map(|name| at(&name)).unwrap()).unwrap();
    fs::write(at(MINERS), &other).unwrap();
    super::forge(&dest, |manifest, _| {
        manifest["beside"][MINERS] = json!({"bytes": other.len(), "blake3": blake3::hash(&other).to_hex().to_string()});
    });
    names(MINERS);
}

#[test]
fn where_a_job_was_cut_off_before_them_they_are_of_the_state_before_and_the_next_one_follows() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("archive").to_str().unwrap().to_owned();
    let at = |name: &str| Path::new(&dest).join(name);
    let nights = ["2", "3"].map(|runs| snapshot(&folder, runs));
    recount(["archive", &nights[0], "--to", &dest]).run().succeeds();
    let before = fs::read(at(MINERS)).unwrap();
    recount(["archive", &nights[1], "--to", &dest]).run().succeeds();
    let whole = files(&dest);
    fs::write(at(MINERS), &before).unwrap();
    recount(["verify", &dest]).run().ends_with(1).stdout_has(MINERS);
    let pending = json!({"job": "another", "files": [MINERS]}).to_string();
    fs::write(at("_pending.json"), &pending).unwrap();
    recount(["verify", &dest]).run().succeeds().stdout_has("of an earlier state");
    // That one is at work excuses no other content.
    fs::write(at(MINERS), b"PAR1").unwrap();
    recount(["verify", &dest]).run().ends_with(1).stdout_has(MINERS);
    fs::write(at(MINERS), &before).unwrap();
    recount(["archive", &nights[1], "--to", &dest]).run().succeeds();
    let tables = |files: std::collections::BTreeMap<String, Vec<u8>>| -> Vec<_> {
        files.into_iter().filter(|(name, _)| !name.starts_with('_')).collect()
    };
    assert_eq!(tables(files(&dest)), tables(whole));
    let verified = recount(["verify", &dest]).run().succeeds();
    assert!(!verified.stdout.contains("note"), "{verified}");
}
