//! Reading: PostgreSQL is the oracle for every value, and a snapshot folder for nothing less than the database.

mod oracle;
mod refusals;
mod same;

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use recount::Error;
use recount::Location;
use recount::internals::model::evidence::{RunEvidence, StoredStat, UnitEvidence, units};
use recount::internals::model::rollups::Rollup;
use recount::internals::model::rows::{batch_of, stats_batch};
use recount::internals::source::folder::SnapshotWriter;
use recount::internals::source::{Options, Source};
use serde_json::json;

use crate::support::{Database, conformance};

fn at(location: &str) -> Location {
    Location::parse(location).expect("a location")
}

fn open(database: &Database<'_>) -> Source {
    open_with(&database.url(), 2)
}

fn open_with(location: &str, connections: usize) -> Source {
    Source::open(&at(location), &Options { connections, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"))
}

fn refusal(location: &str) -> Error {
    Source::open(&at(location), &Options::default()).expect_err("a refusal")
}

/// A database with the tables, one node, one run (id 1) and its response (id 1).
fn one_run(database: &Database<'_>) {
    conformance::create_tables(database);
    database.execute(
        "INSERT INTO node_table (uid, hotkey) VALUES (5, 'hk');
         INSERT INTO weather_forecast_runs (id, run_initiation_time, target_forecast_time_utc, gfs_init_time_utc)
         VALUES (1, now(), '2025-01-11 00:00+00', '2025-01-01 00:00+00');
         INSERT INTO weather_miner_responses (id, run_id, miner_uid, miner_hotkey, response_time) VALUES (1, 1, 5, 'hk', now())",
    );
}

fn read_all(source: &Source) -> Vec<UnitEvidence> {
    units(&source.snapshot().runs).iter().map(|unit| source.read(unit).unwrap_or_else(|e| panic!("{e}"))).collect()
}

fn only_run(source: &Source) -> RunEvidence {
    let mut units = read_all(source);
    assert_eq!((units.len(), units[0].runs.len()), (1, 1));
    units.remove(0).runs.remove(0)
}

fn export(source: &Source, target: &Path) {
    let mut writer = SnapshotWriter::create(target, source.snapshot()).unwrap();
    read_all(source).iter().for_each(|unit| writer.append(unit).unwrap());
    writer.finish(&source.strays().unwrap(), &json!({})).unwrap();
}

/// The rows of a batch as text, sorted; doubles by their bits, texts whatever their codes.
fn rows(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let row = |row: usize| batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect::<Vec<_>>();
    let mut rows: Vec<_> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    rows
}

fn cell(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:016x}", column.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Timestamp(..) => match column.as_primitive::<TimestampMicrosecondType>().value(row) {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            micros => micros.to_string(),
        },
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Dictionary(..) => {
            let coded = column.as_dictionary::<Int32Type>();
            coded.values().as_string::<i32>().value(coded.keys().value(row) as usize).to_owned()
        }
        other => panic!("no column is {other}"),
    })
}

/// Holds two sources against each other, run by run and row by row.
#[track_caller]
fn assert_same(left: &Source, right: &Source) {
    let (a, b) = (left.snapshot(), right.snapshot());
    assert_eq!((a.taken_at, &a.server_version, &a.runs, &a.nodes), (b.taken_at, &b.server_version, &b.runs, &b.nodes));
    assert_same_content(left, right);
    assert_eq!(left.rows_read(), right.rows_read());
}

/// The same, for two snapshots of one content.
#[track_caller]
fn assert_same_content(left: &Source, right: &Source) {
    let (a, b) = (left.snapshot(), right.snapshot());
    assert_eq!((&a.wide_leads, a.has_steps, a.has_stored_stats), (&b.wide_leads, b.has_steps, b.has_stored_stats));
    assert_eq!(stored_cells(&a.stored_miners), stored_cells(&b.stored_miners));
    assert_eq!(stored_cells(&a.stored_subnet), stored_cells(&b.stored_subnet));
    for (a, b) in read_all(left).iter().zip(&read_all(right)) {
        assert_eq!(stats(left, &a.stored), stats(left, &b.stored));
        assert_eq!(a.runs.len(), b.runs.len());
        for (a, b) in a.runs.iter().zip(&b.runs) {
            assert_eq!(a.run, b.run);
            let tables = |run: &RunEvidence| [&run.responses, &run.scores, &run.components, &run.steps].map(rows);
            assert_eq!(tables(a), tables(b), "run {}", a.run.id);
        }
    }
    assert_eq!(stats(left, &left.strays().unwrap()), stats(left, &right.strays().unwrap()));
}

/// Stored rows as cells, in which NaN equals itself.
fn stats(source: &Source, stored: &[StoredStat]) -> Vec<Vec<Option<String>>> {
    rows(&stats_batch(stored, &source.snapshot().wide_leads))
}

fn stored_cells<R: Rollup>(stored: &Option<Vec<R>>) -> Option<Vec<Vec<Option<String>>>> {
    stored.as_ref().map(|stored| rows(&batch_of(stored)))
}
