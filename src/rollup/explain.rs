//! Why a rollup row is what it is: each column with its rule, the expression with its numbers, and the rows behind it.
//!
//! Nothing is computed a second time: values are those of the fold, and which rows it set aside its findings tell.

mod evidence;
mod whole;

use crate::model::evidence::{RESPONSES, RunEvidence};
use crate::model::finding::Code;
use crate::model::ids::MinerUid;
use crate::model::rollups::{ForecastStat, LeadScore, Rollup};
use crate::model::value::Value;

use super::kind::ValueKind;
use super::lead::LeadParts;
use super::roster::{Response, Roster};
use super::stage;
use super::steps::{Step, StepColumns, Steps};
use super::{Rules, Scratch, UnitFold};
use evidence::{Component, Score, components, scores, step_row};
pub use whole::{RunRow, explain_miner, explain_subnet_for_life, explain_subnet_of_run, rested_on_beyond};

/// A value, and what it is made of.
#[derive(Debug, Clone)]
pub struct Explained {
    pub name: String,
    /// The rule that makes the value.
    pub rule: &'static str,
    pub value: Value<'static>,
    /// The expression with its numbers, or what the rule found, in words.
    pub how: String,
    /// Columns of the same row that it is made from.
    pub rests_on: Vec<String>,
    pub rows: Vec<EvidenceRow>,
    pub parts: Vec<Explained>,
}

/// A row behind a value.
#[derive(Debug, Clone)]
pub struct EvidenceRow {
    pub table: &'static str,
    pub id: Option<i64>,
    pub cells: Vec<(&'static str, Value<'static>)>,
    /// Whether the value takes it; else its findings say why it does not.
    pub counts: bool,
    pub findings: Vec<Code>,
    /// Why it does not count, where no finding about the evidence says so.
    pub why: Option<&'static str>,
}

/// The columns of the row of a miner in a run, leads first; `None` where the miner has no row there.
pub fn explain(
    evidence: &RunEvidence,
    fold: &UnitFold,
    rules: &Rules,
    miner: MinerUid,
    scratch: &mut Scratch,
) -> Option<Vec<Explained>> {
    let of_run = |stat: &&ForecastStat| stat.run_id == Some(evidence.run.id.0);
    let run: Vec<&ForecastStat> = fold.stats.iter().map(|placed| &placed.stat).filter(of_run).collect();
    let stat = *run.iter().find(|stat| stat.miner_uid == Some(miner.0))?;
    let columns = StepColumns::new(evidence);
    let steps = Steps::new(&columns, evidence.run.id, rules, &mut Vec::new(), scratch);
    let roster = Roster::new(evidence, steps.all().iter().map(Step::miner));
    let response = roster.index(miner.0).and_then(|index| roster.responses[index]);
    let row = Row {
        rules,
        stat,
        response,
        steps: steps.of(miner.0),
        leads: fold.lead_scores.iter().filter(|lead| (lead.run_id, lead.miner_uid) == (stat.run_id, stat.miner_uid)).collect(),
        scores: scores(evidence, fold, miner),
        components: components(evidence, fold, miner),
    };
    let mut columns = row.leads();
    let rank = rank(&run);
    columns.extend(ForecastStat::COLUMNS.iter().enumerate().map(|(index, column)| Explained {
        value: stat.value(index).into_owned(),
        name: column.name.to_string(),
        ..if column.name == "miner_rank" { rank.clone() } else { row.column(&column.name) }
    }));
    Some(columns)
}

/// What the columns of a row are made of.
struct Row<'r, 'a> {
    rules: &'r Rules,
    stat: &'r ForecastStat,
    response: Option<Response<'a>>,
    steps: &'r [Step<'a>],
    leads: Vec<&'r LeadScore>,
    scores: Vec<Score>,
    components: Vec<Component>,
}

/// A value that has yet to get its name and the value itself.
fn by(rule: &'static str, how: impl Into<String>) -> Explained {
    let (name, value) = (String::new(), Value::Null);
    Explained { name, rule, value, how: how.into(), rests_on: Vec::new(), rows: Vec::new(), parts: Vec::new() }
}

impl Explained {
    fn named(self, name: impl Into<String>, value: Option<f64>) -> Self {
        Explained { name: name.into(), value: number(value), ..self }
    }

    fn on<'n>(self, columns: impl IntoIterator<Item = &'n str>) -> Self {
        Explained { rests_on: columns.into_iter().map(str::to_owned).collect(), ..self }
    }

    fn from(self, rows: impl IntoIterator<Item = EvidenceRow>) -> Self {
        Explained { rows: rows.into_iter().collect(), ..self }
    }
}

fn number(value: Option<f64>) -> Value<'static> {
    value.map_or(Value::Null, Value::Float)
}

impl Row<'_, '_> {
    fn leads(&self) -> Vec<Explained> {
        self.rules.leads().iter().map(|lead| self.lead(lead.0)).collect()
    }

    fn lead_names(&self) -> Vec<String> {
        self.rules.leads().iter().map(|lead| format!("era5_score_{lead}h")).collect()
    }

    /// L: one lead.
    fn lead(&self, hours: i32) -> Explained {
        let here = self.scores.iter().filter(|score| score.lead == Some(hours));
        let (taken, aside): (Vec<&Score>, Vec<&Score>) =
            here.filter(|score| !matches!(score.value, Some(None))).partition(|score| score.row.counts);
        let name = format!("era5_score_{hours}h");
        let aside = aside.into_iter().map(|score| score.row.clone());
        let Some(lead) = self.leads.iter().find(|lead| lead.lead_hours == Some(hours)) else {
            return by("L1", "no score is left").from(aside).named(name, None);
        };
        if taken.is_empty() {
            let kept = EvidenceRow {
                table: "weather_legacy_lead_scores",
                id: None,
                cells: vec![("lead_hours", Value::Int(hours.into())), ("era5_score", number(lead.era5_score))],
                counts: true,
                findings: Vec::new(),
                why: None,
            };
            return by("L", "the score that was kept of a lead without scores")
                .from(aside.chain([kept]))
                .named(name, lead.era5_score);
        }
        let part = |kind: ValueKind, name: &str, rule, how: &str, value: Option<f64>| {
            let rows: Vec<EvidenceRow> =
                taken.iter().filter(|score| score.value == Some(Some(kind))).map(|score| score.row.clone()).collect();
            let how = format!("{how}, {} values", rows.len());
            (!rows.is_empty()).then(|| by(rule, how).from(rows).named(name, value))
        };
        let parts = [
            part(ValueKind::Skill, "skill", "L2", "mean of clamp(skill)", lead.skill),
            part(ValueKind::Acc, "acc", "L2", "mean of (acc + 1) / 2", lead.acc),
            part(ValueKind::Rmse, "rmse", "L3", "mean of 1 / (1 + rmse / the upper median of rmse)", lead.rmse),
        ];
        let how = match lead.scored {
            Some(true) => LeadParts { skill: lead.skill, acc: lead.acc, rmse: lead.rmse }.expression(),
            _ => "partial: an expected variable has no score, so the lead counts as missing".to_owned(),
        };
        let explained = by(if lead.scored == Some(true) { "L4" } else { "L1" }, how).from(aside).named(name, lead.era5_score);
        Explained { parts: parts.into_iter().flatten().collect(), ..explained }
    }

    fn column(&self, name: &str) -> Explained {
        match name {
            "era5_combined_score" => self.combined(),
            "era5_completeness" => {
                let (scored, expected) = (self.scored().len(), self.rules.leads().len());
                by("R3", format!("{scored} / {expected}")).on(self.lead_names().iter().map(String::as_str))
            }
            "forecast_score_initial" => self.day1(),
            "overall_forecast_score" => self.overall(),
            "avg_rmse" => self.average("rmse"),
            "avg_acc" => self.average("acc"),
            "avg_skill_score" => self.average("skill_score"),
            "forecast_status" => {
                let failed = self.steps.iter().filter(|step| step.failed()).map(step_row);
                let how = "the first that holds: completed, failed, era5_scoring, day1_scored, input_received, pending";
                let leads = self.lead_names();
                let on = leads.iter().map(String::as_str).chain(["forecast_score_initial"]);
                by("R7", how).on(on).from(self.response_row("status").into_iter().chain(failed))
            }
            "current_forecast_stage" | "current_forecast_status" => {
                by("R8", "completed, else from the latest step").on(["forecast_status"]).from(self.latest())
            }
            "retries_remaining" => {
                by("R9", "max_retries of the latest step less its retry_count, at least 0").from(self.latest())
            }
            "next_scheduled_retry" => {
                let waiting = self.steps.iter().filter(|step| step.status() == "retry_scheduled");
                by("R9", "the earliest next_retry_time of the steps in retry_scheduled").from(waiting.map(step_row))
            }
            "last_error_message" | "forecast_error_msg" => {
                let step = stage::latest_error(self.steps).map(step_row);
                let how = "none of a completed forecast; else of the latest failed or retry_scheduled step with an error, else of the response";
                by("R10", how).on(["forecast_status"]).from(step.or_else(|| self.response_row("status")))
            }
            "hosting_status" | "hosting_latency_ms" => {
                let step = stage::latest_probe(self.steps).map(step_row);
                let how = "from the latest finished probe of the store, else from verification_passed";
                by("R11", how).from(step.or_else(|| self.response_row("verification_passed")))
            }
            "forecast_inference_duration_seconds" => {
                by("R12", "whole seconds from inference_started_at to inference_completed_at")
                    .from(self.response_row("inference"))
            }
            "miner_hotkey" => by("R1", "that of the response, else of the step with the greatest id"),
            "forecast_run_id" | "forecast_init_time" => by("R1", "from the run"),
            _ => by("I8", "the key of the row"),
        }
    }

    fn scored(&self) -> Vec<f64> {
        self.leads.iter().filter_map(|lead| lead.era5_score).collect()
    }

    fn combined(&self) -> Explained {
        let scored = self.scored();
        let how = match scored.len() {
            0 => "no lead is scored".to_owned(),
            _ => {
                let numbers: Vec<String> = scored.iter().map(f64::to_string).collect();
                format!("sum({}) / {} expected leads", numbers.join(", "), self.rules.leads().len())
            }
        };
        let homeless =
            |score: &&Score| score.value != Some(None) && score.lead.is_none_or(|lead| self.rules.lead_index(lead).is_none());
        let aside = self.scores.iter().filter(homeless).map(|score| score.row.clone());
        by("R3", how).on(self.lead_names().iter().map(String::as_str)).from(aside)
    }

    /// R2: the latest of the Day-1 scores that are left counts.
    fn day1(&self) -> Explained {
        let mut rows: Vec<&Score> = self.scores.iter().filter(|score| score.value == Some(None)).collect();
        let latest = rows.iter().filter(|score| score.row.counts).max_by_key(|score| score.order).map(|score| score.order);
        rows.sort_by_key(|score| score.order);
        let rows = rows.iter().map(|score| EvidenceRow { counts: Some(score.order) == latest, ..score.row.clone() });
        by("R2", "the latest valid Day-1 score").from(rows)
    }

    fn overall(&self) -> Explained {
        let (stat, scoring) = (self.stat, &self.rules.scoring);
        let on = ["era5_combined_score", "forecast_score_initial"];
        if stat.overall_forecast_score.is_none() {
            return by("R4", "neither a Day-1 score nor a scored lead").on(on);
        }
        let (era5, day1) = scoring.weights();
        let threshold = scoring.day1_pass_threshold;
        let (pass, why) = match stat.forecast_score_initial {
            Some(score) if score >= threshold => (1, format!("Day-1 score {score} ≥ {threshold}")),
            Some(score) => (0, format!("Day-1 score {score} < {threshold}")),
            None => (0, "no Day-1 score".to_owned()),
        };
        let combined = stat.era5_combined_score.unwrap_or(0.0);
        by("R4", format!("clamp({era5} * {combined} + {day1} * {pass}), {why}")).on(on)
    }

    /// R5
    fn average(&self, column: &str) -> Explained {
        let left = |kind: &str| self.components.iter().any(|row| row.row.counts && row.kind == kind);
        let kind = if left("era5") { "era5" } else { "day1" };
        let taken = |component: &Component| {
            let value = component.row.cells.iter().find(|(name, _)| *name == column).map(|(_, value)| value);
            component.kind == kind && matches!(value, Some(Value::Float(x)) if x.is_finite())
        };
        let with = self.components.iter().map(|component| EvidenceRow {
            counts: component.row.counts && taken(component),
            cells: component.row.cells.iter().filter(|(name, _)| !is_value(name) || *name == column).cloned().collect(),
            ..component.row.clone()
        });
        let rows: Vec<EvidenceRow> = with.collect();
        let count = rows.iter().filter(|row| row.counts).count();
        by("R5", format!("mean of {column}, {count} finite values of {kind} component rows")).from(rows)
    }

    fn latest(&self) -> Option<EvidenceRow> {
        stage::latest(self.steps).map(step_row)
    }

    /// The response, with what of it a column looks at.
    fn response_row(&self, of: &str) -> Option<EvidenceRow> {
        let response = self.response.as_ref()?;
        let time = |time| Option::map_or(time, Value::Null, Value::Time);
        let cells = match of {
            "status" => vec![("status", Value::Text(response.status.to_owned().into()))],
            "inference" => vec![
                ("inference_started_at", time(response.inference_started)),
                ("inference_completed_at", time(response.inference_completed)),
            ],
            _ => vec![("verification_passed", response.verification_passed.map_or(Value::Null, Value::Bool))],
        };
        Some(EvidenceRow { table: RESPONSES.name, id: Some(response.id), cells, counts: true, findings: Vec::new(), why: None })
    }
}

fn is_value(column: &str) -> bool {
    matches!(column, "rmse" | "acc" | "skill_score")
}

/// R6: with the scores of the run.
fn rank(run: &[&ForecastStat]) -> Explained {
    let rows = run.iter().filter(|stat| stat.era5_combined_score.is_some()).map(|stat| EvidenceRow {
        table: ForecastStat::TABLE,
        id: None,
        cells: vec![
            ("miner_uid", stat.miner_uid.map_or(Value::Null, |uid| Value::Int(uid.into()))),
            ("era5_combined_score", number(stat.era5_combined_score)),
        ],
        counts: true,
        findings: Vec::new(),
        why: None,
    });
    let mut rows: Vec<EvidenceRow> = rows.collect();
    let score = |row: &EvidenceRow| match row.cells[1].1 {
        Value::Float(score) => score,
        _ => f64::NEG_INFINITY,
    };
    rows.sort_by(|a, b| score(b).total_cmp(&score(a)));
    by("R6", format!("rank by era5_combined_score among the {} scores of the run", rows.len()))
        .on(["era5_combined_score"])
        .from(rows)
}

#[cfg(test)]
mod tests;
