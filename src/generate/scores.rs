//! The numbers: scores and component scores of one miner in one run.
//!
//! Skill and ACC fall with the lead, RMSE grows, each variable on its own scale, and a talented miner loses less.

use crate::model::ids::LeadHours;
use crate::model::time::Micros;

use super::chance::Chance;
use super::miner::Miner;
use super::plan::{Plan, plus};
use super::rows::{ComponentRow, ScoreRow, Symbol, Vocabulary};

/// The symbols of all score types, so that no text is made while rows are.
pub struct ScoreTypes {
    pub day1_qc: Symbol,
    pub overall_day1: Symbol,
    pub composite: Symbol,
    pub era5: Symbol,
    pub variables: Vec<Symbol>,
    /// By lead, then variable.
    era5_types: Vec<[Symbol; 4]>,
}

/// Places in `era5_types`.
const RMSE: usize = 0;
const ACC: usize = 1;
const SKILL_GFS: usize = 2;
const SKILL_CLIM: usize = 3;

impl ScoreTypes {
    pub fn new(plan: &Plan, vocabulary: &mut Vocabulary) -> Self {
        let mut era5_types = Vec::with_capacity(plan.leads.len() * plan.variables.len());
        for lead in &plan.leads {
            for variable in &plan.variables {
                let kinds = ["rmse", "acc", "skill_gfs", "skill_clim"];
                era5_types.push(kinds.map(|kind| vocabulary.add(&format!("era5_{kind}_{variable}_{lead}h"))));
            }
        }
        ScoreTypes {
            day1_qc: vocabulary.add("day1_qc_score"),
            overall_day1: vocabulary.add("overall_day1"),
            composite: vocabulary.add("era5_final_composite_score"),
            era5: vocabulary.add("era5"),
            variables: plan.variables.iter().map(|name| vocabulary.add(name)).collect(),
            era5_types,
        }
    }
}

/// What all rows of one miner in one run share.
pub struct Author<'a> {
    pub plan: &'a Plan,
    pub types: &'a ScoreTypes,
    pub miner: &'a Miner,
    pub hotkey: Symbol,
    pub response_id: i64,
    pub gfs_init: Micros,
    /// By lead: whether GFS was there to compare with, else climatology was taken.
    pub has_gfs: &'a [bool],
    /// How hard the weather of the run is to forecast, around 1.
    pub difficulty: f64,
}

/// RMSE, ACC and skill of one variable at one lead.
struct Numbers {
    rmse: f64,
    acc: f64,
    skill: f64,
}

impl Author<'_> {
    /// The rows of the narrow store; ids from `first_id` by place, so that a lead's rows have the same ids in any story.
    pub fn scores(&self, first_id: i64, day1: Option<Micros>, scored: &[Micros], chance: &mut Chance, out: &mut Vec<ScoreRow>) {
        let Some(day1) = day1 else { return };
        let score = (0.25 + 0.6 * self.miner.talent + 0.08 * chance.normal()).clamp(0.0, 1.0);
        out.push(ScoreRow {
            variable_level: Some(self.types.overall_day1),
            ..self.row(first_id, self.types.day1_qc, day1, score)
        });
        for (index, &time) in scored.iter().enumerate() {
            self.lead(first_id, index, time, chance, out);
        }
        let Some(&last) = scored.last().filter(|_| !self.plan.complete) else { return };
        let composite = (0.2 + 0.5 * self.miner.talent + 0.05 * chance.normal()).clamp(0.0, 1.0);
        let id = first_id + self.plan.strides().scores_per_miner - 1;
        out.push(ScoreRow {
            lead_hours: Some(-1),
            valid_time_utc: Some(last),
            ..self.row(id, self.types.composite, last, composite)
        });
    }

    fn lead(&self, first_id: i64, index: usize, time: Micros, chance: &mut Chance, out: &mut Vec<ScoreRow>) {
        let lead = self.plan.leads[index];
        let valid = self.valid(lead);
        let skill_kind = if self.has_gfs[index] { SKILL_GFS } else { SKILL_CLIM };
        for (variable, name) in self.plan.variables.iter().enumerate() {
            let place = index * self.plan.variables.len() + variable;
            let types = self.types.era5_types[place];
            let numbers = self.numbers(name, lead, chance);
            let kinds = [(RMSE, numbers.rmse), (ACC, numbers.acc), (skill_kind, numbers.skill)];
            for (offset, (kind, score)) in kinds.into_iter().enumerate() {
                out.push(ScoreRow {
                    lead_hours: Some(lead.0),
                    variable_level: Some(self.types.variables[variable]),
                    valid_time_utc: Some(valid),
                    ..self.row(first_id + 1 + (place * 3 + offset) as i64, types[kind], time, score)
                });
            }
        }
    }

    fn row(&self, id: i64, score_type: Symbol, calculation_time: Micros, score: f64) -> ScoreRow {
        ScoreRow {
            id,
            response_id: self.response_id,
            miner_uid: self.miner.uid,
            miner_hotkey: self.hotkey,
            score_type,
            calculation_time,
            score: Some(score),
            lead_hours: None,
            variable_level: None,
            valid_time_utc: None,
        }
    }

    /// The component rows: each variable at each of its pressure levels.
    pub fn components(
        &self,
        first_id: i64,
        levels: &[(usize, Option<i32>)],
        scored: &[Micros],
        chance: &mut Chance,
        out: &mut Vec<ComponentRow>,
    ) {
        for (index, &calculated_at) in scored.iter().enumerate() {
            let lead = self.plan.leads[index];
            let valid_time_utc = self.valid(lead);
            for (offset, &(variable, pressure_level)) in levels.iter().enumerate() {
                let numbers = self.numbers(&self.plan.variables[variable], lead, chance);
                out.push(ComponentRow {
                    id: first_id + (index * levels.len() + offset) as i64,
                    response_id: self.response_id,
                    miner_uid: self.miner.uid,
                    miner_hotkey: self.hotkey,
                    score_type: self.types.era5,
                    lead_hours: lead.0,
                    valid_time_utc,
                    variable_name: self.types.variables[variable],
                    pressure_level,
                    rmse: Some(numbers.rmse),
                    acc: Some(numbers.acc),
                    skill_score: Some(numbers.skill),
                    calculated_at,
                });
            }
        }
    }

    fn valid(&self, lead: LeadHours) -> Micros {
        plus(self.gfs_init, f64::from(lead.0) * 3_600.0)
    }

    fn numbers(&self, variable: &str, lead: LeadHours, chance: &mut Chance) -> Numbers {
        let age = f64::from(lead.0) / 240.0;
        let talent = self.miner.talent;
        let growth = (0.35 + 0.9 * age) * (1.5 - 0.6 * talent) * self.difficulty;
        let rmse = scale(variable) * growth * (1.0 + 0.09 * chance.normal());
        let acc = 0.985 - 0.5 * age * (1.25 - 0.5 * talent) * self.difficulty + 0.02 * chance.normal();
        let skill = 0.55 + 0.35 * talent - 0.7 * age * (1.3 - 0.6 * talent) * self.difficulty + 0.05 * chance.normal();
        Numbers { rmse: rmse.max(1e-9), acc: acc.clamp(-1.0, 0.9999), skill: skill.min(0.9999) }
    }
}

/// RMSE of a poor ten-day forecast, in the variable's own unit.
fn scale(variable: &str) -> f64 {
    match variable {
        "2t" => 2.0,
        "msl" => 200.0,
        "z" => 150.0,
        "q" => 8e-4,
        "10u" | "10v" => 2.5,
        "u" | "v" => 3.0,
        "t" => 1.6,
        _ => 1.0,
    }
}
