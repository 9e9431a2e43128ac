//! What a validator's tables should not hold, and do: every odd case that the rules know, spread over the rows of a run.
//!
//! Only what the tables' constraints let in: a repeated key has a NULL in it, and every response that a row names exists.

use serde_json::json;

use crate::model::time::Micros;

use super::chance::Chance;
use super::errors;
use super::plan::{Plan, plus};
use super::rows::{ComponentRow, RunRows, ScoreRow, StepRow, Symbol, Vocabulary};

/// Texts that only messy rows have.
pub struct IrregularTexts {
    unknown_types: Vec<Symbol>,
    ignored_type: Symbol,
    strange_variable: Symbol,
    /// An ACC of that variable at a lead that is expected.
    strange_variable_type: Symbol,
    /// An ACC at a lead that nobody expects.
    strange_lead_type: Symbol,
    strange_hotkey: Symbol,
    day1: Symbol,
}

/// Hours of a lead that no settings expect.
const STRANGE_LEAD: i32 = 9_999;

impl IrregularTexts {
    pub fn new(plan: &Plan, vocabulary: &mut Vocabulary) -> Self {
        let variable = &plan.variables[0];
        IrregularTexts {
            unknown_types: ["era5_bias_2t_24h", "ERA5_acc_2t_24h", "day1_qc_scores", "era5_acc_2t_h", ""]
                .map(|text| vocabulary.add(text))
                .to_vec(),
            ignored_type: vocabulary.add("era5_error_2t_24h"),
            strange_variable: vocabulary.add("sst"),
            strange_variable_type: vocabulary.add(&format!("era5_acc_sst_{}h", plan.leads[0])),
            strange_lead_type: vocabulary.add(&format!("era5_acc_{variable}_{STRANGE_LEAD}h")),
            strange_hotkey: vocabulary.add("5StrangerWhoHadThisUidForAnHour"),
            day1: vocabulary.add("day1"),
        }
    }
}

/// The rows of one run while they are being disturbed.
pub struct Irregularities<'a> {
    pub plan: &'a Plan,
    pub texts: &'a IrregularTexts,
    pub vocabulary: &'a Vocabulary,
    pub rows: &'a mut RunRows,
    pub chance: Chance,
    /// The first id of each table that no clean row uses.
    pub spare_score: i64,
    pub spare_component: i64,
    pub spare_step: i64,
}

impl Irregularities<'_> {
    /// Disturbs the run: each odd case a few times.
    pub fn add(mut self) {
        for _ in 0..1 + self.plan.miners / 32 {
            self.scores();
            self.components();
            self.steps();
            self.responses();
        }
        self.partial_lead();
    }

    fn scores(&mut self) {
        self.repeat_score(-3_600.0);
        self.repeat_score(0.0);
        self.repeat_score(5.0);
        self.repeat_day1();
        self.orphan_score();
        let (unknown, ignored) = (*self.chance.of(&self.texts.unknown_types), self.texts.ignored_type);
        self.add_score(|row| row.score_type = unknown);
        self.add_score(|row| row.score_type = ignored);
        let (kind, variable) = (self.texts.strange_lead_type, self.texts.strange_variable);
        self.add_score(|row| (row.score_type, row.lead_hours) = (kind, Some(STRANGE_LEAD)));
        let (kind, lead) = (self.texts.strange_variable_type, self.plan.leads[0].0);
        self.add_score(|row| {
            (row.score_type, row.lead_hours, row.variable_level) = (kind, Some(lead), Some(variable));
        });
        self.edit_score("era5_", |row, _| row.lead_hours = None);
        self.edit_score("era5_", |row, plan| row.lead_hours = Some(plan.leads[0].0));
        self.edit_score("era5_", |row, _| row.variable_level = None);
        self.edit_score("era5_", |row, _| row.score = None);
        self.edit_score("era5_", |row, _| row.score = Some(f64::NAN));
        self.edit_score("era5_", |row, _| row.score = Some(f64::NEG_INFINITY));
        self.edit_score("day1", |row, _| row.score = Some(f64::NEG_INFINITY));
        self.edit_score("era5_rmse", |row, _| row.score = row.score.map(|x| -x));
        self.edit_score("era5_acc", |row, _| row.score = Some(1.25));
        self.edit_score("era5_skill", |row, _| row.score = Some(1.5));
        let stranger = self.texts.strange_hotkey;
        self.edit_score("era5_", |row, _| row.miner_hotkey = stranger);
    }

    /// A score row of this kind, if one is soon found.
    fn find_score(&mut self, kind: &str) -> Option<usize> {
        (0..200).find_map(|_| {
            let at = (!self.rows.scores.is_empty()).then(|| self.chance.below(self.rows.scores.len()))?;
            let name = self.vocabulary.text(self.rows.scores[at].score_type);
            (name.starts_with(kind) && name != "era5_final_composite_score").then_some(at)
        })
    }

    fn edit_score(&mut self, kind: &str, edit: impl FnOnce(&mut ScoreRow, &Plan)) {
        let Some(at) = self.find_score(kind) else { return };
        let row = &mut self.rows.scores[at];
        edit(row, self.plan);
        // The key may now be that of another row: without this it is never the same to the database.
        row.valid_time_utc = None;
    }

    fn add_score(&mut self, edit: impl FnOnce(&mut ScoreRow)) {
        let Some(at) = self.find_score("era5_") else { return };
        let mut row = ScoreRow { id: self.spare_score, valid_time_utc: None, ..self.rows.scores[at] };
        self.spare_score += 1;
        edit(&mut row);
        self.rows.scores.push(row);
    }

    /// The same score, some seconds later, with another value.
    fn repeat_score(&mut self, seconds: f64) {
        let change = self.chance.range(0.5, 0.9);
        self.add_score(|row| {
            row.calculation_time = plus(row.calculation_time, seconds);
            row.score = row.score.map(|x| x * change);
        });
    }

    fn repeat_day1(&mut self) {
        let Some(at) = self.find_score("day1_qc_score") else { return };
        let row = self.rows.scores[at];
        let calculation_time = plus(row.calculation_time, -600.0);
        self.rows.scores.push(ScoreRow { id: self.spare_score, calculation_time, score: Some(0.05), ..row });
        self.spare_score += 1;
    }

    fn orphan_score(&mut self) {
        let Some(other) = self.some_response() else { return };
        self.add_score(|row| {
            if row.response_id != other {
                row.response_id = other;
            }
        });
    }

    fn some_response(&mut self) -> Option<i64> {
        (!self.rows.responses.is_empty()).then(|| self.chance.of(&self.rows.responses).id)
    }

    /// One lead of one miner loses all rows of one variable.
    fn partial_lead(&mut self) {
        let Some(at) = self.find_score("era5_") else { return };
        let lost = self.rows.scores[at];
        let key = |row: &ScoreRow| (row.miner_uid, row.lead_hours, row.variable_level);
        self.rows.scores.retain(|row| key(row) != key(&lost));
    }

    fn components(&mut self) {
        let Some(other) = self.some_response() else { return };
        let day1 = self.texts.day1;
        self.add_component(|row| row.calculated_at = plus(row.calculated_at, 60.0));
        self.add_component(|row| (row.calculated_at, row.rmse) = (plus(row.calculated_at, -60.0), None));
        self.add_component(|row| row.response_id = other);
        self.add_component(|row| row.score_type = day1);
        self.edit_component(|row| row.rmse = Some(f64::NAN));
        self.edit_component(|row| row.acc = None);
        self.edit_component(|row| row.skill_score = Some(f64::NEG_INFINITY));
    }

    fn edit_component(&mut self, edit: impl FnOnce(&mut ComponentRow)) {
        let count = self.rows.components.len();
        if count > 0 {
            edit(&mut self.rows.components[self.chance.below(count)]);
        }
    }

    /// Surface rows only: their NULL level lets a key repeat.
    fn add_component(&mut self, edit: impl FnOnce(&mut ComponentRow)) {
        let count = self.rows.components.len();
        let found = (0..200).find_map(|_| {
            let at = (count > 0).then(|| self.chance.below(count))?;
            self.rows.components[at].pressure_level.is_none().then_some(at)
        });
        let Some(at) = found else { return };
        let mut row = ComponentRow { id: self.spare_component, ..self.rows.components[at] };
        self.spare_component += 1;
        edit(&mut row);
        self.rows.components.push(row);
    }

    fn steps(&mut self) {
        // Production writes start and end as two rows, for want of a key.
        self.add_step("query", |row, _| {
            (row.status, row.started_at, row.completed_at, row.latency_ms) =
                ("in_progress", row.started_at.map(|t| plus(t, -1.0)), None, None);
        });
        self.add_step("inference", |row, _| (row.status, row.completed_at, row.retry_count) = ("in_progress", None, 2));
        self.add_step("seed", |row, _| row.retry_count = 1);
        self.add_step("era5", |row, chance| {
            row.substep = Some("fetch_truth");
            row.status = "failed";
            row.completed_at = row.started_at.map(|t| plus(t, -chance.range(60.0, 600.0)));
            row.started_at = None;
            row.error_json = Some(errors::scoring(row.lead_hours.unwrap_or(0), chance));
        });
        self.add_step("day1", |row, chance| {
            let odd = [
                json!("timeout while waiting for 10.0.0.7:8786"),
                json!(["a", "b"]),
                json!({"message": ""}),
                json!(null),
                json!({"code": 7}),
            ];
            row.substep = Some("");
            row.status = "failed";
            row.error_json = Some(chance.of(&odd).clone());
        });
        self.add_step("day1", |row, _| (row.substep, row.status) = (Some("cleanup"), "waiting_for_truth"));
        let stranger = self.texts.strange_hotkey;
        self.add_step("verify", |row, _| (row.substep, row.miner_hotkey) = (Some("token_request"), stranger));
        self.stale_step();
        self.lose_step();
    }

    fn add_step(&mut self, name: &str, edit: impl FnOnce(&mut StepRow, &mut Chance)) -> Option<()> {
        let count = self.rows.steps.len();
        let at = (0..400).find_map(|_| {
            let at = self.chance.below(count);
            let row = &self.rows.steps[at];
            (row.step_name == name && row.id < self.spare_step).then_some(at)
        })?;
        let mut row = StepRow { id: self.spare_step, ..self.rows.steps[at].clone() };
        edit(&mut row, &mut self.chance);
        let key = |row: &StepRow| (row.miner_uid, row.step_name, row.substep, row.lead_hours);
        let has_null = row.substep.is_none() || row.lead_hours.is_none();
        if has_null || self.rows.steps.iter().all(|other| key(other) != key(&row)) {
            self.spare_step += 1;
            self.rows.steps.push(row);
        }
        Some(())
    }

    fn stale_step(&mut self) {
        let (now, initiated) = (self.plan.taken_at(), self.rows.initiated);
        let started = Micros((now.0 - 3 * 86_400_000_000).max(initiated.0));
        self.add_step("query", |row, _| {
            (row.substep, row.lead_hours, row.status) = (Some("resume"), Some(0), "in_progress");
            (row.started_at, row.completed_at) = (Some(started), None);
        });
    }

    /// The step that scored one lead was never written.
    fn lose_step(&mut self) {
        let scored = |row: &StepRow| row.step_name == "era5" && row.lead_hours > Some(0) && row.status == "succeeded";
        let scored: Vec<usize> = (0..self.rows.steps.len()).filter(|&at| scored(&self.rows.steps[at])).collect();
        if !scored.is_empty() {
            self.rows.steps.remove(*self.chance.of(&scored));
        }
    }

    fn responses(&mut self) {
        let count = self.rows.responses.len();
        if count == 0 {
            return;
        }
        let row = &mut self.rows.responses[self.chance.below(count)];
        if let Some(started) = row.inference_started_at {
            row.inference_completed_at = Some(plus(started, -90.0));
        }
        let row = &mut self.rows.responses[self.chance.below(count)];
        row.error_message.get_or_insert_default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Generator, Plan};

    #[test]
    fn spare_ids_suffice_for_the_largest_run_and_the_smallest() {
        for miners in [1, 12, 256] {
            let plan = Plan { runs: 3, miners, messy: true, ..Plan::default() };
            let strides = plan.strides();
            let generator = Generator::new(plan).unwrap();
            for index in 0..2 {
                let rows = generator.rows(index);
                let ids: BTreeSet<i64> = rows.scores.iter().map(|row| row.id).collect();
                assert_eq!(ids.len(), rows.scores.len());
                assert!(*ids.last().unwrap() <= strides.scores * (index as i64 + 1), "{miners}");
                assert!(rows.steps.iter().all(|row| row.id <= strides.steps * (index as i64 + 1)), "{miners}");
                assert!(rows.components.iter().all(|row| row.id <= strides.components * (index as i64 + 1)), "{miners}");
            }
        }
    }

    #[test]
    fn what_the_unique_constraints_refuse_does_not_occur() {
        let generator = Generator::new(Plan { runs: 4, miners: 40, messy: true, ..Plan::default() }).unwrap();
        for index in 0..4 {
            let rows = generator.rows(index);
            let scores = rows.scores.iter().filter_map(|row| {
                Some((row.response_id, row.score_type, row.lead_hours?, row.variable_level?, row.valid_time_utc?))
            });
            let keys: Vec<_> = scores.collect();
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
            let components = rows.components.iter().filter_map(|row| {
                Some((row.response_id, row.score_type, row.lead_hours, row.variable_name, row.pressure_level?))
            });
            let keys: Vec<_> = components.collect();
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
            let steps = rows.steps.iter().filter_map(|row| Some((row.miner_uid, row.step_name, row.substep?, row.lead_hours?)));
            let keys: Vec<_> = steps.collect();
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        }
    }
}
