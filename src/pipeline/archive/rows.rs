//! Results as batches: what is written to an archive, and what `verify` holds against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value as Json, json};

use crate::archive::Day;
use crate::archive::Manifest;
use crate::archive::tables::{LEAD_SCORES, PLACED, RUNS_TABLE, SCORES_TABLE, SUBNET, Table, differences_batch, findings_batch};
use crate::model::columns::Type;
use crate::model::evidence::Run;
use crate::model::finding::Finding;
use crate::model::ids::RunId;
use crate::model::outcome::{Outcome, TableTally};
use crate::model::rollups::{DifferenceRow, FindingRow, ForecastStat, LeadScore, NightRow, SubnetStat};
use crate::model::rows::{array_of, batch_of};
use crate::model::value::{Value, canonical_json};
use crate::rollup::{PlacedStat, UnitFold, metric_and_variable};
use crate::source::small;

/// What names a score.
const SCORE_TYPE: &str = "score_type";

/// The lead scores of one run.
pub fn lead_scores(fold: &UnitFold, run: RunId) -> RecordBatch {
    let rows: Vec<LeadScore> = fold.lead_scores.iter().filter(|row| row.run_id == Some(run.0)).cloned().collect();
    let of_run = fold.stats.iter().filter(|row| row.stat.run_id == Some(run.0));
    let stats: BTreeMap<Option<i32>, &PlacedStat> = of_run.map(|row| (row.stat.miner_uid, row)).collect();
    let of_row: Vec<Option<&PlacedStat>> = rows.iter().map(|row| stats.get(&row.miner_uid).copied()).collect();
    let times = of_row.iter().map(|stat| stat.and_then(|stat| stat.stat.forecast_init_time).map_or(Value::Null, Value::Time));
    let hotkeys = of_row.iter().map(|stat| stat.and_then(|stat| stat.stat.miner_hotkey.as_deref()).map_or(Value::Null, text));
    let placed = of_row.iter().map(|stat| stat.map_or(Value::Null, |stat| Value::Bool(stat.placed)));
    let keys = vec![array_of(Type::Time, times), array_of(Type::Text, hotkeys), array_of(Type::Bool, placed)];
    with_keys(&LEAD_SCORES, &batch_of(&rows), keys)
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

/// A batch with the columns that its table has beside those of the content.
fn with_keys(table: &Table, batch: &RecordBatch, keys: Vec<ArrayRef>) -> RecordBatch {
    let fields = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    let beside = table.keys.iter().zip(&keys).map(|((name, _), key)| Field::new(*name, key.data_type().clone(), true));
    let schema = Schema::new(fields.into_iter().chain(beside).collect::<Vec<_>>());
    let columns = batch.columns().iter().cloned().chain(keys).collect();
    RecordBatch::try_new(Arc::new(schema), columns).expect("invariant: columns of one length")
}

/// Scores with what their names say.
pub fn scores(batch: &RecordBatch) -> RecordBatch {
    let names = batch.column_by_name(SCORE_TYPE).expect("invariant: a column of the contract").as_dictionary::<Int32Type>();
    with_keys(&SCORES_TABLE, batch, named(names))
}

/// Metric and variable of each row. Names repeat, so each is read once.
fn named(names: &DictionaryArray<Int32Type>) -> Vec<ArrayRef> {
    let texts = names.values().as_string::<i32>();
    let parts: Vec<_> = texts.iter().map(|name| metric_and_variable(name.unwrap_or_default())).collect();
    let metrics: Vec<_> = parts.iter().map(|(metric, _)| *metric).collect();
    let variables: Vec<_> = parts.iter().map(|(_, variable)| *variable).collect();
    vec![recoded(names, &metrics), recoded(names, &variables)]
}

/// Another text for each of a column's.
fn recoded(column: &DictionaryArray<Int32Type>, texts: &[Option<&str>]) -> ArrayRef {
    let distinct: BTreeSet<&str> = texts.iter().copied().flatten().collect();
    let codes: BTreeMap<&str, i32> = distinct.iter().copied().zip(0..).collect();
    let codes: Vec<Option<i32>> = texts.iter().map(|text| codes.get((*text)?).copied()).collect();
    let keys: Int32Array = column.keys().iter().map(|key| codes[usize::try_from(key?).ok()?]).collect();
    let texts = Arc::new(StringArray::from_iter_values(distinct));
    Arc::new(DictionaryArray::try_new(keys, texts).expect("invariant: a code is that of a text"))
}

/// The subnet's rows, with what identifies the run of each.
pub fn subnet(rows: &[SubnetStat], runs: &[Run]) -> RecordBatch {
    let runs: BTreeMap<i32, &Run> = runs.iter().map(|run| (run.id.0, run)).collect();
    let of_row: Vec<Option<&&Run>> = rows.iter().map(|row| row.run_id.and_then(|run| runs.get(&run))).collect();
    let ids = of_row.iter().map(|run| run.map_or(Value::Null, |run| text(&run.forecast_run_id)));
    let times = of_row.iter().map(|run| run.map_or(Value::Null, |run| Value::Time(run.gfs_init)));
    with_keys(&SUBNET, &batch_of(rows), vec![array_of(Type::Text, ids), array_of(Type::Time, times)])
}

/// Runs, with whether the database no longer has them.
pub fn runs(runs: &[Run], is_gone: impl Fn(RunId) -> bool) -> RecordBatch {
    let gone: BooleanArray = runs.iter().map(|run| Some(is_gone(run.id))).collect();
    with_keys(&RUNS_TABLE, &small::runs_batch(runs), vec![Arc::new(gone)])
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

/// The result of an archiving, from its manifest and the outcome of its pass.
pub fn night(manifest: &Manifest, outcome: &Outcome) -> RecordBatch {
    let by_table = |of: fn(&TableTally) -> Json| -> Json {
        outcome.tables.iter().map(|(table, tally)| ((*table).to_owned(), of(tally))).collect::<serde_json::Map<_, _>>().into()
    };
    let rows = |tally: &TableTally| {
        let rows = tally.rows;
        json!({"match": rows.matching, "drift": rows.drift, "unproven": rows.unproven, "habit": rows.habit, "missing": rows.missing, "extra": rows.extra})
    };
    let cells = |tally: &TableTally| {
        let cells = tally.cells;
        json!({"equal": cells.equal, "within": cells.within, "drift": cells.drift, "unproven": cells.unproven, "habit": cells.habit})
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

/// The columns that [`is_named`] looks at.
pub fn named_schema() -> SchemaRef {
    let names = [SCORE_TYPE].into_iter().chain(SCORES_TABLE.keys.iter().map(|(name, _)| *name));
    let coded = |name| Field::new_dictionary(name, DataType::Int32, DataType::Utf8, true);
    Arc::new(Schema::new(names.map(coded).collect::<Vec<_>>()))
}

/// Whether what stands beside the names of scores is what they say.
pub fn is_named(batch: &RecordBatch) -> bool {
    let coded = |at: usize| batch.column(at).as_dictionary::<Int32Type>();
    let same = |(expected, found): (&ArrayRef, &DictionaryArray<Int32Type>)| {
        let expected = expected.as_dictionary::<Int32Type>();
        (0..batch.num_rows()).all(|row| text_at(expected, row) == text_at(found, row))
    };
    named(coded(0)).iter().zip([coded(1), coded(2)]).all(same)
}

fn text_at(column: &DictionaryArray<Int32Type>, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.values().as_string::<i32>().value(column.keys().value(row) as usize))
}
