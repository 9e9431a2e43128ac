//! R: one miner in one run; D1: which of a unit's rows has the place.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::json;

use crate::model::evidence::{RESPONSES, RunEvidence, SCORES};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::rollups::{ForecastStat, LeadScore, Rollup, SubnetStat};
use crate::model::time::Micros;

use super::components::{Averages, averages};
use super::exact::{clamp, output, sum};
use super::input::{MinerScores, scores};
use super::legacy;
use super::miner::MinerRun;
use super::rank::ranks;
use super::roster::{Response, Roster};
use super::stage::{self, Inference};
use super::steps::{Step, StepColumns, Steps};
use super::subnet::subnet_of_run;
use super::{Rules, Scratch};

/// A rollup row, and whether it has the place (D1): then it is compared and stored, and counts in the lifetime rollups.
#[derive(Debug, Clone)]
pub struct PlacedStat {
    pub stat: ForecastStat,
    pub placed: bool,
}

/// The rollups and findings of one unit. Runs ascending, miners ascending within a run.
#[derive(Debug, Default)]
pub struct UnitFold {
    pub lead_scores: Vec<LeadScore>,
    pub stats: Vec<PlacedStat>,
    pub subnet: Vec<SubnetStat>,
    /// What [`super::Lifetime`] takes: one for each row that has the place.
    pub history: Vec<MinerRun>,
    pub findings: Vec<Finding>,
    /// The same evidence gives other findings after this time; `None`: at no time.
    pub fresh_until: Option<Micros>,
}

/// Folds all runs that share a `forecast_run_id`, ascending by id.
pub fn fold_unit(runs: &[RunEvidence], rules: &Rules, scratch: &mut Scratch) -> UnitFold {
    let mut unit = UnitFold::default();
    let mut rows = Vec::new();
    for evidence in runs {
        rows.extend(fold_run(evidence, rules, &mut unit, scratch));
    }
    unit.stats.reserve_exact(rows.len());
    unit.history.reserve_exact(rows.len());
    let place: HashMap<i32, RunId> = rows.iter().map(|row: &RunRow| (row.miner.0, row.run)).collect();
    for row in rows {
        let holder = place[&row.miner.0];
        let placed = holder == row.run;
        if placed {
            unit.history.push(row.history);
        } else {
            unit.findings.push(collision(&row.stat, &row, holder));
        }
        unit.stats.push(PlacedStat { stat: row.stat, placed });
    }
    unit
}

/// D1: the finding of a row without the place.
fn collision(stat: &ForecastStat, row: &RunRow, holder: RunId) -> Finding {
    let id = stat.forecast_run_id.as_deref().unwrap_or_default();
    Finding {
        code: Code::ForecastRunIdCollision,
        run: Some(row.run),
        miner: Some(row.miner),
        lead: None,
        table: ForecastStat::TABLE,
        row_id: None,
        detail: format!("{id}, place of run {holder}"),
    }
}

/// A row with what the lifetime rules need of it.
struct RunRow {
    run: RunId,
    miner: MinerUid,
    stat: ForecastStat,
    history: MinerRun,
}

fn fold_run(evidence: &RunEvidence, rules: &Rules, unit: &mut UnitFold, scratch: &mut Scratch) -> Vec<RunRow> {
    let run = evidence.run.id;
    let columns = StepColumns::new(evidence);
    let steps = Steps::new(&columns, run, rules, &mut unit.findings, scratch);
    let roster = Roster::new(evidence, steps.all().iter().map(Step::miner));
    steps.check(run, &roster, rules, &mut unit.findings);
    unit.fresh_until = unit.fresh_until.into_iter().chain(steps.fresh_until(rules)).min();
    let mut scores = scores(evidence, &roster, rules, &mut unit.findings, scratch);
    legacy::fill(&mut scores, evidence, &roster, rules);
    let averages = averages(evidence, &roster, &mut unit.findings, scratch);
    let has_era5_steps = steps.all().iter().any(|step| step.name() == "era5");
    unit.lead_scores.reserve(roster.len() * rules.leads().len());
    let mut rows = Vec::with_capacity(roster.len());
    for (index, (scores, averages)) in scores.iter().zip(averages).enumerate() {
        let uid = roster.uid(index);
        let miner =
            Miner { evidence, rules, uid, response: roster.responses[index].as_ref(), steps: steps.of(uid.0), scores, averages };
        miner.lead_scores(&mut unit.lead_scores);
        miner.check(has_era5_steps, &mut unit.findings);
        rows.push(miner.row());
    }
    let combined: Vec<_> = rows.iter().map(|row| row.stat.era5_combined_score).collect();
    for (row, rank) in rows.iter_mut().zip(ranks(&combined, rules.scoring.rank_method)) {
        row.stat.miner_rank = rank;
    }
    let stats: Vec<&ForecastStat> = rows.iter().map(|row| &row.stat).collect();
    unit.subnet.push(subnet_of_run(run, &stats));
    rows
}

/// All there is of one miner in one run.
struct Miner<'m, 'a> {
    evidence: &'m RunEvidence,
    rules: &'m Rules,
    uid: MinerUid,
    response: Option<&'m Response<'a>>,
    steps: &'m [Step<'a>],
    scores: &'m MinerScores,
    averages: Averages,
}

/// R7: the status of a row whose expected leads are all scored.
pub(super) const COMPLETED: &str = "completed";
pub(super) const FAILED: &str = "failed";

/// R4: from the combined score and the Day-1 score.
pub(super) fn overall(combined: Option<f64>, day1: Option<f64>, rules: &Rules) -> Option<f64> {
    if combined.is_none() && day1.is_none() {
        return None;
    }
    let (era5, weight) = rules.scoring.weights();
    let passed = day1.is_some_and(|score| score >= rules.scoring.day1_pass_threshold);
    let pass = if passed { 1.0 } else { 0.0 };
    Some(clamp(era5 * combined.unwrap_or(0.0) + weight * pass))
}

impl Miner<'_, '_> {
    /// L: the rows of `lead_scores`.
    fn lead_scores(&self, out: &mut Vec<LeadScore>) {
        for (lead, values) in self.rules.leads().iter().zip(&self.scores.leads) {
            let Some(values) = values else { continue };
            out.push(LeadScore {
                run_id: Some(self.evidence.run.id.0),
                miner_uid: Some(self.uid.0),
                lead_hours: Some(lead.0),
                scored: Some(values.score.is_some()),
                era5_score: values.score.and_then(output),
                skill: values.parts.skill.and_then(output),
                acc: values.parts.acc.and_then(output),
                rmse: values.parts.rmse.and_then(output),
            });
        }
    }

    /// L1: the scored leads.
    fn scored(&self) -> impl Iterator<Item = (LeadHours, f64)> {
        let leads = self.rules.leads().iter().zip(&self.scores.leads);
        leads.filter_map(|(lead, values)| Some((*lead, values.as_ref()?.score?)))
    }

    /// R1–R12 but R6: the row of the miner. R3 is here, the others in functions named by their rules.
    fn row(&self) -> RunRow {
        let (scoring, run) = (&self.rules.scoring, &self.evidence.run);
        let leads: Vec<f64> = self.scored().map(|(_, score)| score).collect();
        let expected = scoring.expected_leads.len() as f64;
        let combined = (!leads.is_empty()).then(|| sum(&leads) / expected);
        let status = self.status(leads.len());
        let latest = stage::latest(self.steps);
        let error = stage::error(status, self.steps, self.response);
        let (hosting, latency) = stage::hosting(self.steps, self.response);
        let duration = match stage::inference(self.response) {
            Inference::Seconds(seconds) => Some(seconds),
            Inference::Unknown | Inference::Negative => None,
        };
        let stat = ForecastStat {
            miner_uid: Some(self.uid.0),
            miner_hotkey: Some(self.hotkey().to_owned()),
            miner_rank: None,
            forecast_run_id: Some(run.forecast_run_id.clone()),
            run_id: Some(run.id.0),
            forecast_init_time: Some(run.gfs_init),
            forecast_status: Some(status.to_owned()),
            current_forecast_stage: Some(stage::current_stage(status, latest)),
            current_forecast_status: stage::current_status(status, latest).map(str::to_owned),
            last_error_message: error.and_then(|error| error.message).map(str::to_owned),
            retries_remaining: Some(stage::retries_remaining(latest, &scoring.max_retries)),
            next_scheduled_retry: stage::next_scheduled_retry(self.steps),
            forecast_error_msg: error.map(|error| json!({"type": error.kind, "message": error.message})),
            forecast_score_initial: self.scores.day1.and_then(output),
            era5_combined_score: combined.and_then(output),
            era5_completeness: output(leads.len() as f64 / expected),
            overall_forecast_score: overall(combined, self.scores.day1, self.rules).and_then(output),
            avg_rmse: self.averages.rmse.and_then(output),
            avg_acc: self.averages.acc.and_then(output),
            avg_skill_score: self.averages.skill.and_then(output),
            forecast_inference_duration_seconds: duration,
            hosting_status: hosting.map(|hosting| hosting.name().to_owned()),
            hosting_latency_ms: latency,
            wide: self.scores.leads.iter().map(|lead| lead.as_ref()?.score.and_then(output)).collect(),
        };
        let history = MinerRun {
            run: run.id,
            init: run.gfs_init,
            miner: self.uid,
            hotkey: self.hotkey().to_owned(),
            combined: stat.era5_combined_score,
            completeness: leads.len() as f64 / expected,
            day1: stat.forecast_score_initial,
            success: match status {
                COMPLETED => Some(true),
                FAILED => Some(false),
                _ => None,
            },
            end: self.end_time(status),
            hosting,
            latency_ms: latency,
            inference_seconds: duration,
            error_type: error.map(|error| error.kind.to_owned()),
            response_time: self.response.map(|response| response.time),
        };
        RunRow { run: run.id, miner: self.uid, stat, history }
    }

    /// R1: `miner_hotkey`.
    fn hotkey(&self) -> &str {
        match self.response {
            Some(response) => response.hotkey,
            None => self.steps.iter().max_by_key(|step| step.id()).map_or("", Step::hotkey),
        }
    }

    /// R7: `forecast_status`.
    fn status(&self, scored: usize) -> &'static str {
        let failed_status =
            |response: &&Response<'_>| self.rules.scoring.failed_response_statuses.iter().any(|status| status == response.status);
        if scored == self.rules.leads().len() {
            COMPLETED
        } else if self.response.as_ref().is_some_and(failed_status) || self.steps.iter().any(Step::failed) {
            FAILED
        } else if scored > 0 {
            "era5_scoring"
        } else if self.scores.day1.and_then(output).is_some() {
            "day1_scored"
        } else if self.response.is_some() {
            "input_received"
        } else {
            "pending"
        }
    }

    /// M5: the end time of the row.
    fn end_time(&self, status: &str) -> Option<Micros> {
        match status {
            COMPLETED => self.scores.last_calculation,
            FAILED => {
                let failed = self.steps.iter().filter(|step| step.failed());
                failed.filter_map(Step::time).max().or(self.response.map(|response| response.time))
            }
            _ => None,
        }
    }

    /// Section 8: `score_without_step`, `step_without_score`, `negative_duration`.
    fn check(&self, has_era5_steps: bool, findings: &mut Vec<Finding>) {
        let run = self.evidence.run.id;
        let scorings = self.steps.iter().filter(|step| step.is("era5", "score") && step.status() == "succeeded");
        let scorings: Vec<&Step<'_>> = scorings.collect();
        let is_scored = |lead: i32| self.scored().any(|(scored, _)| scored.0 == lead);
        let measured = self
            .rules
            .leads()
            .iter()
            .zip(&self.scores.leads)
            .filter(|(_, lead)| lead.as_ref().is_some_and(|lead| lead.score.is_some() && !legacy::is_legacy(lead)));
        for (&lead, _) in measured.filter(|_| has_era5_steps) {
            if !scorings.iter().any(|step| step.lead() == Some(lead.0)) {
                findings.push(Finding {
                    code: Code::ScoreWithoutStep,
                    run: Some(run),
                    miner: Some(self.uid),
                    lead: Some(lead),
                    table: SCORES.name,
                    row_id: None,
                    detail: String::new(),
                });
            }
        }
        for step in scorings {
            if step.lead().is_some_and(|lead| lead > 0 && !is_scored(lead)) {
                findings.push(step.finding(run, Code::StepWithoutScore, ""));
            }
        }
        if let (Some(response), Inference::Negative) = (self.response, stage::inference(self.response)) {
            findings.push(Finding {
                code: Code::NegativeDuration,
                run: Some(run),
                miner: Some(self.uid),
                lead: None,
                table: RESPONSES.name,
                row_id: Some(response.id),
                detail: String::new(),
            });
        }
    }
}
