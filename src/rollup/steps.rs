//! I7: the steps of a run, merged, grouped by miner, failed ones marked where superseded.

use std::cmp::Reverse;

use crate::model::evidence::{RunEvidence, STEPS};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::sanitize::sanitize;
use crate::model::time::Micros;

use super::Rules;
use super::roster::{ErrorText, Errors, Roster};
use super::views::{Columns, NO_CODE, int_at, time_at};

const DAY: i64 = 24 * 3600 * 1_000_000;

/// A step of a miner, merged with its duplicates.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub id: i64,
    pub miner: i32,
    pub hotkey: &'a str,
    pub name: &'a str,
    pub substep: Option<&'a str>,
    pub lead: Option<i32>,
    pub status: &'a str,
    /// The earliest of all rows that were merged.
    pub started: Option<Micros>,
    pub completed: Option<Micros>,
    /// The greatest of all rows that were merged.
    pub retry_count: i32,
    pub next_retry: Option<Micros>,
    pub latency_ms: Option<i32>,
    pub error: Option<ErrorText<'a>>,
    pub superseded: bool,
    /// Miner, name, substep and lead in codes: equal for duplicates.
    key: (i32, i32, i32, i64),
}

impl<'a> Step<'a> {
    /// When the step was last heard of.
    pub fn time(&self) -> Option<Micros> {
        self.completed.or(self.started)
    }

    /// The order of "latest": time (NULL lowest), then id.
    pub fn order(&self) -> (Option<Micros>, i64) {
        (self.time(), self.id)
    }

    /// Failed and not superseded.
    pub fn failed(&self) -> bool {
        self.status == "failed" && !self.superseded
    }

    fn in_progress_since(&self) -> Option<Micros> {
        self.started.filter(|_| self.status == "in_progress")
    }

    pub fn is(&self, name: &str, substep: &str) -> bool {
        self.name == name && self.substep == Some(substep)
    }

    pub fn finding(&self, run: RunId, code: Code, detail: &str) -> Finding {
        Finding {
            code,
            run: Some(run),
            miner: Some(MinerUid(self.miner)),
            lead: self.lead.map(LeadHours),
            table: STEPS.name,
            row_id: Some(self.id),
            detail: sanitize(detail),
        }
    }
}

/// The steps of a run that belong to miners, ascending by miner.
pub struct Steps<'a>(Vec<Step<'a>>);

impl<'a> Steps<'a> {
    pub fn new(evidence: &'a RunEvidence, rules: &Rules, findings: &mut Vec<Finding>) -> Self {
        let mut steps = merge(read(evidence, rules), evidence.run.id, findings);
        mark_superseded(&mut steps);
        Steps(steps)
    }

    pub fn all(&self) -> &[Step<'a>] {
        &self.0
    }

    pub fn of(&self, miner: i32) -> &[Step<'a>] {
        let start = self.0.partition_point(|step| step.miner < miner);
        let end = self.0.partition_point(|step| step.miner <= miner);
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
                findings.push(step.finding(run, Code::StaleInProgress, step.name));
            }
            let response = roster.index(step.miner).and_then(|index| roster.responses[index]);
            if response.is_some_and(|response| response.hotkey != step.hotkey) {
                findings.push(step.finding(run, Code::HotkeyChanged, ""));
            }
        }
    }
}

/// Section 8: steps that began before this and are still in progress are stale.
fn stale_before(rules: &Rules) -> Micros {
    Micros(rules.snapshot_time.0.saturating_sub(DAY))
}

/// The rows that describe a miner, not the run.
fn read<'a>(evidence: &'a RunEvidence, rules: &Rules) -> Vec<Step<'a>> {
    let columns = Columns(&evidence.steps);
    let (id, miner) = (columns.id("id").values(), columns.int32("miner_uid").values());
    let (hotkey, name) = (columns.codes("miner_hotkey"), columns.codes("step_name"));
    let (substep, status) = (columns.codes("substep"), columns.codes("status"));
    let (lead, retries, latency) = (columns.int32("lead_hours"), columns.int32("retry_count"), columns.int32("latency_ms"));
    let (started, completed) = (columns.time("started_at"), columns.time("completed_at"));
    let next_retry = columns.time("next_retry_time");
    let errors = Errors::of(&columns, "error_json");
    let of_run: Vec<bool> = name
        .values
        .iter()
        .map(|name| rules.scoring.run_level_steps.iter().any(|run_level| Some(run_level.as_str()) == name))
        .collect();
    let mut steps = Vec::with_capacity(id.len());
    for row in 0..id.len() {
        let name_code = name.code(row);
        let hotkey = hotkey.get(row).unwrap_or_default();
        if hotkey == "coordinator" || (name_code != NO_CODE && of_run[name_code as usize]) {
            continue;
        }
        let lead = int_at(lead, row);
        steps.push(Step {
            id: id[row],
            miner: miner[row],
            hotkey,
            name: name.get(row).unwrap_or_default(),
            substep: substep.get(row),
            lead,
            status: status.get(row).unwrap_or_default(),
            started: time_at(started, row),
            completed: time_at(completed, row),
            retry_count: int_at(retries, row).unwrap_or(0),
            next_retry: time_at(next_retry, row),
            latency_ms: int_at(latency, row),
            error: errors.get(row),
            superseded: false,
            key: (miner[row], name_code, substep.code(row), lead.map_or(i64::MIN, i64::from)),
        });
    }
    steps
}

/// One step for each key: the latest, with the earliest start and the greatest retry count of all.
fn merge<'a>(steps: Vec<Step<'a>>, run: RunId, findings: &mut Vec<Finding>) -> Vec<Step<'a>> {
    let mut order: Vec<u32> = (0..steps.len() as u32).collect();
    order.sort_unstable_by_key(|&place| {
        let step = &steps[place as usize];
        (step.key, Reverse(step.order()))
    });
    let mut merged: Vec<Step<'a>> = Vec::with_capacity(steps.len());
    for step in order.into_iter().map(|place| &steps[place as usize]) {
        match merged.last_mut() {
            Some(winner) if winner.key == step.key => {
                winner.started = [winner.started, step.started].into_iter().flatten().min();
                winner.retry_count = winner.retry_count.max(step.retry_count);
                findings.push(step.finding(run, Code::DuplicateStep, step.name));
            }
            _ => merged.push(*step),
        }
    }
    merged
}

/// A failed step is superseded where a later one of the same miner, name and lead (NULL as 0) has succeeded.
fn mark_superseded(steps: &mut [Step<'_>]) {
    for of_miner in steps.chunk_by_mut(|a, b| a.miner == b.miner) {
        for index in 0..of_miner.len() {
            let failed = of_miner[index];
            if failed.status == "failed" {
                let same = |step: &Step<'_>| (step.key.1, step.lead.unwrap_or(0)) == (failed.key.1, failed.lead.unwrap_or(0));
                let supersedes = |step: &Step<'_>| same(step) && step.status == "succeeded" && step.order() > failed.order();
                of_miner[index].superseded = of_miner.iter().any(supersedes);
            }
        }
    }
}
