//! Raw rows as evidence: batches in the schemas of the contracts, errors sanitized as any source sanitizes them.

use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use serde_json::Value as Json;

use crate::model::evidence::{COMPONENTS, InputTable, RESPONSES, RunEvidence, SCORES, STEPS};
use crate::model::sanitize::{SanitizedError, error_of};
use crate::model::time::Micros;

use super::rows::{RunRows, Symbol, Vocabulary};

/// The evidence that a source would hand over if these rows were in its tables.
pub fn evidence(rows: &RunRows, vocabulary: &Vocabulary) -> RunEvidence {
    RunEvidence {
        run: rows.run.clone(),
        responses: responses(rows, vocabulary),
        scores: scores(rows, vocabulary),
        components: components(rows, vocabulary),
        steps: steps(rows, vocabulary),
        legacy: Vec::new(),
    }
}

fn responses(rows: &RunRows, vocabulary: &Vocabulary) -> RecordBatch {
    let run = rows.run.id.0;
    let rows = &rows.responses;
    let errors = rows.iter().map(|row| error_of(&Json::from(row.error_message.as_deref()?))).collect();
    let [kind, message] = error_columns(errors);
    batch(
        &RESPONSES,
        vec![
            ids(rows.iter().map(|row| row.id)),
            ints(rows.iter().map(|_| Some(run))),
            ints(rows.iter().map(|row| Some(row.miner_uid))),
            symbols(vocabulary, rows.iter().map(|row| Some(row.miner_hotkey))),
            times(rows.iter().map(|row| Some(row.response_time))),
            Arc::new(rows.iter().map(|row| row.verification_passed).collect::<BooleanArray>()),
            texts(rows.iter().map(|row| Some(row.status))),
            kind,
            message,
            times(rows.iter().map(|row| row.inference_started_at)),
            times(rows.iter().map(|row| row.inference_completed_at)),
        ],
    )
}

fn scores(rows: &RunRows, vocabulary: &Vocabulary) -> RecordBatch {
    let run = rows.run.id.0;
    let rows = &rows.scores;
    batch(
        &SCORES,
        vec![
            ids(rows.iter().map(|row| row.id)),
            ids(rows.iter().map(|row| row.response_id)),
            ints(rows.iter().map(|_| Some(run))),
            ints(rows.iter().map(|row| Some(row.miner_uid))),
            symbols(vocabulary, rows.iter().map(|row| Some(row.miner_hotkey))),
            symbols(vocabulary, rows.iter().map(|row| Some(row.score_type))),
            times(rows.iter().map(|row| Some(row.calculation_time))),
            floats(rows.iter().map(|row| row.score)),
            ints(rows.iter().map(|row| row.lead_hours)),
            symbols(vocabulary, rows.iter().map(|row| row.variable_level)),
        ],
    )
}

fn components(rows: &RunRows, vocabulary: &Vocabulary) -> RecordBatch {
    let run = rows.run.id.0;
    let rows = &rows.components;
    batch(
        &COMPONENTS,
        vec![
            ids(rows.iter().map(|row| row.id)),
            ids(rows.iter().map(|row| row.response_id)),
            ints(rows.iter().map(|_| Some(run))),
            ints(rows.iter().map(|row| Some(row.miner_uid))),
            symbols(vocabulary, rows.iter().map(|row| Some(row.score_type))),
            ints(rows.iter().map(|row| Some(row.lead_hours))),
            symbols(vocabulary, rows.iter().map(|row| Some(row.variable_name))),
            ints(rows.iter().map(|row| row.pressure_level)),
            floats(rows.iter().map(|row| row.rmse)),
            floats(rows.iter().map(|row| row.acc)),
            floats(rows.iter().map(|row| row.skill_score)),
            times(rows.iter().map(|row| Some(row.calculated_at))),
        ],
    )
}

fn steps(rows: &RunRows, vocabulary: &Vocabulary) -> RecordBatch {
    let run = rows.run.id.0;
    let rows = &rows.steps;
    let [kind, message] = error_columns(rows.iter().map(|row| error_of(row.error_json.as_ref()?)).collect());
    batch(
        &STEPS,
        vec![
            ids(rows.iter().map(|row| row.id)),
            ints(rows.iter().map(|_| Some(run))),
            ints(rows.iter().map(|row| Some(row.miner_uid))),
            symbols(vocabulary, rows.iter().map(|row| Some(row.miner_hotkey))),
            texts(rows.iter().map(|row| Some(row.step_name))),
            texts(rows.iter().map(|row| row.substep)),
            ints(rows.iter().map(|row| row.lead_hours)),
            texts(rows.iter().map(|row| Some(row.status))),
            times(rows.iter().map(|row| row.started_at)),
            times(rows.iter().map(|row| row.completed_at)),
            ints(rows.iter().map(|row| Some(row.retry_count))),
            times(rows.iter().map(|row| row.next_retry_time)),
            ints(rows.iter().map(|row| row.latency_ms)),
            kind,
            message,
        ],
    )
}

fn batch(table: &InputTable, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(table.schema(), columns).expect("the columns above are those of the contract")
}

fn ids(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn times(values: impl Iterator<Item = Option<Micros>>) -> ArrayRef {
    let values: TimestampMicrosecondArray = values.map(|time| time.map(|t| t.0)).collect();
    Arc::new(values.with_timezone("UTC"))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    values.for_each(|text| builder.append_option(text));
    Arc::new(builder.finish())
}

/// A dictionary of the texts that occur, in order of their first row.
fn symbols(vocabulary: &Vocabulary, values: impl Iterator<Item = Option<Symbol>>) -> ArrayRef {
    let mut keys = vec![-1_i32; vocabulary.len()];
    let mut seen = Vec::new();
    let keys: Int32Array = values
        .map(|symbol| {
            let symbol = symbol?;
            let key = &mut keys[symbol.0 as usize];
            if *key < 0 {
                *key = seen.len() as i32;
                seen.push(vocabulary.text(symbol));
            }
            Some(*key)
        })
        .collect();
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(seen))))
}

/// Type and message of errors (E2).
fn error_columns(errors: Vec<Option<SanitizedError>>) -> [ArrayRef; 2] {
    let kinds: StringArray = errors.iter().map(|error| error.as_ref().map(|e| e.kind.as_str())).collect();
    let messages: StringArray = errors.iter().map(|error| error.as_ref()?.message.as_deref()).collect();
    [Arc::new(kinds), Arc::new(messages)]
}
