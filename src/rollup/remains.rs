//! D6: what is left of the evidence of some (run, miner), whatever later rules make of it.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{BooleanArray, RecordBatch};

use crate::model::evidence::RunEvidence;
use crate::model::time::Micros;
use crate::model::unproven::{Gone, Remains, RunMiner};

use super::kind::{self, Kind};
use super::steps::{StepColumns, Steps};
use super::views::{Columns, time_at};
use super::{Rules, Scratch};

/// What these (run, miner) still have in the evidence of their runs. Every row counts whose columns name them and whose kind I1
/// knows; steps as I7 merges them.
pub fn remains(runs: &[RunEvidence], whose: &BTreeSet<RunMiner>, rules: &Rules) -> BTreeMap<RunMiner, Remains> {
    let mut remains: BTreeMap<RunMiner, Remains> = whose.iter().map(|whose| (*whose, Remains::default())).collect();
    for evidence in runs {
        let run = evidence.run.id.0;
        if whose.range((run, i32::MIN)..=(run, i32::MAX)).next().is_some() {
            scores(evidence, &mut remains);
            components(evidence, &mut remains);
            steps(evidence, rules, &mut remains);
        }
    }
    remains
}

fn scores(evidence: &RunEvidence, remains: &mut BTreeMap<RunMiner, Remains>) {
    let run = evidence.run.id.0;
    let columns = Columns(&evidence.scores);
    let (miner, lead) = (columns.repeated::<Int32Type>("miner_uid"), columns.repeated::<Int32Type>("lead_hours"));
    let names = columns.codes("score_type");
    let kinds: Vec<Kind<'_>> = names.values.iter().map(|name| kind::parse(name.unwrap_or_default())).collect();
    for row in 0..evidence.scores.num_rows() {
        let Some(remains) = remains.get_mut(&(run, miner.value(row))) else { continue };
        match usize::try_from(names.code(row)).ok().and_then(|code| kinds.get(code)) {
            Some(Kind::Era5 { .. }) => {
                remains.era5 = true;
                remains.era5_leads.extend(lead.get(row));
            }
            Some(Kind::Day1) => remains.day1 = true,
            Some(Kind::Ignored | Kind::Unknown) | None => {}
        }
    }
    for legacy in &evidence.legacy {
        if let Some(remains) = legacy.miner_uid.and_then(|miner| remains.get_mut(&(run, miner))) {
            remains.era5 = true;
            remains.era5_leads.extend(legacy.lead_hours);
        }
    }
}

fn components(evidence: &RunEvidence, remains: &mut BTreeMap<RunMiner, Remains>) {
    for miner in Columns(&evidence.components).int32("miner_uid").values() {
        if let Some(remains) = remains.get_mut(&(evidence.run.id.0, *miner)) {
            remains.components = true;
        }
    }
}

fn steps(evidence: &RunEvidence, rules: &Rules, remains: &mut BTreeMap<RunMiner, Remains>) {
    let columns = StepColumns::new(evidence);
    let steps = Steps::new(&columns, evidence.run.id, rules, &mut Vec::new(), &mut Scratch::default());
    for step in steps.all().iter().filter(|step| matches!(step.status(), "succeeded" | "failed")) {
        if let (Some(remains), Some(time)) = (remains.get_mut(&(evidence.run.id.0, step.miner())), step.time()) {
            let oldest = remains.oldest_finished_step.into_iter().chain([time]).min();
            remains.oldest_finished_step = oldest;
        }
    }
}

/// The rows of a run's former evidence that stand in for what is gone.
#[derive(Debug)]
pub struct StandIns {
    pub scores: BooleanArray,
    pub components: BooleanArray,
    pub steps: BooleanArray,
}

impl StandIns {
    pub fn rows(&self) -> usize {
        [&self.scores, &self.components, &self.steps].into_iter().map(BooleanArray::true_count).sum()
    }
}

/// D6, last paragraph: which rows of the `former` evidence of a run stand in for what is gone from the `live` one, by miner. Scores
/// only where their response is there still: without it they would be nobody's (I2). `is_old`: whether a step that finished then is
/// older than the days of retention.
pub fn stand_ins(
    live: &RunEvidence,
    former: &RunEvidence,
    gone: &BTreeMap<i32, Gone>,
    is_old: impl Fn(Micros) -> bool,
) -> StandIns {
    let responses: BTreeSet<(i32, i64)> = whose(&live.responses, "id").collect();
    let own = |batch: &RecordBatch| -> Vec<Option<&Gone>> {
        whose(batch, "response_id").map(|whose| gone.get(&whose.0).filter(|_| responses.contains(&whose))).collect()
    };
    StandIns {
        scores: of_scores(&former.scores, &own(&former.scores)),
        components: own(&former.components).iter().map(|gone| Some(gone.is_some_and(|gone| gone.components))).collect(),
        steps: of_steps(live, former, gone, is_old),
    }
}

/// Of each row the miner and another id.
fn whose<'b>(batch: &'b RecordBatch, id: &str) -> impl Iterator<Item = (i32, i64)> + 'b {
    let columns = Columns(batch);
    let (miner, id) = (columns.repeated::<Int32Type>("miner_uid"), columns.repeated::<Int64Type>(id));
    (0..batch.num_rows()).map(move |row| (miner.value(row), id.value(row)))
}

fn of_scores(former: &RecordBatch, gone: &[Option<&Gone>]) -> BooleanArray {
    let columns = Columns(former);
    let (names, lead) = (columns.codes("score_type"), columns.repeated::<Int32Type>("lead_hours"));
    let stands_in = |(row, gone): (usize, &Option<&Gone>)| {
        let Some(gone) = gone else { return Some(false) };
        Some(match kind::parse(names.get(row).unwrap_or_default()) {
            Kind::Era5 { .. } => gone.era5 || lead.get(row).is_some_and(|lead| gone.leads.contains(&lead)),
            Kind::Day1 => gone.day1,
            Kind::Ignored | Kind::Unknown => false,
        })
    };
    gone.iter().enumerate().map(stands_in).collect()
}

/// A step that is there still, in whatever state, is not the one that it was.
fn of_steps(
    live: &RunEvidence,
    former: &RunEvidence,
    gone: &BTreeMap<i32, Gone>,
    is_old: impl Fn(Micros) -> bool,
) -> BooleanArray {
    let there: BTreeSet<i64> = Columns(&live.steps).id("id").values().iter().copied().collect();
    let columns = Columns(&former.steps);
    let (id, status) = (columns.id("id"), columns.codes("status"));
    let (started, completed) = (columns.time("started_at"), columns.time("completed_at"));
    let stands_in = |(row, (miner, _)): (usize, (i32, i64))| {
        let time = time_at(completed, row).or(time_at(started, row));
        let finished = matches!(status.get(row), Some("succeeded" | "failed")) && time.is_some_and(&is_old);
        Some(finished && gone.get(&miner).is_some_and(|gone| gone.steps) && !there.contains(&id.value(row)))
    };
    whose(&former.steps, "id").enumerate().map(stands_in).collect()
}

#[cfg(test)]
mod tests;
