//! R5: the averages of each miner's component rows in a run.

#[cfg(test)]
mod tests;

use arrow_array::{Array, Float64Array, Int32Array};

use crate::model::evidence::{COMPONENTS, RunEvidence};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};

use super::Scratch;
use super::exact::mean;
use super::identity::{ScoreRows, winners};
use super::roster::Roster;
use super::views::{Codes, Columns, float_at};

/// R5: means of the finite values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Averages {
    pub rmse: Option<f64>,
    pub acc: Option<f64>,
    pub skill: Option<f64>,
}

/// The part of I3's identity that is not the miner; a NULL level is `i64::MIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    score_type: i32,
    lead: i32,
    variable: i32,
    level: i64,
}

struct ComponentColumns<'a> {
    run: RunId,
    id: &'a [i64],
    response: &'a [i64],
    miner: &'a [i32],
    score_type: Codes<'a>,
    lead: &'a [i32],
    variable: Codes<'a>,
    level: &'a Int32Array,
    time: &'a [i64],
    rmse: &'a Float64Array,
    acc: &'a Float64Array,
    skill: &'a Float64Array,
}

impl<'a> ComponentColumns<'a> {
    fn new(evidence: &'a RunEvidence) -> Self {
        let columns = Columns(&evidence.components);
        ComponentColumns {
            run: evidence.run.id,
            id: columns.id("id").values(),
            response: columns.id("response_id").values(),
            miner: columns.int32("miner_uid").values(),
            score_type: columns.codes("score_type"),
            lead: columns.int32("lead_hours").values(),
            variable: columns.codes("variable_name"),
            level: columns.int32("pressure_level"),
            time: columns.time("calculated_at").values(),
            rmse: columns.float("rmse"),
            acc: columns.float("acc"),
            skill: columns.float("skill_score"),
        }
    }
}

impl ScoreRows for ComponentColumns<'_> {
    type Shape = Shape;

    fn count(&self) -> usize {
        self.id.len()
    }

    fn shape(&self, row: usize) -> Shape {
        Shape {
            score_type: self.score_type.code(row),
            lead: self.lead[row],
            variable: self.variable.code(row),
            level: if self.level.is_null(row) { i64::MIN } else { self.level.value(row).into() },
        }
    }

    fn owner(&self, row: usize) -> (i32, i64) {
        (self.miner[row], self.response[row])
    }

    fn order(&self, row: usize) -> (i64, i64) {
        (self.time[row], self.id[row])
    }

    fn finding(&self, code: Code, row: usize, detail: String) -> Finding {
        Finding {
            code,
            run: Some(self.run),
            miner: Some(MinerUid(self.miner[row])),
            lead: Some(LeadHours(self.lead[row])),
            table: COMPONENTS.name,
            row_id: Some(self.id[row]),
            detail,
        }
    }
}

/// R5: the averages of each miner of the roster, in its order.
pub fn averages(
    evidence: &RunEvidence,
    roster: &Roster<'_>,
    findings: &mut Vec<Finding>,
    scratch: &mut Scratch,
) -> Vec<Averages> {
    let rows = ComponentColumns::new(evidence);
    let identities = winners(&rows, roster, &mut scratch.slots, findings, |_, _, _| true);
    let of_type = |name: &str| -> Vec<usize> {
        let shapes = identities.shapes().iter().enumerate();
        shapes.filter(|(_, shape)| rows.score_type.of_code(shape.score_type) == name).map(|(index, _)| index).collect()
    };
    let (era5, day1) = (of_type("era5"), of_type("day1"));
    let mut values = [const { Vec::new() }; 3];
    (0..roster.len())
        .map(|miner| {
            let has_era5 = era5.iter().any(|&shape| identities.winner(shape, miner).is_some());
            let shapes = if has_era5 { &era5 } else { &day1 };
            values.iter_mut().for_each(Vec::clear);
            for row in shapes.iter().filter_map(|&shape| identities.winner(shape, miner)) {
                for (bucket, column) in values.iter_mut().zip([rows.rmse, rows.acc, rows.skill]) {
                    bucket.extend(float_at(column, row).filter(|x| x.is_finite()));
                }
            }
            let [rmse, acc, skill] = &values;
            Averages { rmse: mean(rmse), acc: mean(acc), skill: mean(skill) }
        })
        .collect()
}
