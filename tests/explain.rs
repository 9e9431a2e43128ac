//! `recount explain`: the leaves of the tree give its values, to the bit, from the JSON alone.

use std::path::Path;

use recount::internals::rollup::exact::{clamp, mean, sum};
use serde_json::Value as Json;

use crate::support::recount;

fn number(value: &Json) -> Option<f64> {
    value.as_f64()
}

fn list<'j>(value: &'j Json, name: &str) -> &'j [Json] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is no list in {value}"))
}

/// The numbers of a cell in the rows that count.
fn counted(node: &Json, cell: &str) -> Vec<f64> {
    let rows = list(node, "rows").iter().filter(|row| row["counts"] == true);
    rows.map(|row| number(&row["cells"][cell]).unwrap_or_else(|| panic!("{row}"))).collect()
}

/// What its parts and rows make of a lead (L2–L4).
fn lead(node: &Json) -> Option<f64> {
    let part = |name: &str| list(node, "parts").iter().find(|part| part["name"] == name);
    let checked = |name: &str, mean: fn(Vec<f64>) -> f64| {
        part(name).map(|part| {
            let value = mean(counted(part, "score"));
            assert_eq!(number(&part["value"]).map(f64::to_bits), Some(value.to_bits()), "{part}");
            value
        })
    };
    let skill = checked("skill", |values| mean(&values.into_iter().map(clamp).collect::<Vec<_>>()).unwrap());
    let acc = checked("acc", |values| mean(&values.into_iter().map(|a| (a + 1.0) / 2.0).collect::<Vec<_>>()).unwrap());
    let rmse = checked("rmse", |mut values| {
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let ratio = |e: f64| if median > 0.0 { e / median } else { 1.0 };
        mean(&values.iter().map(|&e| 1.0 / (1.0 + ratio(e))).collect::<Vec<_>>()).unwrap()
    });
    if node["rule"] == "L1" {
        return None;
    }
    match (skill, acc, rmse) {
        (Some(skill), Some(acc), Some(rmse)) => Some(clamp(0.6 * skill + 0.3 * acc + 0.1 * rmse)),
        (Some(skill), Some(acc), None) => Some(clamp(0.6 * skill + 0.4 * acc)),
        (skill, acc, rmse) => skill.or(acc).or(rmse).map(clamp),
    }
}

/// The value of a column as its leaves give it; `None` where the column is no number that rows make.
fn again(explained: &Json, name: &str) -> Option<Option<f64>> {
    let column = |name: &str| list(explained, "columns").iter().find(|column| column["name"] == name).unwrap();
    let node = column(name);
    let numbers = |name: &str| again(explained, name).flatten();
    let leads = || list(node, "rests_on").iter().map(|lead| numbers(lead.as_str().unwrap())).collect::<Vec<_>>();
    Some(match name {
        "era5_combined_score" => {
            let leads = leads();
            let scored: Vec<f64> = leads.iter().copied().flatten().collect();
            (!scored.is_empty()).then(|| sum(&scored) / leads.len() as f64)
        }
        "era5_completeness" => {
            let leads = leads();
            Some(leads.iter().flatten().count() as f64 / leads.len() as f64)
        }
        "forecast_score_initial" => {
            let rows = counted(node, "score");
            assert!(rows.len() < 2, "{node}");
            rows.first().copied()
        }
        "overall_forecast_score" => {
            let (combined, day1) = (numbers("era5_combined_score"), numbers("forecast_score_initial"));
            let setting = |name: &str| number(&explained["settings"][name]).unwrap();
            let pass = day1.is_some_and(|score| score >= setting("day1_pass_threshold"));
            let score = setting("era5_weight") * combined.unwrap_or(0.0) + setting("day1_weight") * f64::from(pass);
            (combined.is_some() || day1.is_some()).then(|| clamp(score))
        }
        "avg_rmse" => mean(&counted(node, "rmse")),
        "avg_acc" => mean(&counted(node, "acc")),
        "avg_skill_score" => mean(&counted(node, "skill_score")),
        "miner_rank" => numbers("era5_combined_score")
            .map(|own| 1.0 + counted(node, "era5_combined_score").iter().filter(|&&other| other > own).count() as f64),
        name if name.starts_with("era5_score_") => lead(node),
        _ => return None,
    })
}

fn explain(folder: &Path, run: u32, miner: u32) -> Option<Json> {
    let (run, miner) = (run.to_string(), miner.to_string());
    let run = recount(["explain", "s", "--run", &run, "--miner", &miner, "--format", "json"]).folder(folder).run();
    if run.status == Some(2) {
        run.stderr_has("no row");
        return None;
    }
    Some(run.succeeds().json())
}

#[test]
fn leaves_of_messy_rows_give_their_values_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recount(["generate", "--runs", "8", "--miners", "24", "--seed", "20", "--messy", "--drift", "40", "--out", "s"])
        .folder(folder)
        .run()
        .succeeds();
    let runs: Vec<u32> = (1..=8).collect();
    let (mut cells, mut filled, mut aside, mut drift) = (0, 0, 0, 0);
    for pick in 0..40_u32 {
        let (run, miner) = (runs[(pick % 8) as usize], (pick * 7 + pick / 8) % 24);
        let Some(explained) = explain(folder, run, miner) else { continue };
        for column in list(&explained, "columns") {
            let name = column["name"].as_str().unwrap();
            aside +=
                list(column, "rows").iter().filter(|row| !list(row, "findings").is_empty() && row["counts"] == false).count();
            drift += usize::from(column["class"] == "drift");
            let Some(value) = again(&explained, name) else { continue };
            assert_eq!(value.map(f64::to_bits), number(&column["value"]).map(f64::to_bits), "run {run}, miner {miner}: {column}");
            cells += 1;
            filled += usize::from(value.is_some());
        }
    }
    assert!(cells >= 400 && filled >= 200, "{cells} cells, {filled} filled");
    assert!(aside > 20 && drift > 0, "{aside} rows set aside, {drift} cells drifted");
}

#[test]
fn a_column_comes_with_what_it_rests_on_and_an_unknown_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recount(["generate", "--runs", "2", "--miners", "3", "--seed", "1", "--complete", "--out", "s"])
        .folder(folder)
        .run()
        .succeeds();
    let explain = |more: &[&str]| {
        let args = ["explain", "s", "--run", "1", "--miner", "1"];
        recount(args.iter().chain(more)).folder(folder).run()
    };
    let json = explain(&["--column", "overall_forecast_score", "--format", "json"]).succeeds().json();
    let names: Vec<&str> = list(&json, "columns").iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "overall_forecast_score");
    assert!(
        names.contains(&"era5_score_24h") && names.contains(&"era5_combined_score") && !names.contains(&"miner_rank"),
        "{names:?}"
    );
    explain(&["--column", "nothing"]).ends_with(2).stderr_has("hint: one of era5_score_24h");
    let deep = explain(&["--column", "era5_score_24h"]).succeeds().stdout.lines().count();
    let flat = explain(&["--column", "era5_score_24h", "--depth", "1"]).succeeds().stdout.lines().count();
    assert!(deep > 20 && flat == 3, "{deep} and {flat} lines");
    recount(["explain", "s", "--run", "9", "--miner", "1"]).folder(folder).run().ends_with(2).stderr_has("has no run 9");
}
