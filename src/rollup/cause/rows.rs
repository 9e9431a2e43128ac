//! The rows that name a miner of a run, whatever section 2 makes of them, and what the rules give over a choice of them.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::Array;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::model::evidence::RunEvidence;
use crate::rollup::Rules;
use crate::rollup::exact::{mean, output, sum};
use crate::rollup::kind::{self, Kind, ValueKind};
use crate::rollup::lead::LeadValues;
use crate::rollup::roster::Roster;
use crate::rollup::run::overall;
use crate::rollup::views::{Columns, float_at};

/// What a score row measures (I1).
#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Day1,
    Lead {
        value: ValueKind,
        /// I5; `None` for NULL.
        lead: Option<i32>,
        /// `None` where it is not expected.
        variable: Option<usize>,
    },
}

#[derive(Clone)]
struct Score {
    measure: Measure,
    /// I3's identity within the miner, and whether I2 sets the row aside.
    identity: (bool, i32, i64, i32),
    /// The order of "latest".
    order: (i64, i64),
    value: Option<f64>,
}

#[derive(Clone)]
struct Component {
    is_day1: bool,
    identity: (bool, i32, i32, i32, i64),
    order: (i64, i64),
    values: [Option<f64>; 3],
}

/// All rows of kinds that I1 knows, and all component rows of `era5` and `day1`, in order of identity and then of age.
#[derive(Clone, Default)]
pub struct MinerRows {
    scores: Vec<Score>,
    components: Vec<Component>,
}

/// Which rows are counted. The default is what the rules say.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Choice {
    /// Only what had come by then.
    pub until: Option<i64>,
    /// I3 is left out.
    pub repeated: bool,
    /// I2 is left out.
    pub orphans: bool,
    /// I5 is left out for variables.
    pub variables: bool,
    /// I5 is left out for leads.
    pub leads: bool,
    /// L1 is left out.
    pub partial: bool,
}

impl Choice {
    /// What the rules say, and then every choice that leaves out one or more of those left out here.
    pub fn subsets(self) -> Vec<Choice> {
        let mut choices = vec![Choice::default()];
        let mut leave_out = |any: bool, rule: fn(&mut Choice) -> &mut bool| {
            let more: Vec<Choice> = choices.iter().filter(|_| any).copied().collect();
            choices.extend(more.into_iter().map(|mut choice| {
                *rule(&mut choice) = true;
                choice
            }));
        };
        leave_out(self.partial, |choice| &mut choice.partial);
        leave_out(self.variables, |choice| &mut choice.variables);
        leave_out(self.leads, |choice| &mut choice.leads);
        leave_out(self.orphans, |choice| &mut choice.orphans);
        leave_out(self.repeated, |choice| &mut choice.repeated);
        choices
    }
}

/// What the columns of a row are made of.
#[derive(Debug, Default, PartialEq)]
pub struct Parts {
    /// L, by lead.
    pub leads: BTreeMap<i32, f64>,
    pub day1: Option<f64>,
    /// R5: RMSE, ACC, skill.
    pub averages: [Option<f64>; 3],
}

/// The rows of these miners of a run.
pub fn rows_of(evidence: &RunEvidence, rules: &Rules, miners: &BTreeSet<i32>) -> BTreeMap<i32, MinerRows> {
    let roster = Roster::new(evidence, std::iter::empty());
    let mut rows: BTreeMap<i32, MinerRows> = miners.iter().map(|miner| (*miner, MinerRows::default())).collect();
    scores(evidence, rules, &roster, &mut rows);
    components(evidence, &roster, &mut rows);
    for rows in rows.values_mut() {
        rows.scores.sort_by_key(|score| (score.identity, score.order));
        rows.components.sort_by_key(|component| (component.identity, component.order));
    }
    rows
}

fn scores(evidence: &RunEvidence, rules: &Rules, roster: &Roster<'_>, rows: &mut BTreeMap<i32, MinerRows>) {
    let columns = Columns(&evidence.scores);
    let (ids, miners) = (columns.ids(), columns.repeated::<Int32Type>("miner_uid"));
    let responses = columns.repeated::<Int64Type>("response_id");
    let (kinds, levels) = (columns.codes("score_type"), columns.codes("variable_level"));
    let leads = columns.repeated::<Int32Type>("lead_hours");
    let times = columns.repeated::<TimestampMicrosecondType>("calculation_time");
    let values = columns.float("score");
    let parsed: Vec<Kind<'_>> = kinds.values.iter().map(|name| kind::parse(name.unwrap_or_default())).collect();
    for index in 0..evidence.scores.num_rows() {
        let miner = miners.value(index);
        let Some(rows) = rows.get_mut(&miner) else { continue };
        let code = kinds.code(index);
        let lead = leads.get(index);
        let measure = match usize::try_from(code).map(|code| &parsed[code]) {
            Ok(Kind::Day1) => Measure::Day1,
            Ok(Kind::Era5 { value, variable, .. }) => {
                Measure::Lead { value: *value, lead, variable: rules.variable_index(variable) }
            }
            _ => continue,
        };
        let is_orphan = roster.isolated(miner, responses.value(index)).is_none();
        rows.scores.push(Score {
            measure,
            identity: (is_orphan, code, lead.map_or(i64::MIN, i64::from), levels.code(index)),
            order: (times.value(index), ids.id(index)),
            value: float_at(values, index),
        });
    }
}

fn components(evidence: &RunEvidence, roster: &Roster<'_>, rows: &mut BTreeMap<i32, MinerRows>) {
    let columns = Columns(&evidence.components);
    let (ids, miners) = (columns.id("id").values(), columns.int32("miner_uid").values());
    let (responses, leads) = (columns.id("response_id").values(), columns.int32("lead_hours").values());
    let (kinds, variables) = (columns.codes("score_type"), columns.codes("variable_name"));
    let (levels, times) = (columns.int32("pressure_level"), columns.time("calculated_at").values());
    let values = ["rmse", "acc", "skill_score"].map(|name| columns.float(name));
    for index in 0..ids.len() {
        let Some(rows) = rows.get_mut(&miners[index]) else { continue };
        let is_day1 = match kinds.get(index) {
            Some("era5") => false,
            Some("day1") => true,
            _ => continue,
        };
        let level = if levels.is_null(index) { i64::MIN } else { levels.value(index).into() };
        let is_orphan = roster.isolated(miners[index], responses[index]).is_none();
        rows.components.push(Component {
            is_day1,
            identity: (is_orphan, kinds.code(index), leads[index], variables.code(index), level),
            order: (times[index], ids[index]),
            values: values.map(|column| float_at(column, index)),
        });
    }
}

/// Of rows in order of identity and age, those that are chosen: the latest of each identity, or all.
fn chosen<'r, R, I: PartialEq>(
    rows: &'r [R],
    choice: Choice,
    identity: impl Fn(&R) -> I + Copy + 'r,
    time: impl Fn(&R) -> i64 + Copy + 'r,
) -> impl Iterator<Item = &'r R> {
    rows.chunk_by(move |a, b| identity(a) == identity(b)).flat_map(move |alike| {
        let come = choice.until.map_or(alike.len(), |until| alike.partition_point(|row| time(row) <= until));
        let first = if choice.repeated { 0 } else { come.saturating_sub(1) };
        &alike[first..come]
    })
}

impl MinerRows {
    /// The values over a choice of rows.
    pub fn parts(&self, choice: Choice, rules: &Rules) -> Parts {
        let mut parts = Parts { averages: self.averages(choice), ..Parts::default() };
        let mut leads: BTreeMap<i32, (LeadValues, BTreeSet<usize>)> = BTreeMap::new();
        let mut day1: Option<((i64, i64), f64)> = None;
        for score in chosen(&self.scores, choice, |score| score.identity, |score| score.order.0) {
            let Some(x) = score.value.filter(|x| x.is_finite() && (choice.orphans || !score.identity.0)) else { continue };
            match score.measure {
                Measure::Day1 => day1 = day1.filter(|(order, _)| *order > score.order).or(Some((score.order, x))),
                Measure::Lead { value, lead: Some(lead), variable } => {
                    let is_aside = (variable.is_none() && !choice.variables)
                        || (rules.lead_index(lead).is_none() && !choice.leads)
                        || (value == ValueKind::Rmse && x < 0.0);
                    if is_aside {
                        continue;
                    }
                    let (values, seen) = leads.entry(lead).or_default();
                    seen.extend(variable);
                    match value {
                        ValueKind::Skill => values.skill.push(x),
                        ValueKind::Acc => values.acc.push(x),
                        ValueKind::Rmse => values.rmse.push(x),
                    }
                }
                Measure::Lead { lead: None, .. } => {}
            }
        }
        let expected = rules.scoring.expected_variables.len();
        for (lead, (mut values, seen)) in leads {
            if choice.partial || seen.len() == expected {
                parts.leads.extend(values.parts().score().and_then(output).map(|score| (lead, score)));
            }
        }
        parts.day1 = day1.and_then(|(_, score)| output(score));
        parts
    }

    /// R5
    fn averages(&self, choice: Choice) -> [Option<f64>; 3] {
        let rows: Vec<&Component> =
            chosen(&self.components, choice, |component| component.identity, |component| component.order.0)
                .filter(|component| choice.orphans || !component.identity.0)
                .collect();
        let has_era5 = rows.iter().any(|component| !component.is_day1);
        let taken = |component: &&&Component| choice.partial || component.is_day1 != has_era5;
        [0, 1, 2].map(|at| {
            let values: Vec<f64> =
                rows.iter().filter(taken).filter_map(|component| component.values[at].filter(|x| x.is_finite())).collect();
            mean(&values).and_then(output)
        })
    }

    /// Those that a column is made of.
    pub fn of(&self, column: Made) -> MinerRows {
        let scores = self.scores.iter().filter(|score| column.takes(score.measure)).cloned();
        match column {
            Made::Average(_) => MinerRows { scores: Vec::new(), components: self.components.clone() },
            _ => MinerRows { scores: scores.collect(), components: Vec::new() },
        }
    }

    /// Which rules set any row aside.
    pub fn aside(&self, rules: &Rules) -> Choice {
        let measures = |of: fn(Option<i32>, Option<usize>, &Rules) -> bool| {
            self.scores
                .iter()
                .any(|score| matches!(score.measure, Measure::Lead { lead, variable, .. } if of(lead, variable, rules)))
        };
        let [variables, leads] = [
            measures(|_, variable, _| variable.is_none()),
            measures(|lead, _, rules| lead.is_some_and(|lead| rules.lead_index(lead).is_none())),
        ];
        let [all, scored] = [true, false].map(|partial| self.parts(Choice { partial, ..Choice::default() }, rules));
        Choice {
            until: None,
            repeated: self.scores.windows(2).any(|pair| pair[0].identity == pair[1].identity)
                || self.components.windows(2).any(|pair| pair[0].identity == pair[1].identity),
            orphans: self.scores.iter().any(|score| score.identity.0) || self.components.iter().any(|row| row.identity.0),
            variables,
            leads,
            // A lead may have nothing but what other rules set aside.
            partial: all != scored || variables || leads,
        }
    }

    /// When the rows came, the latest first, each time once.
    pub fn times(&self) -> Vec<i64> {
        let scores = self.scores.iter().map(|score| score.order.0);
        let mut times: Vec<i64> = scores.chain(self.components.iter().map(|component| component.order.0)).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.dedup();
        times
    }

    /// How many of the rows that count came after this.
    pub fn later(&self, until: i64) -> u32 {
        let all = Choice::default();
        let scores = chosen(&self.scores, all, |row| row.identity, |row| row.order.0);
        let components = chosen(&self.components, all, |row| row.identity, |row| row.order.0);
        let scores = scores.filter(|row| !row.identity.0 && row.order.0 > until).count();
        let components = components.filter(|row| !row.identity.0 && row.order.0 > until).count();
        u32::try_from(scores + components).unwrap_or(u32::MAX)
    }

    /// The Day-1 scores that are set aside, as they were read.
    pub fn day1_aside(&self) -> impl Iterator<Item = f64> {
        let aside = |score: &&Score| score.identity.0 || score.value.is_some_and(|x| !x.is_finite());
        self.scores.iter().filter(|score| score.measure == Measure::Day1).filter(aside).filter_map(|score| score.value)
    }
}

/// The score columns of a row, by what they are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Made {
    Lead(i32),
    Combined,
    Completeness,
    Day1,
    Overall,
    /// R5: which of RMSE, ACC, skill.
    Average(usize),
}

impl Made {
    pub fn of(column: &str) -> Option<Made> {
        Some(match column {
            "era5_combined_score" => Made::Combined,
            "era5_completeness" => Made::Completeness,
            "forecast_score_initial" => Made::Day1,
            "overall_forecast_score" => Made::Overall,
            "avg_rmse" => Made::Average(0),
            "avg_acc" => Made::Average(1),
            "avg_skill_score" => Made::Average(2),
            name => Made::Lead(crate::model::columns::wide_lead(name)?.0),
        })
    }

    fn takes(self, measure: Measure) -> bool {
        match (self, measure) {
            (Made::Lead(hours), Measure::Lead { lead, .. }) => lead == Some(hours),
            (Made::Combined | Made::Completeness, Measure::Lead { .. }) | (Made::Day1, Measure::Day1) | (Made::Overall, _) => {
                true
            }
            _ => false,
        }
    }
}

impl Parts {
    /// The value of a column, with this many leads as R3's divisor.
    pub fn cell(&self, column: Made, leads: usize, rules: &Rules) -> Option<f64> {
        match column {
            Made::Lead(hours) => self.leads.get(&hours).copied(),
            Made::Combined => self.combined(leads),
            Made::Completeness => output(self.leads.len() as f64 / leads as f64),
            Made::Day1 => self.day1,
            Made::Overall => overall(self.combined(leads), self.day1, rules).and_then(output),
            Made::Average(which) => self.averages[which],
        }
    }

    /// R3
    fn combined(&self, leads: usize) -> Option<f64> {
        let scores: Vec<f64> = self.leads.values().copied().collect();
        (!scores.is_empty()).then(|| sum(&scores) / leads as f64).and_then(output)
    }
}
