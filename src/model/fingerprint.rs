//! The fingerprint of a unit's evidence, by run and miner, from the raw rows as they were read.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch};

use super::correction::{EvidenceOf, Fingerprint};
use super::evidence::RunEvidence;
use super::time::Micros;

/// One fingerprint for each run and miner that has any row.
pub fn of_runs(runs: &[RunEvidence]) -> BTreeMap<EvidenceOf, Fingerprint> {
    let mut prints = BTreeMap::new();
    runs.iter().for_each(|run| of_run(run, &mut prints));
    prints
}

fn of_run(evidence: &RunEvidence, prints: &mut BTreeMap<EvidenceOf, Fingerprint>) {
    let mut each = |batch: &RecordBatch, feed: &dyn Fn(&mut Fingerprint, usize)| {
        let miners = miners(batch);
        for row in 0..batch.num_rows() {
            let evidence_of = EvidenceOf { run: evidence.run.id.0, miner: miners.value(row) };
            feed(prints.entry(evidence_of).or_default(), row);
        }
    };
    each(&evidence.responses, &|print, _| print.responses += 1);
    let calculated = times(&evidence.scores, "calculation_time");
    each(&evidence.scores, &|print, row| {
        print.scores += 1;
        print.newest_score = print.newest_score.max(time(calculated, row));
    });
    let (started, completed) = (times(&evidence.steps, "started_at"), times(&evidence.steps, "completed_at"));
    each(&evidence.steps, &|print, row| {
        print.steps += 1;
        print.newest_step = print.newest_step.max(time(completed, row).or(time(started, row)));
    });
}

fn miners(batch: &RecordBatch) -> &PrimitiveArray<Int32Type> {
    batch.column_by_name("miner_uid").expect("a column of the contract").as_primitive()
}

fn times<'b>(batch: &'b RecordBatch, name: &str) -> &'b PrimitiveArray<TimestampMicrosecondType> {
    batch.column_by_name(name).expect("a column of the contract").as_primitive()
}

fn time(times: &PrimitiveArray<TimestampMicrosecondType>, row: usize) -> Option<Micros> {
    times.is_valid(row).then(|| Micros(times.value(row)))
}
