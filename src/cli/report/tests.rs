use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::model::columns::Type;
use crate::model::difference::{Class, Difference, RowKey};
use crate::model::filter::{ColumnFilter, STORED_TABLES, stored_column};
use crate::model::finding::Code;
use crate::model::job::Narrowing;
use crate::model::outcome::{CellCounts, ColumnTally, RowCounts, TableTally};
use crate::model::time::Micros;
use crate::model::value::Value;

use super::*;

/// The report of what was found.
fn render(outcome: &Outcome, format: Format, quiet: bool, look: Look) -> Result<String> {
    Report { outcome, settings: serde_json::json!({}), applied: None, refused: None }.render(format, quiet, look)
}

const LOOK: Look = Look { color: false, width: 100 };

fn forecast(run: i32, miner: i32, column: &str, stored: Value<'static>, recomputed: Value<'static>) -> Difference {
    Difference {
        table: "weather_forecast_stats",
        key: RowKey {
            miner_uid: Some(miner),
            forecast_run_id: Some(format!("forecast_2025060{run}_18_to_2025060{run}_18")),
            run_id: Some(run),
            ..RowKey::default()
        },
        column: Some(column.to_owned()),
        class: Class::Drift,
        stored,
        recomputed,
        cause: None,
    }
}

fn tally(rows: [u64; 4], cells: [u64; 3], columns: &[(&str, u64, f64)]) -> TableTally {
    let column = |&(name, drift, max_abs_diff): &(&str, u64, f64)| {
        (name.to_owned(), ColumnTally { drift, max_abs_diff, ..ColumnTally::default() })
    };
    TableTally {
        rows: RowCounts { matching: rows[0], drift: rows[1], missing: rows[2], extra: rows[3], ..RowCounts::default() },
        cells: CellCounts { equal: cells[0], within: cells[1], drift: cells[2], ..CellCounts::default() },
        columns: columns.iter().map(column).collect(),
    }
}

fn text(text: &str) -> Value<'static> {
    Value::Text(text.to_owned().into())
}

/// A source in sync.
fn clean() -> Outcome {
    Outcome {
        command: "reconcile",
        source: "data/sample".to_owned(),
        taken_at: Micros::parse("2025-06-19T00:00:00Z").unwrap(),
        replay_of: None,
        narrowing: Narrowing::default(),
        filter: ColumnFilter::default(),
        rows: BTreeMap::from([("weather_forecast_runs", 6), ("weather_miner_scores", 41_280)]),
        digest: "af1349b9f5f9a1a6a0404dea36dcc949".to_owned(),
        tables: BTreeMap::from([("weather_forecast_stats", tally([3504, 0, 0, 0], [70_000, 2, 0], &[("avg_rmse", 0, 1e-12)]))]),
        findings: BTreeMap::new(),
        finding_rows: Vec::new(),
        differences: Vec::new(),
        weighed: None,
        baseline: None,
        elapsed: vec![("runs", Duration::from_millis(1234)), ("total", Duration::from_millis(1300))],
        notes: Vec::new(),
    }
}

/// A night with drift of every kind.
fn drifted() -> Outcome {
    let mut differences: Vec<_> =
        (1..=3).map(|miner| forecast(5, miner, "era5_completeness", Value::Null, Value::Float(0.0))).collect();
    differences.extend([
        forecast(5, 1, "forecast_status", text("seeded"), text("pending")),
        forecast(5, 2, "forecast_status", text("seeded"), text("pending")),
        forecast(6, 1, "era5_combined_score", Value::Float(0.5), Value::Float(0.5042)),
        forecast(6, 2, "miner_rank", Value::Int(4), Value::Null),
        forecast(6, 3, "hosting_latency_ms", Value::Int(1200), Value::Int(300)),
        forecast(6, 4, "last_error_message", text("GET [REDACTED]\u{1b}[0m failed after three attempts"), Value::Null),
        Difference { class: Class::Missing, column: None, ..forecast(6, 9, "", Value::Null, Value::Null) },
    ]);
    differences.push(Difference {
        table: "weather_subnet_stats",
        key: RowKey { scope: Some("lifetime".to_owned()), ..RowKey::default() },
        column: Some("top_miners".to_owned()),
        class: Class::Drift,
        stored: Value::Json(std::borrow::Cow::Owned(json!([]))),
        recomputed: Value::Json(std::borrow::Cow::Owned(json!([{"miner_uid": 1, "score": 0.75, "rank": 1}]))),
        cause: None,
    });
    let columns = [
        ("era5_combined_score", 1, 0.0042),
        ("overall_forecast_score", 0, 0.0),
        ("era5_completeness", 3, 0.0),
        ("forecast_status", 2, 0.0),
        ("hosting_latency_ms", 1, 900.0),
        ("avg_acc", 0, 0.0),
    ];
    Outcome {
        tables: BTreeMap::from([
            ("weather_forecast_stats", tally([3466, 37, 1, 0], [70_000, 0, 9], &columns)),
            ("weather_subnet_stats", tally([6, 1, 0, 0], [132, 0, 1], &[("top_miners", 1, 0.0)])),
        ]),
        findings: BTreeMap::from([(Code::PartialLead, 12), (Code::OrphanScore, 1), (Code::DuplicateScore, 1480)]),
        differences,
        notes: vec!["miner_stats is not in the source and was not compared".to_owned()],
        ..clean()
    }
}

#[test]
fn the_terminal_report_of_a_drifted_source() {
    insta::assert_snapshot!(render(&drifted(), Format::Terminal, false, LOOK).unwrap(), @r#"
    DRIFT that reaches weights: of 3,504 rows with overall_forecast_score 1 row is missing or extra. scores: 4 cells wrong in 4 rows; rows: 1 missing; ranks: 2; status: 2; errors: 1; hosting: 1.
    reconcile: data/sample, as of 2025-06-19T00:00:00Z, 41,286 rows read; nothing was changed.

     differs   cells   why, and in which columns
    ─────────────────────────────────────────────────────────────────────────────────────────────────
     scores        4   not written: era5_completeness 3; another number: era5_combined_score 1
     rows          1   not stored: weather_forecast_stats 1
     ranks         2   nothing gives it: miner_rank 1; other keys or values: in weather_subnet_stats
                       top_miners 1
     status        2   another vocabulary: forecast_status 2
     errors        1   errors kept or cleared otherwise: last_error_message 1
     hosting       1   another number: hosting_latency_ms 1

    weather_forecast_stats  rows: 3,466 match, 37 drift, 1 missing, 0 extra
    weather_subnet_stats  rows: 6 match, 1 drift, 0 missing, 0 extra

    The worst of each column
     column                   row              stored → recomputed                why
    ────────────────────────────────────────────────────────────────────────────────────────────────────
     era5_combined_score      run 6, miner 1   0.5 → 0.5042                       another number (off
                                                                                  by about 0.0042)
     hosting_latency_ms       run 6, miner 3   1200 → 300                         another number (off
                                                                                  by about 900)
     weather_forecast_stats   run 6, miner 9   no row → a row                     not stored
     era5_completeness        run 5, miner 1   NULL → 0.0                         not written
     forecast_status          run 5, miner 1   seeded → pending                   another vocabulary
     miner_rank               run 6, miner 2   4 → NULL                           nothing gives it
     last_error_message       run 6, miner 4   GET [REDACTED] [0m failed after…   errors kept or
                                               → NULL                             cleared otherwise
     top_miners               lifetime         [] →                               other keys or values
                                               [{"miner_uid":1,"rank":1,"score…

    By pattern: weather_forecast_stats
     cells   column                stored → recomputed   for example
    ──────────────────────────────────────────────────────────────────────────────────────────
         3   era5_completeness     NULL → 0.0            run 5, miner 1
         2   forecast_status       seeded → pending      run 5, miner 1
         1   era5_combined_score   off by about 0.001    run 6, miner 1 (off by about 0.0042)
         1   miner_rank            number → NULL         run 6, miner 2
         1   hosting_latency_ms    off by about 100      run 6, miner 3 (off by about 900)
         1   last_error_message    text → NULL           run 6, miner 4
         1   (whole row)           not stored            run 6, miner 9

    By pattern: weather_subnet_stats
     cells   column       stored → recomputed   for example
    ────────────────────────────────────────────────────────
         1   top_miners   array → array         lifetime

    Findings in the evidence
     count   severity   finding
    ────────────────────────────────────
         1   error      orphan_score
        12   warning    partial_lead
     1,480   info       duplicate_score

    What to do
     recount explain data/sample --run 6 --miner 1 --column era5_combined_score
       why it is what it is

    note: miner_stats is not in the source and was not compared
    time: runs 1.2 s, total 1.3 s
    digest: af1349b9f5f9a1a6a0404dea36dcc949
    "#);
}

#[test]
fn the_terminal_report_of_a_source_in_sync() {
    insta::assert_snapshot!(render(&clean(), Format::Terminal, false, LOOK).unwrap(), @r#"
    In sync: all 3,504 compared rows of 1 table match (2 cells within tolerance, not equal to the bit).
    reconcile: data/sample, as of 2025-06-19T00:00:00Z, 41,286 rows read; nothing was changed.

    weather_forecast_stats  rows: 3,504 match, 0 drift, 0 missing, 0 extra

    time: runs 1.2 s, total 1.3 s
    digest: af1349b9f5f9a1a6a0404dea36dcc949
    "#);
}

#[test]
fn quiet_is_the_headline() {
    let text = render(&drifted(), Format::Terminal, true, LOOK).unwrap();
    insta::assert_snapshot!(text, @"DRIFT that reaches weights: of 3,504 rows with overall_forecast_score 1 row is missing or extra. scores: 4 cells wrong in 4 rows; rows: 1 missing; ranks: 2; status: 2; errors: 1; hosting: 1.");
}

#[test]
fn a_source_without_stored_rollups_is_not_called_in_sync() {
    let bare = |command| Outcome { command, tables: BTreeMap::new(), ..clean() };
    insta::assert_snapshot!(render(&bare("reconcile"), Format::Terminal, true, LOOK).unwrap(), @"Nothing was compared: no stored rollups were read.");
    insta::assert_snapshot!(render(&bare("recompute"), Format::Terminal, true, LOOK).unwrap(), @"Recomputed from 41,286 rows.");
}

#[test]
fn colours_are_only_there_where_they_are_wanted() {
    let colored = render(&drifted(), Format::Terminal, false, Look { color: true, ..LOOK }).unwrap();
    assert!(colored.starts_with("\x1b[1;31mDRIFT"), "{colored}");
    assert!(!render(&drifted(), Format::Terminal, false, LOOK).unwrap().contains('\x1b'));
}

#[test]
fn the_json_report_of_a_drifted_source() {
    let outcome = Outcome { differences: drifted().differences.split_off(8), ..drifted() };
    insta::assert_snapshot!(render(&outcome, Format::Json, true, LOOK).unwrap(), @r#"
    {
      "version": 2,
      "recount": "0.1.0",
      "headline": "DRIFT that reaches weights: of 3,504 rows with overall_forecast_score 1 row is missing or extra. rows: 1 missing; ranks: 1; errors: 1.",
      "in_sync": false,
      "refused": null,
      "command": "reconcile",
      "source": "data/sample",
      "snapshot": {
        "taken_at": "2025-06-19T00:00:00.000000Z",
        "rows": {
          "weather_forecast_runs": 6,
          "weather_miner_scores": 41280
        }
      },
      "digest": "af1349b9f5f9a1a6a0404dea36dcc949",
      "tables": {
        "weather_forecast_stats": {
          "rows": {
            "match": 3466,
            "drift": 37,
            "unproven": 0,
            "habit": 0,
            "accepted": 0,
            "missing": 1,
            "extra": 0
          },
          "cells": {
            "equal": 70000,
            "within": 0,
            "drift": 9,
            "unproven": 0,
            "habit": 0,
            "accepted": 0
          },
          "columns": {
            "avg_acc": {
              "drift": 0,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 0.0
            },
            "era5_combined_score": {
              "drift": 1,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 0.0042
            },
            "era5_completeness": {
              "drift": 3,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 0.0
            },
            "forecast_status": {
              "drift": 2,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 0.0
            },
            "hosting_latency_ms": {
              "drift": 1,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 900.0
            },
            "overall_forecast_score": {
              "drift": 0,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 0.0
            }
          }
        },
        "weather_subnet_stats": {
          "rows": {
            "match": 6,
            "drift": 1,
            "unproven": 0,
            "habit": 0,
            "accepted": 0,
            "missing": 0,
            "extra": 0
          },
          "cells": {
            "equal": 132,
            "within": 0,
            "drift": 1,
            "unproven": 0,
            "habit": 0,
            "accepted": 0
          },
          "columns": {
            "top_miners": {
              "drift": 1,
              "unproven": 0,
              "habit": 0,
              "accepted": 0,
              "max_abs_diff": 0.0
            }
          }
        }
      },
      "groups": {
        "errors": {
          "roots": 1,
          "follows": 0,
          "rows": 1
        },
        "ranks": {
          "roots": 1,
          "follows": 0,
          "rows": 1
        },
        "rows": {
          "roots": 1,
          "follows": 0,
          "rows": 1
        }
      },
      "causes": {},
      "impact": {
        "count": 0,
        "complete": true,
        "rows": []
      },
      "score_table": null,
      "worst": [
        {
          "table": "weather_forecast_stats",
          "class": "missing",
          "why": "not stored",
          "cause": null,
          "key": {
            "miner_uid": 9,
            "forecast_run_id": "forecast_20250606_18_to_20250606_18",
            "run_id": 6
          },
          "column": null,
          "stored": null,
          "recomputed": null
        },
        {
          "table": "weather_forecast_stats",
          "class": "drift",
          "why": "errors kept or cleared otherwise",
          "cause": null,
          "key": {
            "miner_uid": 4,
            "forecast_run_id": "forecast_20250606_18_to_20250606_18",
            "run_id": 6
          },
          "column": "last_error_message",
          "stored": "GET [REDACTED]\u001b[0m failed after three attempts",
          "recomputed": null
        },
        {
          "table": "weather_subnet_stats",
          "class": "drift",
          "why": "other keys or values",
          "cause": null,
          "key": {
            "scope": "lifetime"
          },
          "column": "top_miners",
          "stored": [],
          "recomputed": [
            {
              "miner_uid": 1,
              "rank": 1,
              "score": 0.75
            }
          ]
        }
      ],
      "findings": {
        "duplicate_score": 1480,
        "orphan_score": 1,
        "partial_lead": 12
      },
      "finding_rows": {
        "count": 1493,
        "complete": false,
        "rows": []
      },
      "settings": {},
      "elapsed_ms": {
        "runs": 1234,
        "total": 1300
      },
      "patterns": [
        {
          "table": "weather_forecast_stats",
          "column": "last_error_message",
          "why": "errors kept or cleared otherwise",
          "pattern": "text → NULL",
          "count": 1,
          "example": {
            "key": {
              "miner_uid": 4,
              "forecast_run_id": "forecast_20250606_18_to_20250606_18",
              "run_id": 6
            },
            "column": "last_error_message",
            "stored": "GET [REDACTED]\u001b[0m failed after three attempts",
            "recomputed": null
          }
        },
        {
          "table": "weather_forecast_stats",
          "column": "(whole row)",
          "why": "not stored",
          "pattern": "not stored",
          "count": 1,
          "example": {
            "key": {
              "miner_uid": 9,
              "forecast_run_id": "forecast_20250606_18_to_20250606_18",
              "run_id": 6
            },
            "column": null,
            "stored": null,
            "recomputed": null
          }
        },
        {
          "table": "weather_subnet_stats",
          "column": "top_miners",
          "why": "other keys or values",
          "pattern": "array → array",
          "count": 1,
          "example": {
            "key": {
              "scope": "lifetime"
            },
            "column": "top_miners",
            "stored": [],
            "recomputed": [
              {
                "miner_uid": 1,
                "rank": 1,
                "score": 0.75
              }
            ]
          }
        }
      ],
      "unproven": [],
      "habits": [],
      "baseline": null,
      "compared": null,
      "replay_of": null,
      "notes": [
        "miner_stats is not in the source and was not compared"
      ]
    }
    "#);
}

/// The differences that the conformance set of production's own rollups expects.
fn production() -> Vec<Difference> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/production/expected/differences.json");
    let lines: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    lines.iter().map(difference).collect()
}

fn difference(line: &serde_json::Value) -> Difference {
    let (table, _) = STORED_TABLES.into_iter().find(|(table, _)| line["table"] == *table).unwrap();
    let column = line["column"].as_str();
    let cell = |json: &serde_json::Value| match column.and_then(|name| stored_column(table, name)).map(|column| column.kind) {
        _ if json.is_null() => Value::Null,
        Some(Type::Float64) => Value::Float(json.as_f64().unwrap_or(f64::NAN)),
        Some(Type::Time) => Value::Time(Micros::parse(json.as_str().unwrap()).unwrap()),
        Some(Type::Text) => text(json.as_str().unwrap()),
        Some(Type::Json) => Value::Json(std::borrow::Cow::Owned(json.clone())),
        _ => Value::Int(json.as_i64().unwrap()),
    };
    let key = &line["key"];
    let number = |name: &str| key[name].as_i64().map(|id| id as i32);
    let word = |name: &str| key[name].as_str().map(str::to_owned);
    Difference {
        table,
        key: RowKey {
            miner_uid: number("miner_uid"),
            forecast_run_id: word("forecast_run_id"),
            scope: word("scope"),
            // The list does not say which run; a report always knows.
            run_id: number("run_id").or_else(|| key["forecast_run_id"].is_string().then_some(4)),
        },
        column: column.map(str::to_owned),
        class: match line["class"].as_str().unwrap() {
            "within" => Class::Within,
            "missing" => Class::Missing,
            "extra" => Class::Extra,
            "unproven" => Class::Unproven,
            _ => Class::Drift,
        },
        stored: cell(&line["stored"]),
        recomputed: cell(&line["expected"]),
        cause: None,
    }
}

/// What the production validator stored, without the causes that evidence would tell: what the values themselves say fits a page.
#[test]
fn a_first_night_in_production_is_a_page() {
    let mut differences = production();
    differences.retain(|difference| difference.class != Class::Within);
    let outcome = Outcome { differences, ..drifted() };
    assert!(outcome.differences.len() > 600);
    let report = render(&outcome, Format::Terminal, false, Look { color: false, width: 80 }).unwrap();
    let lines: Vec<_> =
        report.lines().skip_while(|line| !line.starts_with(" differs")).take_while(|line| !line.is_empty()).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
     differs    cells   why, and in which columns
    ────────────────────────────────────────────────────────────────────────────────
     scores        54   not written: era5_completeness 52; no number:
                        forecast_score_initial 1, in miner_stats avg_day1_score 1
     ranks         58   nothing gives it: miner_rank 52, in miner_stats miner_rank
                        5; another number: in miner_stats miner_rank 1
     status       320   another vocabulary: current_forecast_status 144,
                        current_forecast_stage 98, forecast_status 53; not counted:
                        retries_remaining 1, in miner_stats consecutive_successes
                        16, consecutive_failures 4, failed_forecasts 4
     errors        31   errors kept or cleared otherwise: forecast_error_msg 12,
                        last_error_message 11, in miner_stats common_errors 4,
                        error_rate_by_type 4
     hosting      154   not written: hosting_status 114; not counted: in
                        miner_stats host_reliability_ratio 19, hosting_successes
                        19, hosting_failures 2
     activity      89   another time: in miner_stats first_seen 24, last_active 24,
                        last_successful_forecast 19; another number:
                        forecast_inference_duration_seconds 8, in miner_stats
                        avg_inference_time 5, total_inference_time 5; not written:
                        in miner_stats last_failed_forecast 4
    ");
}

/// The schema is made from the structs that write the report. RECOUNT_WRITE_DOCS=1 writes it anew.
#[test]
fn the_schema_of_the_json_report_is_in_the_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
    let schema = format!("{:#}\n", serde_json::to_value(schemars::schema_for!(json::Report<'_>)).unwrap());
    if std::env::var_os("RECOUNT_WRITE_DOCS").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    assert!(std::fs::read_to_string(path).is_ok_and(|text| text == schema), "docs/report.schema.json is not what the report is");
}

/// A page is one file: nothing of it comes from elsewhere, and no text of a database is more than text in it.
#[test]
fn the_page_takes_nothing_from_elsewhere_and_texts_stay_texts() {
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut outcome = drifted();
    outcome.source = evil.to_owned();
    outcome.notes.push(evil.to_owned());
    outcome.differences.push(forecast(7, 1, "last_error_message", text(evil), text("<b>right</b>")));
    outcome.finding_rows.push(crate::model::finding::Finding {
        code: Code::OrphanScore,
        run: None,
        miner: None,
        lead: None,
        table: "weather_miner_scores",
        row_id: Some(1),
        detail: evil.to_owned(),
    });
    let report = Report {
        outcome: &outcome,
        settings: serde_json::json!({"forecast_type": evil}),
        applied: None,
        refused: Some(evil.to_owned()),
    };
    let page = page::render(&report);
    assert_eq!(page.matches("<script").count(), 1, "our own");
    assert!(!page.contains("<img") && !page.contains("<b>right") && page.contains("&lt;script&gt;"), "{page}");
    for elsewhere in ["http:", "https:", "src=\"", "href", "url(", "@import"] {
        assert!(!page.replace("&quot;", "").contains(elsewhere), "{elsewhere}");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("DRIFT") && page.contains("<svg"));
}
