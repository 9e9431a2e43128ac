//! Results as batches: what is written to an archive, and what `verify` holds against it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use serde_json::{Value as Json, json};

use crate::archive::Day;
use crate::archive::Manifest;
use crate::archive::tables::{PLACED, differences_batch, findings_batch};
use crate::model::evidence::Run;
use crate::model::finding::Finding;
use crate::model::ids::RunId;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::rollups::{DifferenceRow, FindingRow, ForecastStat, LeadScore, NightRow};
use crate::model::rows::batch_of;
use crate::model::value::canonical_json;
use crate::rollup::UnitFold;

/// The lead scores of one run.
pub fn lead_scores(fold: &UnitFold, run: RunId) -> RecordBatch {
    let rows: Vec<LeadScore> = fold.lead_scores.iter().filter(|row| row.run_id == Some(run.0)).cloned().collect();
    batch_of(&rows)
}

/// The rollup rows of one run, each with whether it has the place.
pub fn stats(fold: &UnitFold, run: RunId) -> RecordBatch {
    let of_run = || fold.stats.iter().filter(|row| row.stat.run_id == Some(run.0));
    let rows: Vec<ForecastStat> = of_run().map(|row| row.stat.clone()).collect();
    let placed: BooleanArray = of_run().map(|row| Some(row.placed)).collect();
    let batch = batch_of(&rows);
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(PLACED, DataType::Boolean, false));
    let columns = batch.columns().iter().cloned().chain([Arc::new(placed) as ArrayRef]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("invariant: a column of the same length")
}

/// Findings by the day of their run, and those of no run, or of one that is gone.
pub fn findings(findings: &[Finding], runs: &[Run]) -> (BTreeMap<Day, RecordBatch>, RecordBatch) {
    let known: BTreeMap<RunId, Day> = runs.iter().map(|run| (run.id, Day::of(run.gfs_init))).collect();
    let mut days: BTreeMap<Day, Vec<FindingRow>> = BTreeMap::new();
    let mut loose: Vec<FindingRow> = Vec::new();
    for finding in findings {
        match finding.run.and_then(|run| known.get(&run)) {
            Some(day) => days.entry(*day).or_default().push(finding.into()),
            None => loose.push(finding.into()),
        }
    }
    (days.into_iter().map(|(day, rows)| (day, findings_batch(&rows))).collect(), findings_batch(&loose))
}

/// What differed from what was stored.
pub fn differences(outcome: &Outcome) -> RecordBatch {
    differences_batch(&outcome.differences.iter().map(DifferenceRow::from).collect::<Vec<_>>())
}

/// What an archiving came to, by its manifest and the outcome of its pass.
pub fn night(manifest: &Manifest, outcome: &Outcome) -> RecordBatch {
    let by_table = |of: fn(&TableTally) -> Json| -> Json {
        outcome.tables.iter().map(|(table, tally)| ((*table).to_owned(), of(tally))).collect::<serde_json::Map<_, _>>().into()
    };
    let rows = |tally: &TableTally| {
        let rows = tally.rows;
        json!({"match": rows.matching, "drift": rows.drift, "unproven": rows.unproven, "missing": rows.missing, "extra": rows.extra})
    };
    let cells = |tally: &TableTally| {
        let cells = tally.cells;
        json!({"equal": cells.equal, "within": cells.within, "drift": cells.drift, "unproven": cells.unproven})
    };
    let findings: serde_json::Map<_, _> =
        outcome.findings.iter().map(|(code, count)| (code.name().to_owned(), (*count).into())).collect();
    let settings = serde_json::to_value(&manifest.scoring).expect("plain data");
    let row = NightRow {
        digest: Some(outcome.digest.clone()),
        recount_version: Some(manifest.tool.trim_start_matches("recount ").to_owned()),
        settings_blake3: Some(blake3::hash(canonical_json(&settings).as_bytes()).to_hex().to_string()),
        runs: i32::try_from(manifest.runs().len()).ok(),
        rows: Some(by_table(rows)),
        cells: Some(by_table(cells)),
        findings: Some(findings.into()),
    };
    batch_of(&[row])
}
