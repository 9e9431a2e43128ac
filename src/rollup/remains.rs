//! D6: what is left of the evidence of some (run, miner), whatever later rules make of it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Int32Type;

use crate::model::evidence::RunEvidence;
use crate::model::unproven::{Remains, RunMiner};

use super::Rules;
use super::kind::{self, Kind};
use super::steps::Steps;
use super::views::Columns;

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
    let steps = Steps::new(evidence, rules, &mut Vec::new());
    for step in steps.all().iter().filter(|step| matches!(step.status, "succeeded" | "failed")) {
        if let (Some(remains), Some(time)) = (remains.get_mut(&(evidence.run.id.0, step.miner)), step.time()) {
            let oldest = remains.oldest_finished_step.into_iter().chain([time]).min();
            remains.oldest_finished_step = oldest;
        }
    }
}
