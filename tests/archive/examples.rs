//! The examples of docs/analysts.md run, agree with each other, and with recount's own rollups.

use std::collections::BTreeMap;
use std::fs::File;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;

use recount::internals::archive::docs::{dictionary, entries};
use recount::internals::model::rollups::{ForecastStat, LeadScore, MinerStat, Rollup};
use recount::internals::model::rows::rows_from_batch;

use crate::support::python::answer;
use crate::support::recount;
use crate::support::repository::{blocks, read};

use super::{archived_sample, sample};

const PAGE: &str = "docs/analysts.md";
/// Between these the page has what the code generates.
const MARKS: [&str; 2] = ["<!-- generated: dictionary -->\n\n", "<!-- end of dictionary -->"];

/// Prints the three answers of an example, whatever frame they are in.
const PRINT: &str = r#"
import json
def rows(frame):
    frame = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
    return [[v.item() if hasattr(v, "item") else v for v in row] for row in frame.itertuples(index=False)]
print(json.dumps({"decay": rows(decay), "improved": rows(improved), "costs": rows(costs)}))
"#;

fn rollups<R: Rollup>() -> Vec<R> {
    let run = recount(["recompute", &sample(), "--out", "out"]).run().succeeds();
    let file = File::open(run.folder().join("out").join(format!("{}.parquet", R::TABLE))).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| rows_from_batch(&batch.unwrap()).unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The first question, from recount's own rollups.
fn decay() -> Vec<(f64, f64)> {
    let best: Vec<_> =
        rollups::<MinerStat>().into_iter().filter(|row| row.miner_rank <= Some(10) && row.miner_rank.is_some()).collect();
    let mut leads: BTreeMap<i32, Vec<f64>> = BTreeMap::new();
    for row in rollups::<LeadScore>().into_iter().filter(|row| row.scored == Some(true)) {
        if best.iter().any(|miner| miner.miner_uid == row.miner_uid) {
            leads.entry(row.lead_hours.unwrap()).or_default().extend(row.skill);
        }
    }
    leads.into_iter().map(|(lead, skills)| (lead.into(), mean(&skills))).collect()
}

/// The second. The sample lies within one month; of rows that compete for a place the greatest run has it.
fn improved() -> Vec<(f64, f64)> {
    let mut miners: BTreeMap<i32, Vec<(f64, f64)>> = BTreeMap::new();
    let mut placed: BTreeMap<_, ForecastStat> = BTreeMap::new();
    for row in rollups::<ForecastStat>() {
        let key = (row.miner_uid, row.forecast_run_id.clone());
        let known = placed.entry(key).or_insert_with(|| row.clone());
        if known.run_id < row.run_id {
            *known = row;
        }
    }
    for row in placed.into_values() {
        if let (Some(time), Some(score)) = (row.forecast_init_time, row.era5_combined_score) {
            miners.entry(row.miner_uid.unwrap()).or_default().push((time.0 as f64 / 86_400e6, score));
        }
    }
    let slope = |points: &[(f64, f64)]| {
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let (mx, my) = (mean(&x), mean(&y));
        let cov: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
        cov / x.iter().map(|x| (x - mx) * (x - mx)).sum::<f64>()
    };
    let mut slopes: Vec<_> = miners.iter().filter(|(_, p)| p.len() > 1).map(|(uid, p)| (f64::from(*uid), slope(p))).collect();
    slopes.sort_by(|a, b| b.1.total_cmp(&a.1));
    slopes.truncate(5);
    slopes
}

fn same(question: &str, engine: usize, found: &Json, expected: &[(f64, f64)]) {
    let found: Vec<(f64, f64)> =
        found.as_array().unwrap().iter().map(|row| (row[0].as_f64().unwrap(), row[1].as_f64().unwrap())).collect();
    let close = |a: &(f64, f64), b: &(f64, f64)| a.0 == b.0 && (a.1 - b.1).abs() <= 1e-9 * b.1.abs().max(1e-3);
    let equal = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| close(a, b));
    assert!(equal, "{question}, example {engine}: {found:?}, recount has {expected:?}");
}

#[test]
fn the_examples_answer_as_recount_does() {
    let (folder, _dest) = archived_sample();
    let examples = blocks(&read(PAGE), "python");
    assert_eq!(examples.len(), 3, "DuckDB, polars, pandas");
    let (decay, improved) = (decay(), improved());
    let mut costs: Option<Vec<(String, f64)>> = None;
    for (engine, example) in examples.iter().enumerate() {
        let answers = answer(&format!("{example}\n{PRINT}"), folder.path(), &[]);
        same("decay", engine, &answers["decay"], &decay);
        same("improved", engine, &answers["improved"], &improved);
        let rows = answers["costs"].as_array().unwrap().iter();
        let found: Vec<_> = rows.map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_f64().unwrap())).collect();
        let known = costs.get_or_insert_with(|| found.clone());
        assert!(found.len() > 5 && known.iter().zip(&found).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9), "{found:?}");
    }
}

#[test]
fn the_page_has_the_dictionary_of_the_code() {
    let page = read(PAGE);
    let start = page.find(MARKS[0]).expect("the mark before the dictionary") + MARKS[0].len();
    let end = page.find(MARKS[1]).expect("the mark after it");
    let (found, expected) = (&page[start..end], dictionary());
    if found != expected {
        let path = std::env::temp_dir().join("recount-dictionary.md");
        std::fs::write(&path, &expected).unwrap();
        panic!("the dictionary in {PAGE} is not that of src/archive/docs.rs; what it should be is in {}", path.display());
    }
}

/// The same for programs. `RECOUNT_WRITE_DOCS=1` writes them anew.
#[test]
fn the_dictionaries_for_programs_are_those_of_the_code() {
    let entries = entries();
    let line = |fields: [&str; 7]| fields.map(|field| format!("\"{}\"", field.replace('"', "\"\""))).join(",") + "\n";
    let mut csv = line(["table", "column", "type", "nullable", "unit", "meaning", "rule"]);
    for entry in &entries {
        let nullable = if entry.nullable { "true" } else { "false" };
        csv += &line([entry.table, &entry.column, entry.kind, nullable, entry.unit, entry.meaning, entry.rule]);
    }
    let json = serde_json::to_string_pretty(&entries).unwrap() + "\n";
    for (name, expected) in [("dictionary.csv", csv), ("dictionary.json", json)] {
        let path = crate::support::repository::root().join("docs").join(name);
        if std::env::var_os("RECOUNT_WRITE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap_or_default() == expected, "docs/{name} is not that of src/archive/docs.rs");
    }
}
