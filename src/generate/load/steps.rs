//! Steps for a database that holds them to one row per key: what would have been several rows there is one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::rows::StepRow;

/// Merges rows of equal key, NULL equal to NULL, as the database does (I7): the latest wins, takes over the earliest start
/// and the greatest retry count.
pub fn one_per_key(steps: Vec<StepRow>) -> Vec<StepRow> {
    let mut places = HashMap::new();
    let mut merged: Vec<StepRow> = Vec::with_capacity(steps.len());
    for step in steps {
        match places.entry((step.miner_uid, step.step_name, step.substep, step.lead_hours)) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(step);
            }
            Entry::Occupied(entry) => merge(&mut merged[*entry.get()], step),
        }
    }
    merged
}

fn merge(kept: &mut StepRow, other: StepRow) {
    let order = |step: &StepRow| (step.completed_at.or(step.started_at), step.id);
    let started = [kept.started_at, other.started_at].into_iter().flatten().min();
    let retries = kept.retry_count.max(other.retry_count);
    if order(&other) > order(kept) {
        *kept = other;
    }
    kept.started_at = started;
    kept.retry_count = retries;
}

#[cfg(test)]
mod tests {
    use crate::model::time::Micros;

    use super::super::super::rows::Symbol;
    use super::*;

    fn step(id: i64, substep: Option<&'static str>, started: Option<i64>, completed: Option<i64>, retry_count: i32) -> StepRow {
        StepRow {
            id,
            miner_uid: 1,
            miner_hotkey: Symbol(0),
            step_name: "query",
            substep,
            lead_hours: None,
            status: if completed.is_some() { "succeeded" } else { "in_progress" },
            started_at: started.map(Micros),
            completed_at: completed.map(Micros),
            retry_count,
            next_retry_time: None,
            latency_ms: None,
            error_json: None,
        }
    }

    #[test]
    fn the_latest_row_wins_with_the_first_start_and_the_most_retries() {
        let pair = vec![step(1, None, Some(10), None, 2), step(2, Some("a"), None, None, 0), step(3, None, None, Some(20), 1)];
        let merged = one_per_key(pair);
        assert_eq!(merged, [step(3, None, Some(10), Some(20), 2), step(2, Some("a"), None, None, 0)]);
    }

    #[test]
    fn a_row_without_a_time_is_the_earliest() {
        let merged = one_per_key(vec![step(5, None, Some(1), None, 0), step(6, None, None, None, 0)]);
        assert_eq!(merged, [step(5, None, Some(1), None, 0)]);
    }
}
