//! The rules as PostgreSQL computes them: held against the conformance sets, and against the program's own on generated data.

use std::fs;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use recount::Micros;
use recount::internals::model::sanitize::sanitize;
use serde_json::{Map, Value as Json};

use crate::conformance::settings;
use crate::support::{Database, conformance, database, recount};

/// A set with the views of Phase 3, under the set's settings.
fn with_views(set: &str) -> Database<'static> {
    let db = database();
    conformance::load(&db, set);
    let url = db.url();
    // Repeated steps are merged by Phase 1, which no rollup may notice.
    recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
    recount(["phase3", "apply", "--database-url", &url]).file("recount.toml", &settings(set)).run().succeeds();
    db
}

type Row = Map<String, Json>;

fn expected(set: &str, table: &str) -> Vec<Row> {
    let text = fs::read_to_string(conformance::folder(set).join(format!("expected/{table}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn found(db: &Database, sql: &str) -> Vec<Row> {
    let rows = db.rows(&format!("SELECT row_to_json(t)::text FROM ({sql}) t"));
    rows.into_iter().map(|row| serde_json::from_str(row[0].as_ref().unwrap()).unwrap()).collect()
}

/// D2: numbers within 1e-9, times as times, everything else as it is.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        (Json::String(a), Json::String(b)) if a != b => Micros::parse(a).is_some() && Micros::parse(a) == Micros::parse(b),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn assert_rows(set: &str, db: &Database, table: &str, view: &str, keys: &str) {
    let expected = expected(set, table);
    let mut found = found(db, &format!("SELECT * FROM {view} ORDER BY {keys}"));
    assert_eq!(found.len(), expected.len(), "{set}: rows of {view}");
    let key = |row: &Row| keys.split(", ").map(|key| row[key].to_string()).collect::<Vec<_>>();
    let mut expected = expected;
    expected.sort_by_key(key);
    found.sort_by_key(key);
    for (expected, found) in expected.iter().zip(&found) {
        for (column, value) in expected {
            assert!(same(value, &found[column]), "{set}: {view}.{column} of {:?}: {value} and {}", key(expected), found[column]);
        }
    }
}

#[test]
fn the_views_give_what_the_conformance_sets_expect() {
    for set in conformance::SETS {
        let db = with_views(set);
        assert_rows(set, &db, "lead_scores", "weather_lead_scores", "run_id, miner_uid, lead_hours");
        assert_rows(set, &db, "weather_forecast_stats", "weather_forecast_rollups", "run_id, miner_uid");
    }
}

/// Puts the expected rollups of a set in the place of the stored ones, as a correction does.
fn store_expected(db: &Database, set: &str) {
    let quoted = |rows: &[Row]| format!("'{}'", serde_json::to_string(rows).unwrap().replace('\'', "''"));
    let insert = |table: &str, rows: &[Row]| {
        let columns = rows[0].keys().cloned().collect::<Vec<_>>().join(", ");
        format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, {});",
            quoted(rows)
        )
    };
    // Ordered by miner, forecast_run_id, run: the last of each has the place.
    let rows = expected(set, "weather_forecast_stats");
    let key = |row: &Row| (row["miner_uid"].clone(), row["forecast_run_id"].clone());
    let placed: Vec<Row> = rows
        .iter()
        .enumerate()
        .filter(|(i, row)| rows.get(i + 1).is_none_or(|next| key(next) != key(row)))
        .map(|(_, r)| r.clone())
        .collect();
    // What is left without evidence stays: the views must tell it apart.
    db.execute(&format!(
        "DELETE FROM weather_forecast_stats s USING weather_placed_rollups d
         WHERE (d.miner_uid, d.forecast_run_id) = (s.miner_uid, s.forecast_run_id); DELETE FROM miner_stats; {} {}",
        insert("weather_forecast_stats", &placed),
        insert("miner_stats", &expected(set, "miner_stats")),
    ));
}

#[test]
fn the_subnet_is_what_the_conformance_sets_expect() {
    for set in conformance::SETS {
        let db = with_views(set);
        store_expected(&db, set);
        recount(["phase3", "refresh", "--database-url", &db.url()]).run().succeeds().stdout_has("refreshed weather_subnet_stats");
        assert_rows(set, &db, "weather_subnet_stats", "weather_subnet_stats", "scope, run_id");
    }
}

/// The stored rollups of a generated validator are the program's own, to the bit.
#[test]
fn the_views_agree_with_the_program_on_generated_data() {
    for (seed, extra) in [("11", vec!["--messy"]), ("12", vec!["--leads", "6,12,30,48"])] {
        let db = database();
        let url = db.url();
        recount(["migrate", "--standalone", "--database-url", &url]).run().succeeds();
        let arguments = ["generate", "--runs", "5", "--miners", "12", "--seed", seed, "--database-url", &url];
        recount(arguments.iter().chain(extra.iter())).run().succeeds();
        let leads = if extra[0] == "--leads" { "[scoring]\nexpected_leads = [6, 12, 30, 48]\n" } else { "" };
        recount(["phase3", "apply", "--database-url", &url]).file("recount.toml", leads).run().succeeds();
        let stored = found(
            &db,
            "SELECT s.* FROM weather_forecast_stats s JOIN weather_placed_rollups d USING (miner_uid, forecast_run_id) ORDER BY s.miner_uid, s.forecast_run_id",
        );
        let views = found(&db, "SELECT * FROM weather_placed_rollups ORDER BY miner_uid, forecast_run_id");
        assert_eq!(stored.len(), views.len());
        assert!(views.iter().any(|row| !row["era5_combined_score"].is_null()));
        for (stored, view) in stored.iter().zip(&views) {
            for (column, value) in view {
                assert!(same(value, &stored[column]), "{column} of {stored:?}: the view says {value}");
            }
        }
    }
}

/// The lines of a conformance file, each as a JSON text in one column.
fn lines(db: &Database, file: &str) -> usize {
    let text = fs::read_to_string(conformance::folder(file)).unwrap();
    db.execute("DROP TABLE IF EXISTS line; CREATE TABLE line (n serial, j jsonb)");
    let values: Vec<String> = text.lines().map(|line| format!("('{}')", line.replace('\'', "''"))).collect();
    db.execute(&format!("INSERT INTO line (j) VALUES {}", values.join(", ")));
    values.len()
}

#[test]
fn errors_are_sanitized_and_read_as_the_program_does() {
    let db = with_views("small");
    assert!(lines(&db, "sanitize.jsonl") > 50);
    assert_eq!(db.psql("SELECT j, recount_sanitize(j ->> 'in') FROM line WHERE recount_sanitize(j ->> 'in') <> j ->> 'out'"), "");
    assert!(lines(&db, "errors.jsonl") > 30);
    let differing = db.psql(
        "SELECT j, e FROM (SELECT j, recount_error(j -> 'error_json') AS e FROM line) t
         WHERE (e ->> 'type', e ->> 'message') IS DISTINCT FROM (j ->> 'type', j ->> 'message')
            OR e IS NOT NULL AND recount_error_class((e ->> 'type') || ' ' || coalesce(e ->> 'message', '')) <> j ->> 'class'",
    );
    assert_eq!(differing, "");
}

/// Texts made of what the patterns look for, in any order.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "http://",
        "s3://",
        "://",
        "user:pw@",
        "10.0.0.1",
        "1.2.3.4567",
        ":8080",
        ":80:443",
        "/a/b/c.nc",
        "/etc/passwd/",
        "?x=1&y",
        "#f",
        "[REDACTED]",
        "Bearer ",
        "basic\t",
        "abcdefgh12",
        "token",
        "PASSWORD",
        "api-key",
        "=",
        ": ",
        " ",
        "\n",
        "\"",
        "'",
        "\"two words\"",
        "'q'",
        "::1",
        "fe80::1%eth0",
        "[2001:db8::1]",
        "1:2:3:4:5:6:7:8",
        "::ffff:10.0.0.1",
        "1::2::3",
        "12:34:56",
        ".",
        ":",
        "host ",
        "hostname=",
        "miner.example.net",
        "port ",
        "8091",
        "C:\\a\\b\\c",
        "\\",
        "é",
        "日本",
        "_",
        "-",
        "(",
        ")",
        ",",
        ";",
        "<",
        ">",
        "|",
        "`",
        "x",
        "0",
        "%",
        "]",
        "[",
        "%41",
        "%2",
        "\\\\",
        "\\/",
        "\\\"",
        "\\'",
        "~",
        "anna@",
        "@n1",
        "-----BEGIN EC KEY-----",
        "-----END EC KEY-----",
        "AKIA0123456789ABCDEF",
        "eyJabcde.f-g",
        "ghp_0123456789abcdefghij",
        "sk-0123456789abcdef",
        "Cookie",
        "authorization: ",
        "seed phrase",
        "pass:",
        "passphrase=",
        "credential",
        ".com",
        "a.b.NET",
        ".io.",
        "me",
        "\r",
        "'10.0.0.1', 8091",
        "{\"host\": \"n1\", \"port\": 80}",
    ]);
    prop::collection::vec(parts, 0..14).prop_map(|parts| parts.concat())
}

/// With this setting off, a backslash in a plain literal of a function is an escape.
#[test]
fn functions_do_not_depend_on_standard_conforming_strings() {
    let db = with_views("small");
    assert!(lines(&db, "sanitize.jsonl") > 150);
    let differing = db.psql(
        "SET escape_string_warning = off; SET standard_conforming_strings = off;
         SELECT j FROM line WHERE recount_sanitize(j ->> 'in') <> j ->> 'out'",
    );
    assert_eq!(differing.trim_start_matches("SET").trim(), "");
    let differing = db.psql(
        "SET escape_string_warning = off; SET standard_conforming_strings = off;
         SELECT e FROM recount_error('\"to 10.0.0.1: timed out\"') e
         WHERE e IS DISTINCT FROM '{\"type\": \"timeout\", \"message\": \"to [REDACTED]: timed out\"}'",
    );
    assert_eq!(differing.trim_start_matches("SET").trim(), "");
}

#[test]
fn sanitizing_agrees_with_the_program_on_hostile_texts() {
    let db = with_views("clean");
    let mut runner = TestRunner::new(Config::default());
    let mut tree = || hostile().new_tree(&mut runner).unwrap().current();
    let mut texts: Vec<String> = (0..4_000).map(|_| tree()).collect();
    texts.push("x/y ".repeat(400));
    texts.push("é".repeat(600));
    let list = serde_json::to_string(&texts).unwrap().replace('\'', "''");
    let sanitized = db.rows(&format!(
        "SELECT recount_sanitize(t) FROM jsonb_array_elements_text('{list}') WITH ORDINALITY AS x (t, n) ORDER BY n"
    ));
    for (text, row) in texts.iter().zip(sanitized) {
        assert_eq!(row[0].as_deref(), Some(sanitize(text).as_str()), "{text:?}");
    }
}
