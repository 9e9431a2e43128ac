//! Text tables for tests of the rules: evidence in, cells out.
//!
//! A table of evidence begins with its name; a table of expected cells does not. The first line names columns, each other line is a
//! row; `|` stands between cells, `-` is NULL, a time is in seconds since 1970, an error is `type: message`. Columns of evidence that
//! are left out have the defaults of [`cell`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use crate::model::columns::Type;
use crate::model::evidence::{COMPONENTS, InputTable, RESPONSES, Run, RunEvidence, SCORES, STEPS, Wire};
use crate::model::finding::Finding;
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::rollups::{LegacyScore, MinerStat, Rollup, SubnetStat};
use crate::model::settings::Scoring;
use crate::model::time::Micros;
use crate::model::value::Value;

use super::stage::Hosting;
use super::{Lifetime, MinerRun, Rules, Scratch, UnitFold, fold_unit};

/// Seconds since 1970 as a time.
pub fn at(seconds: f64) -> Micros {
    Micros((seconds * 1e6).round() as i64)
}

/// Two leads (24 h, 48 h), one variable (`2t`), a snapshot at second 1,000,000; else the defaults.
pub fn rules(change: impl FnOnce(&mut Scoring)) -> Rules {
    let mut scoring = Scoring {
        expected_leads: vec![LeadHours(24), LeadHours(48)],
        expected_variables: vec!["2t".into()],
        ..Scoring::default()
    };
    change(&mut scoring);
    Rules::new(scoring, at(1e6))
}

/// The rollups of evidence under the rules of [`rules`]; findings in their order.
pub fn fold(tables: &str) -> UnitFold {
    fold_with(tables, |_| {})
}

/// As [`fold`], with other settings.
pub fn fold_with(tables: &str, change: impl FnOnce(&mut Scoring)) -> UnitFold {
    let mut fold = fold_unit(&evidence(tables), &rules(change), &mut Scratch::default());
    fold.findings.sort_by(Finding::order);
    fold
}

type NamedCells<'t> = HashMap<&'t str, &'t str>;

/// The rows of a table, its first line naming the columns.
fn rows<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<NamedCells<'t>> {
    let mut lines = lines.map(|line| line.split('|').map(str::trim));
    let names: Vec<&str> = lines.next().expect("a line of names").collect();
    lines.map(|cells| names.iter().copied().zip(cells).collect()).collect()
}

/// The evidence of all runs that the tables name; run 1, initialised at 0, where they name none.
pub fn evidence(tables: &str) -> Vec<RunEvidence> {
    let mut named: HashMap<&str, Vec<NamedCells<'_>>> = HashMap::new();
    for table in tables.split("\n\n").map(str::trim).filter(|table| !table.is_empty()) {
        let mut lines = table.lines().map(str::trim);
        let name = lines.next().expect("a name");
        assert!(["runs", "responses", "scores", "components", "steps", "legacy"].contains(&name), "no table: {name}");
        named.insert(name, rows(lines));
    }
    let runs = named.remove("runs").unwrap_or_else(|| vec![HashMap::from([("id", "1")])]);
    runs.iter()
        .map(|run| {
            let id = run["id"];
            let of = |name| {
                named.get(name).into_iter().flatten().enumerate().filter(move |(_, row)| cell(name, row, "run_id", 0) == id)
            };
            let batch = |name, table: &InputTable| batch(name, table, &of(name).collect::<Vec<_>>());
            let time = |column| time(run.get(column).copied().unwrap_or("0"));
            RunEvidence {
                run: Run::new(RunId(id.parse().expect("a run")), time("init"), time("target")),
                responses: batch("responses", &RESPONSES),
                scores: batch("scores", &SCORES),
                components: batch("components", &COMPONENTS),
                steps: batch("steps", &STEPS),
                legacy: of("legacy").map(|(_, row)| legacy(row)).collect(),
            }
        })
        .collect()
}

/// Rows of a history, each of its own run, as the lifetime rollups take them: under the rules of [`rules`].
pub fn history(table: &str) -> Vec<MinerRun> {
    let rows = rows(table.trim().lines().map(str::trim));
    let run = |(index, row): (usize, &NamedCells<'_>)| {
        let cell = |column: &str| row.get(column).copied().filter(|cell| *cell != "-");
        let float = |column| cell(column).map(|text| text.parse::<f64>().expect("a number"));
        let int = |column| cell(column).map(|text| text.parse::<i32>().expect("a whole number"));
        let miner = int("miner_uid").unwrap_or(1);
        MinerRun {
            run: RunId(int("run_id").unwrap_or(index as i32 + 1)),
            init: time(cell("init").unwrap_or("0")),
            miner: MinerUid(miner),
            hotkey: cell("hotkey").map_or_else(|| format!("key{miner}"), str::to_owned),
            combined: float("combined"),
            completeness: float("completeness").unwrap_or(0.0),
            day1: float("day1"),
            success: cell("status").map(|status| status == "completed"),
            end: cell("end").map(time),
            hosting: cell("hosting").map(|hosting| match hosting {
                "accessible" => Hosting::Accessible,
                "inaccessible" => Hosting::Inaccessible,
                "timeout" => Hosting::Timeout,
                _ => Hosting::Error,
            }),
            latency_ms: int("latency"),
            inference_seconds: int("seconds"),
            error_type: cell("error").map(str::to_owned),
            response_time: cell("response").map(time),
        }
    };
    rows.iter().enumerate().map(run).collect()
}

/// The lifetime rollups of a history.
pub fn lifetime(table: &str) -> (Vec<MinerStat>, SubnetStat) {
    let mut lifetime = Lifetime::default();
    lifetime.absorb(history(table));
    lifetime.finish(&rules(|_| {}))
}

fn legacy(row: &NamedCells<'_>) -> LegacyScore {
    LegacyScore {
        run_id: cell("legacy", row, "run_id", 0).parse().ok(),
        miner_uid: cell("legacy", row, "miner_uid", 0).parse().ok(),
        lead_hours: row["lead_hours"].parse().ok(),
        era5_score: row["era5_score"].parse().ok(),
        ..LegacyScore::default()
    }
}

/// A cell as it is written, or its default: all is about miner 1 of run 1, whose response is 101 and whose hotkey is `key1`; ids count
/// rows from 1 on; a score has the lead that its name ends with.
fn cell(table: &str, row: &NamedCells<'_>, column: &str, index: usize) -> String {
    if let Some(written) = row.get(column) {
        return (*written).to_owned();
    }
    let miner = || cell(table, row, "miner_uid", index);
    match (column, table) {
        ("run_id" | "miner_uid", _) => "1".to_owned(),
        ("id", "responses") | ("response_id", _) => format!("10{}", miner()),
        ("id", _) => (index + 1).to_string(),
        ("miner_hotkey", _) => format!("key{}", miner()),
        ("response_time" | "calculation_time" | "calculated_at", _) => "0".to_owned(),
        ("score", _) => "0.5".to_owned(),
        ("status", "responses") => "received".to_owned(),
        ("status", _) => "succeeded".to_owned(),
        ("score_type", "components") => "era5".to_owned(),
        ("lead_hours", "components") => "24".to_owned(),
        ("variable_name", _) => "2t".to_owned(),
        ("lead_hours", "scores") => match row["score_type"].strip_suffix('h').and_then(|name| name.rsplit_once('_')) {
            Some((_, lead)) => lead.to_owned(),
            None => "-".to_owned(),
        },
        _ => "-".to_owned(),
    }
}

fn batch(name: &str, table: &InputTable, rows: &[(usize, &NamedCells<'_>)]) -> RecordBatch {
    let columns = table.columns.iter().flat_map(|input| {
        let texts = rows.iter().map(|(index, row)| cell(name, row, input.name, *index));
        let cells: Vec<Option<String>> = texts.map(|text| (text != "-").then_some(text)).collect();
        arrays(input.wire, &cells)
    });
    RecordBatch::try_new(table.schema(), columns.collect()).expect("a batch of the contract")
}

fn arrays(wire: Wire, cells: &[Option<String>]) -> Vec<ArrayRef> {
    fn parsed<T: std::str::FromStr>(cells: &[Option<String>]) -> impl Iterator<Item = Option<T>> {
        cells.iter().map(|cell| cell.as_deref().map(|text| text.parse().unwrap_or_else(|_| panic!("no value: {text}"))))
    }
    let texts = || cells.iter().map(Option::as_deref);
    let array: ArrayRef = match wire {
        Wire::Id => Arc::new(parsed::<i64>(cells).collect::<Int64Array>()),
        Wire::Plain(Type::Int32) => Arc::new(parsed::<i32>(cells).collect::<Int32Array>()),
        Wire::Plain(Type::Float64) => Arc::new(parsed::<f64>(cells).collect::<Float64Array>()),
        Wire::Plain(Type::Bool) => Arc::new(parsed::<bool>(cells).collect::<BooleanArray>()),
        Wire::Plain(Type::Time) => {
            let times = texts().map(|text| text.map(|text| time(text).0));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        Wire::Plain(_) => Arc::new(texts().collect::<DictionaryArray<Int32Type>>()),
        _ => {
            let parts = || texts().map(|text| text.map(|text| text.split_once(": ").unwrap_or((text, "-"))));
            let messages = parts().map(|parts| parts.map(|(_, message)| message).filter(|message| *message != "-"));
            return vec![
                Arc::new(parts().map(|parts| parts.map(|(kind, _)| kind)).collect::<StringArray>()),
                Arc::new(messages.collect::<StringArray>()),
            ];
        }
    };
    vec![array]
}

fn time(text: &str) -> Micros {
    match text {
        "infinity" => Micros::MAX,
        "-infinity" => Micros::MIN,
        seconds => at(seconds.parse().unwrap_or_else(|_| panic!("no time: {seconds}"))),
    }
}

/// Holds the named cells of all rows, in their order, against a table.
#[track_caller]
pub fn assert_cells<'r, R: Rollup + 'r>(found: impl IntoIterator<Item = &'r R>, expected: &str) {
    let mut lines = expected.trim().lines();
    let names: Vec<&str> = lines.next().expect("a line of names").split('|').map(str::trim).collect();
    let index =
        |name: &&str| R::COLUMNS.iter().position(|column| column.name == **name).unwrap_or_else(|| panic!("no column: {name}"));
    let columns: Vec<usize> = names.iter().map(index).collect();
    let line = |row: &R| columns.iter().map(|&column| text(&row.value(column))).collect::<Vec<_>>().join(" | ");
    let found: Vec<String> = found.into_iter().map(line).collect();
    let expected: Vec<String> = lines.map(joined).collect();
    assert_eq!(found, expected, "cells of {names:?}");
}

fn joined(line: &str) -> String {
    line.split('|').map(str::trim).collect::<Vec<_>>().join(" | ")
}

fn text(value: &Value<'_>) -> String {
    match value {
        Value::Time(time) if *time != Micros::MAX && *time != Micros::MIN => (time.0 as f64 / 1e6).to_string(),
        other => other.to_text().unwrap_or_else(|| "-".to_owned()),
    }
}

/// Holds findings against lines of code, run, miner, lead, table and row id.
#[track_caller]
pub fn assert_findings(found: &[Finding], expected: &str) {
    fn or_null(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let line = |f: &Finding| {
        let (run, miner, lead) = (or_null(f.run.map(|x| x.0)), or_null(f.miner.map(|x| x.0)), or_null(f.lead.map(|x| x.0)));
        [f.code.name().to_owned(), run, miner, lead, f.table.to_owned(), or_null(f.row_id)].join(" | ")
    };
    let found: Vec<String> = found.iter().map(line).collect();
    let expected: Vec<String> = expected.trim().lines().map(joined).collect();
    assert_eq!(found, expected, "findings");
}
