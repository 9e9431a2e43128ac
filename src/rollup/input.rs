//! I1–I6 and L: the score rows of a run, down to each miner's leads.

use arrow::array::{Array, Float64Array, Int32Array};

use crate::model::evidence::{RunEvidence, SCORES};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::sanitize::sanitize;
use crate::model::time::Micros;

use super::Rules;
use super::identity::{EMPTY, Identities};
use super::kind::{self, Kind, ValueKind};
use super::lead::{LeadParts, LeadValues};
use super::roster::Roster;
use super::views::{Codes, Columns, float_at, int_at};

/// What the scores of one miner in one run come to.
#[derive(Debug, Default)]
pub struct MinerScores {
    /// R2
    pub day1: Option<f64>,
    /// One for each expected lead; `None` where no value is left.
    pub leads: Vec<Option<Lead>>,
    /// M5: the greatest `calculation_time` among the scores left in the expected leads.
    pub last_calculation: Option<Micros>,
}

/// A lead with values.
#[derive(Debug, Clone, Copy)]
pub struct Lead {
    pub parts: LeadParts,
    /// L4, where the lead is scored (L1); `None` for a partial lead.
    pub score: Option<f64>,
}

/// The part of I3's identity that is not the miner, in codes; NULL is -1, a NULL lead `i64::MIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    score_type: i32,
    lead: i64,
    level: i32,
}

const NULL_LEAD: i64 = i64::MIN;

/// What the rows of a shape count for (I5).
enum Role {
    Day1,
    Value { value: ValueKind, lead: usize, variable: usize, mismatch: bool },
    Aside { value: ValueKind, code: Code, mismatch: bool },
}

struct Rows<'a> {
    run: RunId,
    id: &'a [i64],
    response: &'a [i64],
    miner: &'a [i32],
    hotkey: Codes<'a>,
    score_type: Codes<'a>,
    time: &'a [i64],
    score: &'a Float64Array,
    lead: &'a Int32Array,
    level: Codes<'a>,
}

impl<'a> Rows<'a> {
    fn new(evidence: &'a RunEvidence) -> Self {
        let columns = Columns(&evidence.scores);
        Rows {
            run: evidence.run.id,
            id: columns.id("id").values(),
            response: columns.id("response_id").values(),
            miner: columns.int32("miner_uid").values(),
            hotkey: columns.codes("miner_hotkey"),
            score_type: columns.codes("score_type"),
            time: columns.time("calculation_time").values(),
            score: columns.float("score"),
            lead: columns.int32("lead_hours"),
            level: columns.codes("variable_level"),
        }
    }

    fn shape(&self, row: usize) -> Shape {
        let lead = if self.lead.is_null(row) { NULL_LEAD } else { self.lead.value(row).into() };
        Shape { score_type: self.score_type.code(row), lead, level: self.level.code(row) }
    }

    fn later(&self, a: usize, b: usize) -> bool {
        (self.time[a], self.id[a]) > (self.time[b], self.id[b])
    }

    fn finding(&self, code: Code, row: usize, detail: String) -> Finding {
        Finding {
            code,
            run: Some(self.run),
            miner: Some(MinerUid(self.miner[row])),
            lead: int_at(self.lead, row).map(LeadHours),
            table: SCORES.name,
            row_id: Some(self.id[row]),
            detail,
        }
    }

    fn type_of(&self, row: usize) -> String {
        sanitize(self.score_type.get(row).unwrap_or_default())
    }
}

/// I1–I6, L: the scores of each miner of the roster, in its order.
pub fn scores(evidence: &RunEvidence, roster: &Roster<'_>, rules: &Rules, findings: &mut Vec<Finding>) -> Vec<MinerScores> {
    let rows = Rows::new(evidence);
    let kinds: Vec<Kind<'_>> = rows.score_type.values.iter().map(|name| kind::parse(name.unwrap_or_default())).collect();
    let identities = winners(&rows, &kinds, roster, findings);
    let roles: Vec<Role> = identities.shapes.iter().map(|shape| role(shape, &kinds, rules)).collect();
    let mut gather = Gather::new(&rows, rules, findings);
    (0..roster.len()).map(|miner| gather.miner(miner, roster, &identities, &roles)).collect()
}

/// I1, I2, I3: the winning row of each identity.
fn winners(rows: &Rows<'_>, kinds: &[Kind<'_>], roster: &Roster<'_>, findings: &mut Vec<Finding>) -> Identities<Shape> {
    let mut identities = Identities::new(roster.len());
    let is_score: Vec<bool> = kinds.iter().map(|kind| matches!(kind, Kind::Era5 { .. } | Kind::Day1)).collect();
    // A miner's rows mostly stand side by side.
    let mut last = None;
    for row in 0..rows.id.len() {
        let shape = rows.shape(row);
        if !is_score[shape.score_type as usize] {
            if kinds[shape.score_type as usize] == Kind::Unknown {
                findings.push(rows.finding(Code::UnknownScoreType, row, rows.type_of(row)));
            }
            continue;
        }
        let whose = (rows.miner[row], rows.response[row]);
        let known = last.filter(|(last, _)| *last == whose).map(|(_, miner)| miner);
        let Some(miner) = known.or_else(|| roster.isolated(whose.0, whose.1)) else {
            findings.push(rows.finding(Code::OrphanScore, row, format!("response {}", rows.response[row])));
            continue;
        };
        last = Some((whose, miner));
        let slot = identities.slot(shape, miner);
        if *slot == EMPTY {
            *slot = row as u32;
            continue;
        }
        let known = *slot as usize;
        let loser = if rows.later(row, known) { known } else { row };
        *slot = (row + known - loser) as u32;
        findings.push(rows.finding(Code::DuplicateScore, loser, String::new()));
    }
    identities
}

/// I5, which depends on the shape alone.
fn role(shape: &Shape, kinds: &[Kind<'_>], rules: &Rules) -> Role {
    let Kind::Era5 { value, variable, name_lead } = kinds[shape.score_type as usize] else {
        return Role::Day1;
    };
    let column_lead = i32::try_from(shape.lead).ok();
    let mismatch = column_lead.is_none() || column_lead != name_lead;
    let lead = column_lead.and_then(|lead| rules.lead_index(lead));
    match (lead, rules.variable_index(variable)) {
        (None, _) => Role::Aside { value, code: Code::UnexpectedLead, mismatch },
        (_, None) => Role::Aside { value, code: Code::UnexpectedVariable, mismatch },
        (Some(lead), Some(variable)) => Role::Value { value, lead, variable, mismatch },
    }
}

/// Collects one miner after the other; the buffers are reused.
struct Gather<'r, 'a> {
    rows: &'r Rows<'a>,
    rules: &'r Rules,
    findings: &'r mut Vec<Finding>,
    values: Vec<LeadValues>,
    /// The last miner (from 1) that had a value of the variable, by lead and variable.
    seen: Vec<usize>,
}

impl<'r, 'a> Gather<'r, 'a> {
    fn new(rows: &'r Rows<'a>, rules: &'r Rules, findings: &'r mut Vec<Finding>) -> Self {
        let leads = rules.leads().len();
        Gather {
            rows,
            rules,
            findings,
            values: (0..leads).map(|_| LeadValues::default()).collect(),
            seen: vec![0; leads * rules.scoring.expected_variables.len()],
        }
    }

    fn miner(&mut self, miner: usize, roster: &Roster<'_>, identities: &Identities<Shape>, roles: &[Role]) -> MinerScores {
        let Some(response) = roster.responses[miner] else {
            return MinerScores { leads: vec![None; self.values.len()], ..MinerScores::default() };
        };
        self.values.iter_mut().for_each(LeadValues::clear);
        let (mut day1, mut last_calculation) = (None::<usize>, None);
        let mut own_hotkey = None;
        for (shape, role) in roles.iter().enumerate() {
            let Some(row) = identities.winner(shape, miner) else { continue };
            let Some(score) = self.valid(row, role) else { continue };
            self.check_hotkey(row, response.hotkey, &mut own_hotkey);
            match *role {
                Role::Day1 => {
                    if day1.is_none_or(|known| self.rows.later(row, known)) {
                        day1 = Some(row);
                    }
                }
                Role::Aside { code, mismatch, .. } => {
                    self.check_mismatch(row, mismatch);
                    self.findings.push(self.rows.finding(code, row, self.rows.type_of(row)));
                }
                Role::Value { value, lead, variable, mismatch } => {
                    self.check_mismatch(row, mismatch);
                    self.take(row, score, value, lead);
                    self.seen[lead * self.rules.scoring.expected_variables.len() + variable] = miner + 1;
                    last_calculation = last_calculation.max(Some(Micros(self.rows.time[row])));
                }
            }
        }
        let leads = (0..self.values.len()).map(|lead| self.lead(lead, miner, roster)).collect();
        MinerScores { day1: day1.map(|row| self.rows.score.value(row)), leads, last_calculation }
    }

    /// I4
    fn valid(&mut self, row: usize, role: &Role) -> Option<f64> {
        let rmse = matches!(role, Role::Value { value: ValueKind::Rmse, .. } | Role::Aside { value: ValueKind::Rmse, .. });
        let score = float_at(self.rows.score, row).filter(|score| score.is_finite() && !(rmse && *score < 0.0));
        if score.is_none() {
            self.findings.push(self.rows.finding(Code::InvalidScore, row, self.rows.type_of(row)));
        }
        score
    }

    /// `own` is the code of the response's hotkey, once met.
    #[inline]
    fn check_hotkey(&mut self, row: usize, hotkey: &str, own: &mut Option<i32>) {
        let code = self.rows.hotkey.code(row);
        if *own == Some(code) {
            return;
        }
        if self.rows.hotkey.get(row) == Some(hotkey) {
            *own = Some(code);
        } else {
            self.findings.push(self.rows.finding(Code::HotkeyChanged, row, String::new()));
        }
    }

    #[inline]
    fn check_mismatch(&mut self, row: usize, mismatch: bool) {
        if mismatch {
            self.findings.push(self.rows.finding(Code::LeadMismatch, row, self.rows.type_of(row)));
        }
    }

    /// I6, and the value into its lead.
    fn take(&mut self, row: usize, score: f64, value: ValueKind, lead: usize) {
        let values = &mut self.values[lead];
        let (bucket, in_range) = match value {
            ValueKind::Skill => (&mut values.skill, score <= 1.0),
            ValueKind::Acc => (&mut values.acc, (-1.0..=1.0).contains(&score)),
            ValueKind::Rmse => (&mut values.rmse, true),
        };
        bucket.push(score);
        if !in_range {
            self.findings.push(self.rows.finding(Code::OutOfRangeScore, row, self.rows.type_of(row)));
        }
    }

    /// L1, L2–L4
    fn lead(&mut self, lead: usize, miner: usize, roster: &Roster<'_>) -> Option<Lead> {
        let variables = self.rules.scoring.expected_variables.len();
        let seen = self.seen[lead * variables..][..variables].iter().filter(|&&last| last == miner + 1).count();
        if seen == 0 {
            return None;
        }
        let parts = self.values[lead].parts();
        if seen == variables {
            return Some(Lead { parts, score: parts.score() });
        }
        self.findings.push(Finding {
            code: Code::PartialLead,
            run: Some(self.rows.run),
            miner: Some(roster.uid(miner)),
            lead: Some(self.rules.leads()[lead]),
            table: SCORES.name,
            row_id: None,
            detail: format!("{seen} of {variables} variables"),
        });
        Some(Lead { parts, score: None })
    }
}
