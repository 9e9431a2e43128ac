//! `generate`: a folder and a database from the same plan hold the same data, and a database is filled wholly or not at all.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use recount::error::ErrorKind;
use recount::generate::{Engine, Generator, Plan, Summary, Target, planted, run};
use recount::model::columns::Type;
use recount::model::difference::Class;
use recount::model::evidence::{COMPONENTS, InputTable, RESPONSES, RunEvidence, SCORES, STEPS, Unit, Wire};
use recount::model::rollups::{ForecastStat, MinerStat, Rollup};
use recount::model::sanitize::error_of;
use recount::source::folder::Folder;
use serde_json::{Value as Json, json};

use crate::schema::migrate;
use crate::support::{Database, catalogue, conformance, database};

/// Stands in for the rollup: rows with the right keys and some numbers in them.
#[derive(Default)]
struct Fake {
    uids: BTreeSet<i32>,
}

impl Engine for Fake {
    fn fold(&mut self, unit: &Unit, evidence: &[RunEvidence]) -> Vec<ForecastStat> {
        let mut rows = Vec::new();
        for run in evidence {
            let uids = run.steps.column_by_name("miner_uid").unwrap().as_primitive::<Int32Type>();
            for uid in uids.values().iter().collect::<BTreeSet<_>>() {
                self.uids.insert(*uid);
                rows.push(ForecastStat {
                    miner_uid: Some(*uid),
                    miner_hotkey: Some(format!("5Hotkey{uid}")),
                    forecast_run_id: Some(unit.forecast_run_id.clone()),
                    run_id: Some(run.run.id.0),
                    forecast_init_time: Some(run.run.gfs_init),
                    forecast_status: Some("completed".to_owned()),
                    forecast_error_msg: (uid % 3 == 0).then(|| json!({"message": null, "type": "unknown"})),
                    era5_combined_score: Some(1.0 / f64::from(3 + uid)),
                    wide: vec![Some(0.25); 10],
                    ..ForecastStat::default()
                });
            }
        }
        rows
    }

    fn lifetime(&mut self) -> Vec<MinerStat> {
        let row = |uid: &i32| MinerStat {
            miner_uid: Some(*uid),
            miner_hotkey: Some(format!("5Hotkey{uid}")),
            successful_forecasts: Some(1),
            failed_forecasts: Some(0),
            hosting_successes: Some(0),
            hosting_failures: Some(0),
            consecutive_successes: Some(0),
            consecutive_failures: Some(0),
            total_inference_time: Some(1 << 40),
            error_rate_by_type: Some(json!({"10day": 0.1})),
            ..MinerStat::default()
        };
        self.uids.iter().map(row).collect()
    }
}

fn plan() -> Plan {
    Plan { runs: 6, miners: 12, seed: 3, drift: 40, ..Plan::default() }
}

fn into_database(db: &Database, plan: &Plan) -> Summary {
    let target = Target::Database { url: db.url() };
    run(plan, &target, &mut Fake::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The rows of a table as lines of its contract's columns: floats and times to the bit, errors as they leave the database.
fn stored_lines(db: &Database, table: &InputTable) -> Vec<String> {
    let column = |name: &str, wire: Wire| match wire {
        Wire::Plain(Type::Float64) => format!("encode(float8send({name}), 'hex')"),
        Wire::Plain(Type::Time) => format!("(extract(epoch FROM {name}) * 1000000)::bigint"),
        Wire::Error => format!("to_jsonb({name})"),
        _ => name.to_owned(),
    };
    let columns: Vec<String> = table.columns.iter().map(|c| column(c.name, c.wire)).collect();
    let rows = db.rows(&format!("SELECT {} FROM {}", columns.join(", "), table.name));
    let line = |row: Vec<Option<String>>| {
        let cells = row.into_iter().zip(table.columns).map(|(cell, column)| match column.wire {
            Wire::Error => {
                let error = cell.and_then(|text| error_of(&serde_json::from_str::<Json>(&text).unwrap()));
                format!("{:?},{:?}", error.as_ref().map(|e| &e.kind), error.as_ref().and_then(|e| e.message.as_ref()))
            }
            Wire::Plain(Type::Bool) => format!("{:?}", cell.map(|text| if text == "t" { "true" } else { "false" })),
            _ => format!("{cell:?}"),
        });
        cells.collect::<Vec<_>>().join(",")
    };
    sorted(rows.into_iter().map(line).collect())
}

/// The same lines from batches.
fn batch_lines<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let row = |at| batch.columns().iter().map(|column| format!("{:?}", cell(column, at))).collect::<Vec<_>>().join(",");
        lines.extend((0..batch.num_rows()).map(row));
    }
    sorted(lines)
}

fn cell(column: &dyn Array, at: usize) -> Option<String> {
    if column.is_null(at) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Int32 => column.as_primitive::<Int32Type>().value(at).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Float64 => format!("{:016x}", column.as_primitive::<Float64Type>().value(at).to_bits()),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(at).to_string(),
        DataType::Boolean => column.as_boolean().value(at).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(at).to_owned(),
        _ => {
            let dictionary = column.as_dictionary::<Int32Type>();
            let key = dictionary.keys().value(at);
            dictionary.values().as_string::<i32>().value(key as usize).to_owned()
        }
    })
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn assert_same_evidence(db: &Database, plan: &Plan) {
    let generator = Generator::new(plan.clone()).unwrap();
    let evidence: Vec<RunEvidence> = generator.units().iter().flat_map(|unit| generator.evidence(unit)).collect();
    type Batch = fn(&RunEvidence) -> &RecordBatch;
    let tables: [(&InputTable, Batch); 4] = [
        (&RESPONSES, |run| &run.responses),
        (&SCORES, |run| &run.scores),
        (&COMPONENTS, |run| &run.components),
        (&STEPS, |run| &run.steps),
    ];
    for (table, batch) in tables {
        let (stored, made) = (stored_lines(db, table), batch_lines(evidence.iter().map(batch)));
        assert_eq!(stored.len(), made.len(), "{}", table.name);
        for (stored, made) in stored.iter().zip(&made) {
            assert_eq!(stored, made, "{}", table.name);
        }
    }
}

#[test]
fn a_migrated_database_holds_what_the_plan_says() {
    let db = database();
    migrate(&db);
    let before = (catalogue::constraints(&db), catalogue::indexes(&db));
    let summary = into_database(&db, &plan());

    assert_same_evidence(&db, &plan());
    assert_eq!((catalogue::constraints(&db), catalogue::indexes(&db)), before, "all that was dropped is there again");
    assert_eq!(db.psql("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'D'"), "0");
    for (table, rows) in &summary.rows {
        assert_eq!(db.psql(&format!("SELECT count(*) FROM {table}")), rows.to_string(), "{table}");
    }
    assert_eq!(summary.planted.iter().filter(|difference| difference.class != Class::Within).count(), 40);
    assert_eq!(db.psql("SELECT count(*) FROM weather_miner_scores WHERE lead_hours > 0 AND valid_time_utc IS NULL"), "0");
}

#[test]
fn rows_can_be_added_after_the_generated_ones() {
    let db = database();
    migrate(&db);
    into_database(&db, &Plan { runs: 2, components: false, drift: 0, ..plan() });
    for table in ["weather_miner_responses", "weather_miner_scores", "weather_forecast_steps", "weather_forecast_stats"] {
        let next = format!("SELECT nextval(pg_get_serial_sequence('{table}', 'id')) = (SELECT max(id) + 1 FROM {table})");
        assert_eq!(db.psql(&next), "t", "{table}");
    }
}

#[test]
fn messy_rows_get_into_the_tables_of_today() {
    let db = database();
    conformance::create_tables(&db);
    let plan = Plan { messy: true, drift: 10, ..plan() };
    into_database(&db, &plan);
    assert_same_evidence(&db, &plan);
}

/// Phase 1 keeps one row per step, so repeated ones are loaded as it would have merged them.
#[test]
fn messy_rows_get_into_migrated_tables_with_one_row_per_step() {
    let (today, migrated) = (database(), database());
    let plan = Plan { messy: true, drift: 10, ..plan() };
    conformance::create_tables(&today);
    into_database(&today, &plan);
    migrate(&migrated);
    into_database(&migrated, &plan);

    let before = today.psql("SELECT count(*) FROM weather_forecast_steps").parse::<u32>().unwrap();
    migrate(&today);
    let columns = STEPS.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    let steps = format!("SELECT {columns} FROM weather_forecast_steps ORDER BY id");
    assert_eq!(today.rows(&steps), migrated.rows(&steps));
    assert!((migrated.rows(&steps).len() as u32) < before);
    assert_eq!(stored_lines(&today, &SCORES), stored_lines(&migrated, &SCORES));
}

#[test]
fn production_shaped_tables_are_filled_too() {
    let db = database();
    conformance::create_tables(&db);
    conformance::make_production_shaped(&db);
    into_database(&db, &plan());
    assert_same_evidence(&db, &plan());
}

#[test]
fn a_database_without_the_tables_is_refused() {
    let db = database();
    db.execute("CREATE TABLE node_table (uid int)");
    let error = run(&plan(), &Target::Database { url: db.url() }, &mut Fake::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contract);
    assert!(error.to_string().contains("missing: weather_forecast_runs, weather_miner_responses"), "{error}");
    assert!(error.hint_text().unwrap().contains("recount migrate"));
}

#[test]
fn a_database_with_rows_is_refused_and_left_alone() {
    let db = database();
    migrate(&db);
    db.execute("INSERT INTO node_table (uid) VALUES (7)");
    let error = run(&plan(), &Target::Database { url: db.url() }, &mut Fake::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().ends_with("not empty: node_table"), "{error}");
    assert_eq!(db.psql("SELECT count(*) FROM node_table"), "1");
}

#[test]
fn a_failure_half_way_leaves_the_database_as_it_was() {
    let db = database();
    migrate(&db);
    // The last of the tables to be filled.
    db.execute("ALTER TABLE miner_stats ADD CHECK (miner_uid < 5)");
    let before = (catalogue::constraints(&db), catalogue::indexes(&db));
    let error = run(&plan(), &Target::Database { url: db.url() }, &mut Fake::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Database);
    assert!(error.to_string().starts_with("loading miner_stats: "), "{error}");
    assert_eq!(db.psql("SELECT count(*) FROM weather_miner_scores"), "0");
    assert_eq!((catalogue::constraints(&db), catalogue::indexes(&db)), before);
}

#[test]
fn an_unreachable_server_is_told_without_the_password() {
    for url in ["postgres://u:Sesame-9@127.0.0.1:1/x", "postgres://u:Sesame-9@[::bad/x"] {
        let error = run(&plan(), &Target::Database { url: url.to_owned() }, &mut Fake::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("Sesame"), "{error:?}");
    }
}

#[test]
fn a_folder_holds_the_same_and_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    let target = Target::Folder { path: path.clone(), settings: json!({}) };
    let summary = run(&plan(), &target, &mut Fake::default()).unwrap();

    let db = database();
    migrate(&db);
    assert_eq!(into_database(&db, &plan()).planted, summary.planted);

    let read = Folder::open(&path).unwrap();
    let snapshot = read.snapshot();
    let generator = Generator::new(plan()).unwrap();
    assert_eq!((&snapshot.runs, &snapshot.nodes), (&generator.runs(), &generator.nodes()));
    let mut stored = read.strays().unwrap();
    for unit in generator.units() {
        let evidence = read.read(&unit).unwrap();
        let lines = |runs: &[RunEvidence]| batch_lines(runs.iter().flat_map(|run| [&run.scores, &run.steps, &run.responses]));
        assert_eq!(lines(&evidence.runs), lines(&generator.evidence(&unit)));
        stored.extend(evidence.stored);
    }
    stored.sort_by_key(|row| row.id);
    let of_stats = "SELECT id, miner_uid, forecast_run_id, encode(float8send(era5_combined_score), 'hex'), era5_score_48h,
                    forecast_error_msg->>'type' FROM weather_forecast_stats ORDER BY id";
    let in_database = db.rows(of_stats);
    assert_eq!(stored.len(), in_database.len());
    for (row, cells) in stored.iter().zip(in_database) {
        let expected = [
            Some(row.id.to_string()),
            row.row.miner_uid.map(|x| x.to_string()),
            row.row.forecast_run_id.clone(),
            row.row.era5_combined_score.map(|x| format!("{:016x}", x.to_bits())),
            row.row.wide[1].map(|x| x.to_string()),
            row.row.forecast_error_msg.as_ref().and_then(|error| error["type"].as_str()).map(str::to_owned),
        ];
        assert_eq!(cells, expected);
    }
    let miners = snapshot.stored_miners.as_ref().unwrap().len();
    assert_eq!(db.psql("SELECT count(*) FROM miner_stats"), miners.to_string());
    assert_eq!(summary.rows[MinerStat::TABLE], miners as u64);
}

#[test]
fn what_was_planted_is_written_as_lines() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Folder { path: folder.path().join("snapshot"), settings: json!({}) };
    let summary = run(&plan(), &target, &mut Fake::default()).unwrap();
    let path = folder.path().join("planted.jsonl");
    planted::write(&summary.planted, &path).unwrap();
    let lines = std::fs::read_to_string(path).unwrap();
    let classes = lines.lines().map(|line| line.parse::<Json>().unwrap()["class"].as_str().unwrap().to_owned());
    assert_eq!(classes.filter(|class| class != "within").count(), 40);
}
