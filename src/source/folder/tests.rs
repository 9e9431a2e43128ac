use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use serde_json::json;
use tempfile::TempDir;

use super::manifest::FORMAT_VERSION;
use super::*;
use crate::files::hashed::disk;
use crate::model::evidence::Node;
use crate::model::ids::{MinerUid, RunId};

const DAY_US: i64 = 86_400_000_000;
const LEADS: [LeadHours; 2] = [LeadHours(24), LeadHours(48)];

/// Rows of any schema, some NULL, told apart by the seed.
fn sample(schema: &SchemaRef, rows: usize, seed: i32) -> RecordBatch {
    let value = |row: usize| seed * 1000 + row as i32;
    let column = |nullable: bool, kind: &DataType| -> ArrayRef {
        let some = |row: &usize| !nullable || !row.is_multiple_of(3);
        let cells = (0..rows).map(|row| some(&row).then(|| value(row)));
        let texts = (0..rows).map(|row| some(&row).then(|| format!("text {}", value(row) % 5)));
        match kind {
            DataType::Boolean => Arc::new(cells.map(|x| x.map(|x| x % 2 == 0)).collect::<BooleanArray>()),
            DataType::Int32 => Arc::new(cells.collect::<Int32Array>()),
            DataType::Int64 => Arc::new(cells.map(|x| x.map(i64::from)).collect::<Int64Array>()),
            DataType::Float64 => Arc::new(cells.map(|x| x.map(|x| f64::from(x) / 7.0)).collect::<Float64Array>()),
            DataType::Utf8 => Arc::new(texts.collect::<StringArray>()),
            DataType::Dictionary(..) => {
                let texts: Vec<Option<String>> = texts.collect();
                Arc::new(texts.iter().map(|text| text.as_deref()).collect::<DictionaryArray<Int32Type>>())
            }
            DataType::Timestamp(..) => {
                let times = cells.map(|x| x.map(|x| i64::from(x) * DAY_US)).collect::<TimestampMicrosecondArray>();
                Arc::new(times.with_timezone("UTC"))
            }
            other => unreachable!("no column is {other}"),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.is_nullable(), field.data_type())).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn stored(id: i64) -> StoredStat {
    let row = ForecastStat {
        miner_uid: Some(3),
        last_error_message: Some("timed out".to_owned()),
        forecast_error_msg: Some(json!({"type": "timeout", "message": null})),
        wide: vec![Some(0.1 + id as f64), None],
        ..ForecastStat::default()
    };
    StoredStat { id, row, message_unsanitized: id % 2 == 0, error_unsanitized: id % 3 == 0 }
}

fn snapshot() -> Snapshot {
    // Runs 2 and 5 share their unit, and the order by unit is not that by id.
    let run = |id: i32, day: i64| Run::new(RunId(id), Micros(day * DAY_US), Micros((day + 10) * DAY_US));
    Snapshot {
        taken_at: Micros(20_000 * DAY_US + 123_456),
        server_version: "15.18".to_owned(),
        runs: vec![run(1, 20_003), run(2, 20_001), run(5, 20_001)],
        nodes: vec![Node { uid: MinerUid(3), hotkey: Some("5F".to_owned()) }, Node { uid: MinerUid(4), hotkey: None }],
        stored_miners: Some(vec![MinerStat {
            miner_uid: Some(3),
            common_errors: Some(json!({"timeout": 2})),
            ..MinerStat::default()
        }]),
        stored_subnet: None,
        legacy: vec![LegacyScore {
            run_id: Some(2),
            miner_uid: Some(3),
            forecast_run_id: Some("forecast".to_owned()),
            lead_hours: Some(24),
            era5_score: Some(0.1 + 0.2),
        }],
        wide_leads: LEADS.to_vec(),
        has_steps: true,
        has_stored_stats: true,
        weighing: None,
        notes: vec!["a note".to_owned()],
    }
}

fn evidence(unit: &Unit) -> UnitEvidence {
    let run = |run: &Run| RunEvidence {
        run: run.clone(),
        responses: sample(&RESPONSES.schema(), 4, run.id.0),
        scores: sample(&SCORES.schema(), 100, run.id.0),
        components: sample(&COMPONENTS.schema(), 0, run.id.0),
        steps: sample(&STEPS.schema(), 9, run.id.0),
        legacy: Vec::new(),
    };
    UnitEvidence { runs: unit.runs.iter().map(run).collect(), stored: vec![stored(unit.runs[0].id.0.into())] }
}

fn write(target: &Path, snapshot: &Snapshot) -> Result<()> {
    write_with(SnapshotWriter::create(target, snapshot)?, snapshot)
}

fn write_with(mut writer: SnapshotWriter, snapshot: &Snapshot) -> Result<()> {
    for unit in units(&snapshot.runs) {
        let mut evidence = evidence(&unit);
        if !snapshot.has_stored_stats {
            evidence.stored.clear();
        }
        writer.append(&evidence)?;
    }
    writer.finish(&[stored(77)], &json!({"rank_method": "dense"}))
}

fn written() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("night");
    write(&target, &snapshot()).unwrap();
    (parent, target)
}

/// Dictionaries differ in their codes, so texts are compared as texts.
fn plain(batch: &RecordBatch) -> Vec<ArrayRef> {
    let decode = |column: &ArrayRef| -> ArrayRef {
        match column.as_any_dictionary_opt() {
            None => column.clone(),
            Some(_) => {
                let coded = column.as_dictionary::<Int32Type>();
                let texts = coded.values().as_string::<i32>();
                Arc::new(coded.keys().iter().map(|key| key.map(|key| texts.value(key as usize))).collect::<StringArray>())
            }
        }
    };
    batch.columns().iter().map(decode).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_gives_back_what_was_written() {
    let (_parent, target) = written();
    let folder = Folder::open(&target).unwrap();
    let expected = snapshot();
    assert_eq!(folder.snapshot().taken_at, expected.taken_at);
    assert_eq!(folder.snapshot().runs, expected.runs);
    assert_eq!(folder.snapshot().nodes, expected.nodes);
    assert_eq!(folder.snapshot().stored_miners, expected.stored_miners);
    assert_eq!(folder.snapshot().stored_subnet, None);
    assert_eq!(folder.snapshot().legacy, expected.legacy);
    assert_eq!(folder.snapshot().wide_leads, LEADS);
    assert_eq!(folder.snapshot().notes, ["a note"]);
    assert_eq!(folder.settings(), &json!({"rank_method": "dense"}));
    // Back to front: units are read in any order.
    for unit in units(&expected.runs).iter().rev() {
        let (read, expected) = (folder.read(unit).unwrap(), evidence(unit));
        assert_eq!(read.stored, expected.stored);
        for (read, expected) in read.runs.iter().zip(&expected.runs) {
            assert_eq!(read.run, expected.run);
            let pair = |run: &RunEvidence| [&run.responses, &run.scores, &run.components, &run.steps].map(plain);
            assert_eq!(pair(read), pair(expected));
            assert_eq!(read.scores.schema(), SCORES.schema());
        }
    }
    assert_eq!(folder.strays().unwrap(), [stored(77)]);
    let rows = folder.counters().by_table(folder.snapshot());
    let rows: Vec<_> = rows.into_iter().collect();
    insta::assert_debug_snapshot!(rows, @r#"
    [
        (
            "miner_stats",
            1,
        ),
        (
            "node_table",
            2,
        ),
        (
            "weather_forecast_component_scores",
            0,
        ),
        (
            "weather_forecast_runs",
            3,
        ),
        (
            "weather_forecast_stats",
            3,
        ),
        (
            "weather_forecast_steps",
            27,
        ),
        (
            "weather_legacy_lead_scores",
            1,
        ),
        (
            "weather_miner_responses",
            12,
        ),
        (
            "weather_miner_scores",
            300,
        ),
    ]
    "#);
}

#[test]
fn optional_tables_may_be_absent() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("night");
    let bare =
        Snapshot { has_steps: false, has_stored_stats: false, stored_miners: None, legacy: vec![], runs: vec![], ..snapshot() };
    write(&target, &bare).unwrap();
    let folder = Folder::open(&target).unwrap();
    assert!(!folder.snapshot().has_steps && !folder.snapshot().has_stored_stats);
    assert_eq!(folder.strays().unwrap(), []);
    assert!(!names(&target).contains(&"weather_forecast_steps.arrow".to_owned()));
}

#[test]
fn equal_content_gives_equal_files() {
    let ((_a, first), (_b, second)) = (written(), written());
    for name in names(&first) {
        assert_eq!(std::fs::read(first.join(&name)).unwrap(), std::fs::read(second.join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn one_flipped_byte_in_any_file_is_refused() {
    let (_parent, target) = written();
    assert_eq!(names(&target).len(), 10, "nine tables and the manifest: {:?}", names(&target));
    for name in names(&target) {
        let path = target.join(&name);
        let original = std::fs::read(&path).unwrap();
        for at in [0, original.len() / 2, original.len() - 1] {
            let mut bytes = original.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = Folder::open(&target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Snapshot, "{name}: {error}");
            assert!(error.to_string().contains(&name), "{name}: {error}");
            assert!(error.hint_text().is_some());
        }
        std::fs::write(&path, original).unwrap();
    }
    Folder::open(&target).unwrap();
}

#[test]
fn truncated_and_missing_files_are_refused() {
    let (_parent, target) = written();
    for name in names(&target) {
        let path = target.join(&name);
        let original = std::fs::read(&path).unwrap();
        for length in [0, original.len() - 1] {
            std::fs::write(&path, &original[..length]).unwrap();
            let error = Folder::open(&target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Snapshot, "{name}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = Folder::open(&target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Snapshot, "{name}: {error}");
        std::fs::write(&path, original).unwrap();
    }
}

#[test]
fn what_is_no_snapshot_says_so() {
    let parent = tempfile::tempdir().unwrap();
    let message = |path: &Path| Folder::open(path).unwrap_err().to_string().replace(&parent.path().display().to_string(), "…");
    insta::assert_snapshot!(message(parent.path()), @"opening snapshot …: there is no manifest.json in it");
    insta::assert_snapshot!(message(&parent.path().join("x")), @"opening snapshot …/x: there is no such folder");
    std::fs::write(parent.path().join("file"), "").unwrap();
    insta::assert_snapshot!(message(&parent.path().join("file")), @"opening snapshot …/file: it is not a folder");
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let (_parent, whole) = written();
    let total: u64 = names(&whole).iter().map(|name| std::fs::metadata(whole.join(name)).unwrap().len()).sum();
    let parent = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for bytes in (0..total as usize).step_by(997) {
        disk::has(bytes);
        let Err(error) = write(&parent.path().join("night"), &snapshot()) else { break };
        refused += 1;
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("no storage space") && error.to_string().contains(".arrow"), "{error}");
        assert_eq!(names(parent.path()), [""; 0]);
    }
    disk::has(usize::MAX);
    assert!(refused > 10);
}

#[test]
fn an_existing_target_is_refused_and_left_alone() {
    let (_parent, target) = written();
    let error = SnapshotWriter::create(&target, &snapshot()).unwrap_err();
    assert!(error.to_string().ends_with("it exists and is not empty"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    write(empty.path(), &snapshot()).unwrap();
    Folder::open(empty.path()).unwrap();
}

#[test]
fn units_out_of_order_or_left_out_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("night");
    let units = units(&snapshot().runs);
    let mut writer = SnapshotWriter::create(&target, &snapshot()).unwrap();
    assert!(writer.append(&evidence(&units[1])).unwrap_err().to_string().ends_with("a unit came out of its order"));
    writer.append(&evidence(&units[0])).unwrap();
    let error = writer.finish(&[], &Json::Null).unwrap_err();
    assert!(error.to_string().ends_with("1 of 2 units were appended"), "{error}");
    assert_eq!(names(parent.path()), [""; 0]);
}

/// The result of reading a whole folder.
fn read_all(dir: &Path) -> Result<()> {
    let folder = Folder::open_to_read(dir)?;
    for unit in units(&folder.snapshot().runs) {
        folder.read(&unit)?;
    }
    folder.strays().map(drop)
}

#[test]
fn a_flipped_byte_is_refused_before_anything_is_made_of_it() {
    let (_parent, target) = written();
    for name in names(&target) {
        let path = target.join(&name);
        let original = std::fs::read(&path).unwrap();
        for at in (0..original.len()).step_by(53) {
            let mut bytes = original.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = read_all(&target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Snapshot, "{name}: {error}");
            assert!(error.to_string().contains(&format!("{name} does not match its")) || name == "manifest.json", "{error}");
            assert!(error.hint_text().is_some());
        }
        std::fs::write(&path, original).unwrap();
    }
    read_all(&target).unwrap();
}

/// A folder as an older recount wrote it.
fn write_older(version: u64, target: &Path) {
    let snapshot = snapshot();
    write_with(SnapshotWriter::create_in(version, target, &snapshot).unwrap(), &snapshot).unwrap();
    let mut manifest = Manifest::read(target).unwrap();
    manifest.files.values_mut().for_each(|entry| entry.checksums = None);
    std::fs::write(target.join(manifest::MANIFEST), manifest.seal()).unwrap();
}

#[test]
fn older_folders_give_back_what_was_written() {
    let parent = tempfile::tempdir().unwrap();
    for version in 1..FORMAT_VERSION {
        let target = parent.path().join(version.to_string());
        write_older(version, &target);
        let folder = Folder::open_to_read(&target).unwrap();
        for unit in units(&snapshot().runs) {
            let (read, expected) = (folder.read(&unit).unwrap(), evidence(&unit));
            let scores = |evidence: &UnitEvidence| evidence.runs.iter().map(|run| plain(&run.scores)).collect::<Vec<_>>();
            assert_eq!(scores(&read), scores(&expected), "{version}");
        }
    }
}

#[test]
fn a_folder_without_parts_is_checked_when_it_is_opened() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("night");
    write_older(3, &target);
    read_all(&target).unwrap();
    let scores = target.join("weather_miner_scores.arrow");
    let mut bytes = std::fs::read(&scores).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&scores, bytes).unwrap();
    let error = Folder::open_to_read(&target).unwrap_err();
    assert!(error.to_string().ends_with("weather_miner_scores.arrow does not match its hash"), "{error}");
}

#[test]
fn parts_that_leave_a_gap_are_refused() {
    let (_parent, target) = written();
    for end in [0, 1, u64::MAX] {
        let mut edited = Manifest::read(&target).unwrap();
        let scores = edited.files.get_mut("weather_miner_scores.arrow").unwrap();
        scores.checksums.as_mut().unwrap().parts[1].end = end;
        std::fs::write(target.join(manifest::MANIFEST), edited.seal()).unwrap();
        assert!(read_all(&target).unwrap_err().to_string().contains("weather_miner_scores.arrow"), "{end}");
        edited = Manifest::read(&target).unwrap();
        edited.files.get_mut("weather_miner_scores.arrow").unwrap().checksums.as_mut().unwrap().parts.pop();
        std::fs::write(target.join(manifest::MANIFEST), edited.seal()).unwrap();
        assert!(read_all(&target).unwrap_err().to_string().contains("does not cut"), "{end}");
        std::fs::remove_dir_all(&target).unwrap();
        write(&target, &snapshot()).unwrap();
    }
}

/// The manifest as it would be if the file had been written so; `None` where nobody could make hashes for it.
fn resealed(target: &Path, name: &str, bytes: &[u8]) -> Option<String> {
    let mut manifest = Manifest::read(target).unwrap();
    let entry = manifest.files.get_mut(name).unwrap();
    entry.blake3 = blake3::hash(bytes).to_hex().to_string();
    if let Some(checksums) = &mut entry.checksums {
        let mut start = 0;
        for part in &mut checksums.parts {
            part.xxh3 = twox_hash::XxHash3_128::oneshot(&bytes[start..part.end as usize]);
            start = part.end as usize;
        }
        let texts = || crate::source::ipc::texts_hash(std::fs::File::open(target.join(name))?);
        let texts = crate::files::decode::decoding(texts, ArrowError::ParseError);
        checksums.texts_xxh3 = texts.ok()?;
    }
    Some(manifest.seal())
}

#[test]
fn damage_with_all_hashes_made_anew_is_an_error_and_no_panic() {
    let (_parent, target) = written();
    let manifest_text = std::fs::read(target.join(manifest::MANIFEST)).unwrap();
    let names: Vec<String> = Manifest::read(&target).unwrap().files.into_keys().collect();
    let (mut read, mut refused) = (0, 0);
    for name in names {
        let path = target.join(&name);
        let whole = std::fs::read(&path).unwrap();
        // Footers and headers have most of what a reader follows; what is left is values.
        for at in (0..whole.len()).step_by(whole.len() / 60 + 1).chain(whole.len().saturating_sub(120)..whole.len()) {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x80, 0x01, 0xff][at % 3];
            std::fs::write(&path, &bytes).unwrap();
            if let Some(sealed) = resealed(&target, &name, &bytes) {
                std::fs::write(target.join(manifest::MANIFEST), sealed).unwrap();
                let outcome = [Folder::open(&target), Folder::open_to_read(&target)].map(|folder| {
                    let folder = folder?;
                    for unit in units(&folder.snapshot().runs) {
                        folder.read(&unit)?;
                        folder.read_columns(&unit)?;
                    }
                    folder.strays().map(drop)
                });
                let all_read = outcome.iter().all(Result::is_ok);
                if all_read { read += 1 } else { refused += 1 }
            } else {
                refused += 1;
            }
            std::fs::write(target.join(manifest::MANIFEST), &manifest_text).unwrap();
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(read > 100 && refused > 100, "{read} were read, {refused} refused");
}

#[test]
fn a_manifest_that_lies_about_a_file_is_refused_with_what_was_expected_and_found() {
    let (_parent, target) = written();
    let names: Vec<String> = Manifest::read(&target).unwrap().files.into_keys().collect();
    for name in names {
        for what in ["rows", "bytes", "batches"] {
            let mut manifest = Manifest::read(&target).unwrap();
            let entry = manifest.files.get_mut(&name).unwrap();
            let (rows, bytes, batches) = (entry.rows, entry.bytes, entry.batches);
            let found = match what {
                "rows" => (std::mem::replace(&mut entry.rows, rows + 9), rows + 9),
                "bytes" => (std::mem::replace(&mut entry.bytes, bytes + 9), bytes + 9),
                _ => (std::mem::replace(&mut entry.batches, batches + 9) as u64, batches as u64 + 9),
            };
            let honest = std::fs::read(target.join(manifest::MANIFEST)).unwrap();
            std::fs::write(target.join(manifest::MANIFEST), manifest.seal()).unwrap();
            let said = format!("{name} has {} {what}, the manifest says {}", found.0, found.1);
            assert!(Folder::open(&target).unwrap_err().to_string().ends_with(&said), "{said}");
            let error = Folder::open_to_read(&target).unwrap_err().to_string();
            // The parts of a file that is checked as it is read are one for each batch.
            let no_parts = format!("does not cut {name} into parts");
            assert!(error.ends_with(&said) || what == "batches" && error.ends_with(&no_parts), "{said}: {error}");
            std::fs::write(target.join(manifest::MANIFEST), honest).unwrap();
        }
    }
    Folder::open_to_read(&target).unwrap();
}
