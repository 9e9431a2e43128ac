//! Every type on its way from PostgreSQL, with what PostgreSQL says of the same value beside it.

use serde_json::Value as Json;

use super::{one_run, only_run, open, rows};
use crate::support::{conformance, database};

const FLOATS: &str = "'{NaN,Infinity,-Infinity,-0,0,5e-324,-5e-324,2.2250738585072014e-308,1.7976931348623157e308,\
                       -1.7976931348623157e308,0.1,0.30000000000000004,NULL}'::float8[]";
const TIMES: &str = "'{infinity,-infinity,4714-11-24 00:00:00+00 BC,0001-01-01 00:00:00+00,1969-12-31 23:59:59.999999+00,\
                      1970-01-01 00:00:00+00,1999-12-31 23:59:59.999999+00,2000-01-01 00:00:00+00,\
                      2025-01-31 06:00:00.123456+00,9999-12-31 23:59:59.999999+00,294246-01-01 00:00:00+00}'::timestamptz[]";
const INTS: &str = "'{-2147483648,2147483647,0,-1,1,NULL}'::int[]";
const TEXTS: &str = "ARRAY['', ' ', 'ü', '🌦', E'a\\nb\\t\\\\', 'NULL', repeat('x', 50), NULL]";

/// How the oracle prints what `rows` prints.
fn float_bits(column: &str) -> String {
    format!("encode(float8send({column}), 'hex')")
}

fn micros(column: &str) -> String {
    format!("CASE WHEN isfinite({column}) THEN (extract(epoch FROM {column}) * 1000000)::int8::text ELSE {column}::text END")
}

/// The least double stands for NULL where rows travel in groups: beside a NULL, rows travel one by one.
#[test]
fn every_value_of_every_type_comes_as_postgresql_has_it() {
    hold_every_value(FLOATS, INTS);
}

#[test]
fn every_value_comes_in_groups_of_rows_too() {
    hold_every_value(&FLOATS.replace("-1.7976931348623157e308,", ""), INTS);
    hold_every_value(&FLOATS.replace(",NULL", ""), &INTS.replace(",NULL", ""));
}

fn hold_every_value(floats: &str, ints: &str) {
    let database = database();
    one_run(&database);
    let pick = |values: &str| format!("({values})[1 + i % cardinality({values})]");
    database.execute(&format!(
        "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score,
                                           lead_hours, variable_level)
         SELECT 1, 1, 5, 'hk' || i % 7, coalesce({}, ''), {}, {}, {}, {} FROM generate_series(0, 2000) i",
        pick(TEXTS),
        pick(TIMES),
        pick(floats),
        pick(ints),
        pick(TEXTS),
    ));
    let mut expected = database.rows(&format!(
        "SELECT id::text, response_id::text, run_id::text, miner_uid::text, miner_hotkey, score_type, {}, {}, lead_hours::text,
                variable_level FROM weather_miner_scores",
        micros("calculation_time"),
        float_bits("score"),
    ));
    expected.sort();
    let found = rows(&only_run(&open(&database)).scores);
    assert_eq!(found.len(), 2001);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn random_doubles_keep_their_bits() {
    let database = database();
    one_run(&database);
    database.execute(
        "SELECT setseed(0.5);
         INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score)
         SELECT 1, 1, 5, 'hk', 'x', now(), (random() - 0.5) * 10 ^ (random() * 600 - 300) FROM generate_series(1, 5000)",
    );
    let mut expected: Vec<_> = database.rows(&format!("SELECT {} FROM weather_miner_scores", float_bits("score"))).concat();
    let mut found: Vec<_> = rows(&only_run(&open(&database)).scores).into_iter().map(|mut row| row.swap_remove(7)).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn other_tables_and_booleans_too() {
    let database = database();
    one_run(&database);
    database.execute(
        "INSERT INTO node_table (uid) VALUES (6), (7);
         INSERT INTO weather_miner_responses (id, run_id, miner_uid, miner_hotkey, response_time, verification_passed, status)
         VALUES (6, 1, 6, 'a', '-infinity', true, ''), (7, 1, 7, 'b', 'infinity', false, 'ü');
         INSERT INTO miner_stats (miner_uid, miner_hotkey, total_inference_time, avg_day1_score, first_seen, common_errors)
         VALUES (7, '', 9223372036854775807, '-0', '-infinity', '{\"b\": 1e2, \"a\": 0.1}'), (5, 'h', -1, 'NaN', NULL, 'null')",
    );
    let mut expected = database.rows(&format!(
        "SELECT id::text, run_id::text, miner_uid::text, miner_hotkey, {}, verification_passed::text, status,
                NULL, NULL, NULL, NULL FROM weather_miner_responses",
        micros("response_time")
    ));
    expected.sort();
    let source = open(&database);
    assert_eq!(rows(&only_run(&source).responses), expected);

    let miners = source.snapshot().stored_miners.as_ref().unwrap();
    let nodes: Vec<_> = source.snapshot().nodes.iter().map(|node| (node.uid.0, node.hotkey.as_deref())).collect();
    assert_eq!(nodes, [(5, Some("hk")), (6, None), (7, None)]);
    assert_eq!(miners.iter().map(|row| row.miner_uid.unwrap()).collect::<Vec<_>>(), [5, 7]);
    assert!(miners[0].avg_day1_score.unwrap().is_nan() && miners[0].first_seen.is_none());
    assert_eq!(miners[0].common_errors, None, "JSON null is no value");
    assert_eq!(miners[1].total_inference_time, Some(i64::MAX));
    assert_eq!(miners[1].avg_day1_score.unwrap().to_bits(), (-0.0f64).to_bits());
    assert_eq!(miners[1].common_errors.as_ref().unwrap().to_string(), r#"{"a":0.1,"b":100}"#);
}

#[test]
fn a_time_that_microseconds_since_1970_cannot_hold_is_an_error() {
    let database = database();
    one_run(&database);
    database.execute(
        "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time)
         VALUES (1, 1, 5, 'hk', 'x', now()), (1, 1, 5, 'hk', 'x', '294276-12-31 23:59:59+00')",
    );
    let source = open(&database);
    let error = source.read(&recount::internals::model::evidence::units(&source.snapshot().runs)[0]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("reading weather_miner_scores of run 1: row 2, column calculation_time: found a time"),
        "{message}"
    );
}

/// E2 survives the way through the database, for errors as jsonb and as json.
#[test]
fn errors_come_as_the_conformance_lines_say() {
    let database = database();
    one_run(&database);
    let lines = std::fs::read_to_string(conformance::folder("errors.jsonl")).unwrap();
    let cases: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (lead, case) in cases.iter().enumerate() {
        let error = case["error_json"].to_string().replace('\'', "''");
        database.execute(&format!(
            "INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, lead_hours, status, error_json)
             VALUES (1, 5, 'hk', 'era5', {lead}, 'failed', '{error}')"
        ));
        if let Some(text) = case["error_json"].as_str() {
            let text = text.replace('\'', "''");
            database.execute(&format!("UPDATE weather_miner_responses SET error_message = '{text}'"));
            let response = only_run(&open(&database)).responses;
            assert_error(case, &rows(&response)[0][7..9]);
        }
    }
    for kind in ["jsonb", "json"] {
        database.execute(&format!("ALTER TABLE weather_forecast_steps ALTER error_json TYPE {kind}"));
        let steps = rows(&only_run(&open(&database)).steps);
        assert_eq!(steps.len(), cases.len());
        for step in &steps {
            let lead: usize = step[6].as_ref().unwrap().parse().unwrap();
            assert_error(&cases[lead], &step[13..15]);
        }
    }
}

#[track_caller]
fn assert_error(case: &Json, found: &[Option<String>]) {
    let expected = ["type", "message"].map(|key| case[key].as_str().map(str::to_owned));
    assert_eq!(found, expected, "{case}");
}

/// Odd JSON in the stored rollups: nothing of it fails, and nothing unsanitized comes through.
#[test]
fn stored_errors_are_sanitized_as_they_are_read() {
    let database = database();
    one_run(&database);
    let objects = [
        r#"{"type": "timeout", "message": "to 10.0.0.1:80", "traceback": "/srv/a/b.py"}"#,
        r#"{"type": "timeout"}"#,
        r#"{"message": {"at": ["10.0.0.1:80"]}, "type": 1e400}"#,
        r#""text at 10.0.0.1:80""#,
        "null",
        "[1, 2]",
    ];
    for (day, object) in objects.iter().enumerate() {
        database.execute(&format!(
            "INSERT INTO weather_forecast_stats (id, miner_uid, miner_hotkey, forecast_run_id, forecast_init_time,
                                                 forecast_status, forecast_error_msg, last_error_message)
             VALUES ({day}, 5, 'hk', 'forecast_{day}', now(), 'failed', '{object}', 'plain')"
        ));
    }
    let strays = open(&database).strays().unwrap();
    let found: Vec<_> =
        strays.iter().map(|row| (row.row.forecast_error_msg.as_ref().map(Json::to_string), row.error_unsanitized)).collect();
    let text = |text: &str, unsanitized| (Some(text.to_owned()), unsanitized);
    assert_eq!(found[0], text(r#"{"message":"to [REDACTED]","type":"timeout"}"#, true));
    assert_eq!(found[1], text(r#"{"message":null,"type":"timeout"}"#, false));
    let whole = found[2].0.as_ref().unwrap();
    assert!(!whole.contains("10.0.0.1") && whole.contains("000") && found[2].1, "{whole}");
    assert_eq!(found[3], text(r#""text at [REDACTED]""#, true));
    assert_eq!(found[4], (None, false));
    assert_eq!(found[5], text("[1,2]", false));
    assert!(strays.iter().all(|row| row.row.last_error_message.as_deref() == Some("plain") && !row.message_unsanitized));
}
