//! I7: the steps of a run, merged, grouped by miner, failed ones marked where superseded.

#[cfg(test)]
mod rules;

use std::cmp::Reverse;

use arrow_array::{Int32Array, TimestampMicrosecondArray};

use crate::model::evidence::{RunEvidence, STEPS};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::sanitize::sanitize;
use crate::model::time::Micros;

use super::roster::{ErrorText, Errors, Roster};
use super::views::{Codes, Columns, NO_CODE, int_at, time_at};
use super::{Rules, Scratch};

const DAY: i64 = 24 * 3600 * 1_000_000;

/// A step of a miner, merged with its duplicates. A run can have millions, so a step is little more than the number of its row.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    columns: &'a StepColumns<'a>,
    /// The latest of the rows that were merged.
    row: u32,
    /// The one of all that were merged which started first; any, where none has a start.
    first: u32,
    /// The greatest of all rows that were merged.
    pub retry_count: i32,
    superseded: bool,
}

/// Miner, name, substep and lead in codes: equal for duplicates.
type Key = (i32, i32, i32, i64);

impl<'a> Step<'a> {
    fn of(columns: &'a StepColumns<'a>, row: u32) -> Self {
        let retry_count = int_at(columns.retry_count, row as usize).unwrap_or(0);
        Step { columns, row, first: row, retry_count, superseded: false }
    }

    fn at(&self) -> usize {
        self.row as usize
    }

    pub fn id(&self) -> i64 {
        self.columns.id[self.at()]
    }

    pub fn miner(&self) -> i32 {
        self.columns.miner[self.at()]
    }

    pub fn hotkey(&self) -> &'a str {
        self.columns.hotkey.get(self.at()).unwrap_or_default()
    }

    pub fn name(&self) -> &'a str {
        self.columns.name.get(self.at()).unwrap_or_default()
    }

    pub fn substep(&self) -> Option<&'a str> {
        self.columns.substep.get(self.at())
    }

    pub fn lead(&self) -> Option<i32> {
        int_at(self.columns.lead, self.at())
    }

    pub fn status(&self) -> &'a str {
        self.columns.status.get(self.at()).unwrap_or_default()
    }

    /// The earliest of all rows that were merged.
    pub fn started(&self) -> Option<Micros> {
        time_at(self.columns.started, self.first as usize)
    }

    pub fn completed(&self) -> Option<Micros> {
        time_at(self.columns.completed, self.at())
    }

    pub fn next_retry(&self) -> Option<Micros> {
        time_at(self.columns.next_retry, self.at())
    }

    pub fn latency_ms(&self) -> Option<i32> {
        int_at(self.columns.latency_ms, self.at())
    }

    pub fn error(&self) -> Option<ErrorText<'a>> {
        self.columns.error.get(self.at())
    }

    /// I7: `coalesce(completed_at, started_at)`.
    pub fn time(&self) -> Option<Micros> {
        self.completed().or(self.started())
    }

    /// The order of "latest": time (NULL lowest), then id.
    pub fn order(&self) -> (Option<Micros>, i64) {
        (self.time(), self.id())
    }

    /// I7: failed and not superseded.
    pub fn failed(&self) -> bool {
        !self.superseded && self.status() == "failed"
    }

    fn in_progress_since(&self) -> Option<Micros> {
        self.started().filter(|_| self.status() == "in_progress")
    }

    pub fn is(&self, name: &str, substep: &str) -> bool {
        self.name() == name && self.substep() == Some(substep)
    }

    pub fn finding(&self, run: RunId, code: Code, detail: &str) -> Finding {
        Finding {
            code,
            run: Some(run),
            miner: Some(MinerUid(self.miner())),
            lead: self.lead().map(LeadHours),
            table: STEPS.name,
            row_id: Some(self.id()),
            detail: sanitize(detail),
        }
    }
}

/// The steps of a run that belong to miners, ascending by miner.
pub struct Steps<'a>(Vec<Step<'a>>);

/// A row's [`Key`] as one number of the same order, and the row.
pub type Placed = (u128, u32);

/// A longer list is not left to the next run.
const LEFT_MAX: usize = 1 << 18;

impl<'a> Steps<'a> {
    /// I7: the steps of miners, merged, superseded ones marked; what is set aside becomes a finding.
    pub fn new(
        columns: &'a StepColumns<'a>,
        run: RunId,
        rules: &Rules,
        findings: &mut Vec<Finding>,
        scratch: &mut Scratch,
    ) -> Self {
        let mut order = std::mem::take(&mut scratch.step_order);
        columns.in_order(rules, &mut order);
        let mut steps = merge(columns, &order, run, findings);
        scratch.step_order = if order.len() > LEFT_MAX { Vec::new() } else { order };
        mark_superseded(&mut steps);
        Steps(steps)
    }

    pub fn all(&self) -> &[Step<'a>] {
        &self.0
    }

    pub fn of(&self, miner: i32) -> &[Step<'a>] {
        let start = self.0.partition_point(|step| step.miner() < miner);
        let end = self.0.partition_point(|step| step.miner() <= miner);
        &self.0[start..end]
    }

    /// Until when, at least, time alone adds no finding of these steps.
    pub fn fresh_until(&self, rules: &Rules) -> Option<Micros> {
        let begun = self.0.iter().filter_map(Step::in_progress_since).filter(|started| *started >= stale_before(rules));
        begun.min().map(|started| Micros(started.0.saturating_add(DAY)))
    }

    /// Section 8: `stale_in_progress`, and `hotkey_changed` of steps.
    pub fn check(&self, run: RunId, roster: &Roster<'_>, rules: &Rules, findings: &mut Vec<Finding>) {
        let stale_before = stale_before(rules);
        for step in &self.0 {
            if step.in_progress_since().is_some_and(|started| started < stale_before) {
                findings.push(step.finding(run, Code::StaleInProgress, step.name()));
            }
            let response = roster.index(step.miner()).and_then(|index| roster.responses[index]);
            if response.is_some_and(|response| response.hotkey != step.hotkey()) {
                findings.push(step.finding(run, Code::HotkeyChanged, ""));
            }
        }
    }
}

/// Section 8: steps that began before this and are still in progress are stale.
fn stale_before(rules: &Rules) -> Micros {
    Micros(rules.snapshot_time.0.saturating_sub(DAY))
}

/// The columns of a run's step rows.
pub struct StepColumns<'a> {
    id: &'a [i64],
    miner: &'a [i32],
    hotkey: Codes<'a>,
    name: Codes<'a>,
    substep: Codes<'a>,
    lead: &'a Int32Array,
    status: Codes<'a>,
    started: &'a TimestampMicrosecondArray,
    completed: &'a TimestampMicrosecondArray,
    retry_count: &'a Int32Array,
    next_retry: &'a TimestampMicrosecondArray,
    latency_ms: &'a Int32Array,
    error: Errors<'a>,
}

impl<'a> StepColumns<'a> {
    pub fn new(evidence: &'a RunEvidence) -> Self {
        let columns = Columns(&evidence.steps);
        StepColumns {
            id: columns.id("id").values(),
            miner: columns.int32("miner_uid").values(),
            hotkey: columns.codes("miner_hotkey"),
            name: columns.codes("step_name"),
            substep: columns.codes("substep"),
            lead: columns.int32("lead_hours"),
            status: columns.codes("status"),
            started: columns.time("started_at"),
            completed: columns.time("completed_at"),
            retry_count: columns.int32("retry_count"),
            next_retry: columns.time("next_retry_time"),
            latency_ms: columns.int32("latency_ms"),
            error: Errors::of(&columns, "error_json"),
        }
    }

    /// The rows that describe a miner, not the run; duplicates side by side, the latest in front.
    fn in_order(&self, rules: &Rules, order: &mut Vec<Placed>) {
        let is_of_run = |name: Option<&str>| rules.scoring.run_level_steps.iter().any(|step| Some(step.as_str()) == name);
        let of_run: Vec<bool> = self.name.values.iter().map(is_of_run).collect();
        let of_miner = |&row: &u32| {
            let name = self.name.code(row as usize);
            self.hotkey.get(row as usize) != Some("coordinator") && !(name != NO_CODE && of_run[name as usize])
        };
        let placed = |row: u32| (packed(self.key(row as usize)), row);
        order.clear();
        order.extend((0..self.id.len() as u32).filter(of_miner).map(placed));
        let latest = |row: u32| Reverse(self.order(row as usize));
        order.sort_unstable_by(|(a, row), (b, other)| a.cmp(b).then_with(|| latest(*row).cmp(&latest(*other))));
    }

    fn key(&self, row: usize) -> Key {
        (self.miner[row], self.name.code(row), self.substep.code(row), int_at(self.lead, row).map_or(i64::MIN, i64::from))
    }

    /// [`Step::order`]
    fn order(&self, row: usize) -> (Option<Micros>, i64) {
        (time_at(self.completed, row).or(time_at(self.started, row)), self.id[row])
    }
}

/// 32 bits for the miner, twice 31 for the codes, 33 for the lead; each counted from its least value.
fn packed((miner, name, substep, lead): Key) -> u128 {
    let miner = i64::from(miner) - i64::from(i32::MIN);
    let lead = if lead == i64::MIN { 0 } else { lead - i64::from(i32::MIN) + 1 };
    (miner as u128) << 95 | ((name - NO_CODE) as u128) << 64 | ((substep - NO_CODE) as u128) << 33 | lead as u128
}

/// I7: one step for each key: the latest, with the earliest start and the greatest retry count of all.
fn merge<'a>(columns: &'a StepColumns<'a>, order: &[Placed], run: RunId, findings: &mut Vec<Finding>) -> Vec<Step<'a>> {
    // Grown as it fills, it would take twice the room of millions of steps.
    let mut merged: Vec<Step<'a>> = Vec::with_capacity(order.len());
    let mut before = None;
    for &(key, row) in order {
        let step = Step::of(columns, row);
        match merged.last_mut() {
            Some(winner) if before == Some(key) => {
                if step.started().is_some_and(|started| winner.started().is_none_or(|earliest| started < earliest)) {
                    winner.first = row;
                }
                winner.retry_count = winner.retry_count.max(step.retry_count);
                findings.push(step.finding(run, Code::DuplicateStep, step.name()));
            }
            _ => merged.push(step),
        }
        before = Some(key);
    }
    merged
}

/// I7: a failed step is superseded where a later one of the same miner, name and lead (NULL as 0) has succeeded.
fn mark_superseded(steps: &mut [Step<'_>]) {
    let what = |step: &Step<'_>| (step.columns.name.code(step.at()), step.lead().unwrap_or(0));
    for of_miner in steps.chunk_by_mut(|a, b| a.miner() == b.miner()) {
        for index in 0..of_miner.len() {
            let failed = of_miner[index];
            if failed.status() == "failed" {
                let (same, since) = (what(&failed), failed.order());
                let supersedes = |step: &Step<'_>| what(step) == same && step.status() == "succeeded" && step.order() > since;
                of_miner[index].superseded = of_miner.iter().any(supersedes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        let code = || prop_oneof![NO_CODE..2, Just(i32::MAX - 1)];
        let number = || prop_oneof![-2..2, Just(i32::MIN), Just(i32::MAX)];
        (number(), code(), code(), prop_oneof![number().prop_map(i64::from), Just(i64::MIN)])
    }

    #[test]
    fn no_lead_is_before_the_least_lead() {
        assert!(packed((0, 0, 0, i64::MIN)) < packed((0, 0, 0, i32::MIN.into())));
    }

    proptest! {
        #[test]
        fn packed_keys_have_the_order_of_the_keys(a in key(), b in key()) {
            prop_assert_eq!(packed(a).cmp(&packed(b)), a.cmp(&b));
        }
    }
}
