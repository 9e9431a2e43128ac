//! `generate`: a folder and a database from the same plan hold the same data, and a database is filled wholly or not at all.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use recount::Cause;
use recount::LeadHours;
use recount::Outcome;
use recount::Scoring;
use recount::internals::generate::{self, Generator, Plan, Summary, Target};
use recount::internals::model::columns::Type;
use recount::internals::model::evidence::{
    COMPONENTS, InputTable, RESPONSES, RunEvidence, SCORES, STEPS, StoredStat, Wire, units,
};
use recount::internals::model::finding::Code;
use recount::internals::model::rollups::{MinerStat, Rollup, SubnetStat};
use recount::internals::model::sanitize::error_of;
use recount::internals::pipeline;
use recount::internals::source::{Options, Source};
use recount::{Class, Difference, Value};
use recount::{ErrorKind, Result};
use recount::{Job, Location};
use serde_json::{Value as Json, json};

use crate::schema::migrate;
use crate::support::{Database, catalogue, conformance, database};

fn scoring(plan: &Plan) -> Scoring {
    Scoring { expected_leads: plan.leads.clone(), expected_variables: plan.variables.clone(), ..Scoring::default() }
}

fn generate(plan: &Plan, target: &Target) -> Result<Summary> {
    generate::generate(plan, target, &())
}

fn plan() -> Plan {
    Plan { runs: 6, miners: 12, seed: 3, drift: 40, ..Plan::default() }
}

fn into_database(db: &Database, plan: &Plan) -> Summary {
    let target = Target::Database { url: db.url() };
    generate(plan, &target).unwrap_or_else(|error| panic!("{error}"))
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
    let error = generate(&plan(), &Target::Database { url: db.url() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contract);
    assert!(error.to_string().contains("missing: weather_forecast_runs, weather_miner_responses"), "{error}");
    assert!(error.hint_text().unwrap().contains("recount migrate"));
}

#[test]
fn a_database_with_rows_is_refused_and_left_alone() {
    let db = database();
    migrate(&db);
    db.execute("INSERT INTO node_table (uid) VALUES (7)");
    let error = generate(&plan(), &Target::Database { url: db.url() }).unwrap_err();
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
    let error = generate(&plan(), &Target::Database { url: db.url() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().starts_with("loading miner_stats: "), "{error}");
    assert_eq!(db.psql("SELECT count(*) FROM weather_miner_scores"), "0");
    assert_eq!((catalogue::constraints(&db), catalogue::indexes(&db)), before);
}

#[test]
fn an_unreachable_server_is_told_without_the_password() {
    for url in ["postgres://u:Sesame-9@127.0.0.1:1/x", "postgres://u:Sesame-9@[::bad/x"] {
        let error = generate(&plan(), &Target::Database { url: url.to_owned() }).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("Sesame"), "{error:?}");
    }
}

fn into_folder(path: &Path, plan: &Plan) -> Summary {
    let target = Target::Folder { path: path.to_owned(), settings: json!({}) };
    generate(plan, &target).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_folder_and_a_database_are_the_same_source() {
    let (db, folder) = (database(), tempfile::tempdir().unwrap());
    let path = folder.path().join("snapshot");
    migrate(&db);
    let summary = into_folder(&path, &plan());
    assert_eq!(into_database(&db, &plan()).planted, summary.planted);

    let open = |location: &str| Source::open(&Location::parse(location).unwrap(), &Options::default()).unwrap();
    let (from_folder, from_database) = (open(path.to_str().unwrap()), open(&db.url()));
    let (one, other) = (from_folder.snapshot(), from_database.snapshot());
    assert_eq!((&one.runs, &one.nodes, &one.wide_leads), (&other.runs, &other.nodes, &other.wide_leads));
    let by_uid = |miners: &Option<Vec<MinerStat>>| {
        let mut miners = miners.clone().unwrap();
        miners.sort_by_key(|row| row.miner_uid);
        miners
    };
    assert_eq!(by_uid(&one.stored_miners), by_uid(&other.stored_miners));
    for unit in units(&one.runs) {
        let (one, other) = (from_folder.read(&unit).unwrap(), from_database.read(&unit).unwrap());
        assert_eq!(by_id(one.stored), by_id(other.stored));
        let rows = |runs: &[RunEvidence]| {
            let of_run = |run: &RunEvidence| [&run.responses, &run.scores, &run.components, &run.steps].map(lines);
            runs.iter().flat_map(of_run).flatten().collect::<Vec<_>>()
        };
        let (one, other) = (rows(&one.runs), rows(&other.runs));
        assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one, other, "{}", unit.forecast_run_id);
        }
    }
    assert_eq!(by_id(from_folder.strays().unwrap()), by_id(from_database.strays().unwrap()));
}

fn by_id(mut rows: Vec<StoredStat>) -> Vec<StoredStat> {
    rows.sort_by_key(|row| row.id);
    rows
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    batch_lines(std::iter::once(batch))
}

/// The result of a reconciliation of a folder.
fn reconcile(path: &Path, plan: &Plan) -> Outcome {
    let job = Job { scoring: scoring(plan), threads: 2, ..Job::default() };
    let source = pipeline::open(&Location::parse(path.to_str().unwrap()).unwrap(), &Options::default()).unwrap();
    pipeline::reconcile("reconcile", &job, &source, &()).unwrap()
}

/// Differences in an order of their own, as text: what is stored, what is right, and where. What is planted where no evidence ever
/// was is unproven (D6).
fn told(differences: &[Difference]) -> Vec<String> {
    let line = |d: &Difference| {
        let key = (d.key.miner_uid, &d.key.forecast_run_id);
        let class = if d.class == Class::Unproven { Class::Drift } else { d.class };
        format!("{} {key:?} {:?} {class:?} {:?} {:?}", d.table, d.column, d.stored.to_json(), d.recomputed.to_json())
    };
    let real = differences.iter().filter(|difference| difference.class != Class::Within);
    // There is no stored subnet to compare with.
    sorted(real.filter(|difference| difference.table != SubnetStat::TABLE).map(line).collect())
}

#[test]
fn a_reconciliation_finds_what_was_planted_and_nothing_else() {
    for (messy, leads) in [(false, plan().leads), (true, plan().leads), (false, [6, 24, 30, 72].map(LeadHours).to_vec())] {
        let plan = Plan { messy, leads, miners: 20, ..plan() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let summary = into_folder(&path, &plan);
        let outcome = reconcile(&path, &plan);
        assert_eq!(told(&outcome.differences), told(&summary.planted), "messy: {messy}");
        assert!(!outcome.in_sync(), "most of what is planted is drift");
        let within: u64 = outcome.tables.values().map(|table| table.cells.within).sum();
        let noise = summary.planted.iter().filter(|difference| difference.class == Class::Within).count();
        assert_eq!(within, noise as u64, "messy: {messy}");
    }
}

#[test]
fn clean_evidence_has_nothing_to_report_and_messy_evidence_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let found = |name: &str, plan: &Plan| {
        let path = folder.path().join(name);
        into_folder(&path, plan);
        reconcile(&path, plan).findings.into_iter().filter(|(_, count)| *count > 0).map(|(code, _)| code).collect::<Vec<_>>()
    };
    let clean = Plan { runs: 10, miners: 48, drift: 0, ..plan() };
    assert_eq!(found("clean", &clean), [Code::UnregisteredMiner]);

    let messy = found("messy", &Plan { messy: true, drift: 200, ..clean });
    for code in Code::ALL {
        assert!(messy.contains(code), "{} is not among {messy:?}", code.name());
    }
}

/// Scores drift as faulty writers make them: nine in ten or more of the causes are named rightly, and none wrongly. What drifts by
/// chance has no cause.
#[test]
fn the_cause_of_each_planted_score_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (messy, causes, seed) in [(false, true, 5), (true, true, 6), (true, false, 7)] {
        let plan = Plan { runs: 9, miners: 32, seed, messy, causes, drift: 250, ..Plan::default() };
        let path = folder.path().join(seed.to_string());
        let planted = into_folder(&path, &plan).planted;
        let found = reconcile(&path, &plan).differences;
        let row = |found: &Difference| (found.key.miner_uid, found.key.forecast_run_id.clone());
        let of_scores = |planted: &&Difference| match causes {
            true => planted.cause.is_some(),
            false => {
                planted.table == "weather_forecast_stats"
                    && matches!(planted.stored, Value::Float(_))
                    && planted.class == Class::Drift
            }
        };
        let cells: Vec<&Difference> = planted.iter().filter(of_scores).collect();
        let (mut unexplained, mut wrong) = (0, Vec::new());
        for &planted in &cells {
            // The run of a stored row may be planted too.
            let of_cell = |found: &&Difference| row(found) == row(planted) && found.column == planted.column;
            let found = found.iter().find(of_cell).unwrap_or_else(|| panic!("{planted:?} is not found"));
            let [expected, cause] = [planted, found].map(|difference| difference.cause.map(Cause::name));
            // A score that a neighbour's row gives, beside another of that row, rightly follows from it.
            let rows = cells.iter().filter(|other| row(other) == row(planted)).count();
            if cause == Some("unexplained") {
                unexplained += 1;
            } else if cause != expected && (rows < 2 || cause != Some("follows")) {
                wrong.push(format!("planted {expected:?}, found {:?}: {found:?}", found.cause));
            }
        }
        assert!(cells.len() > 50, "{} cells", cells.len());
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
        if causes {
            assert!(unexplained * 20 <= cells.len(), "{unexplained} of {} are unexplained", cells.len());
        }
    }
}
