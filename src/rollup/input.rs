//! I1–I6 and L: the score rows of a run, down to each miner's leads.

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use std::ops::Range;

use arrow_array::Float64Array;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::model::evidence::{RunEvidence, SCORES};
use crate::model::finding::{Code, Finding};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::sanitize::sanitize;
use crate::model::time::Micros;

use super::identity::{ScoreRows, Shapes, winners};
use super::kind::{self, Kind, ValueKind};
use super::lead::{LeadParts, LeadValues};
use super::pattern::Pattern;
use super::repeated::{Ids, Repeated};
use super::roster::Roster;
use super::views::{Codes, Columns, float_at};
use super::{Rules, Scratch};

/// The scores of one miner in one run, as the rules use them.
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
pub(super) struct Shape {
    score_type: i32,
    lead: i64,
    level: i32,
}

const NULL_LEAD: i64 = i64::MIN;

/// What the rows of a shape count for (I1, I5).
#[derive(Clone, Copy)]
pub(super) enum Role {
    Day1,
    Value {
        value: ValueKind,
        lead: usize,
        variable: usize,
        mismatch: bool,
    },
    Aside {
        value: ValueKind,
        code: Code,
        mismatch: bool,
    },
    /// Of a kind that no rule knows.
    Unknown,
    /// Of a kind that no rule takes.
    Ignored,
}

pub(super) struct ScoreColumns<'a> {
    run: RunId,
    count: usize,
    id: Ids<'a>,
    response: Repeated<'a, Int64Type>,
    miner: Repeated<'a, Int32Type>,
    pub(super) hotkey: Codes<'a>,
    pub(super) score_type: Codes<'a>,
    pub(super) time: Repeated<'a, TimestampMicrosecondType>,
    pub(super) score: &'a Float64Array,
    pub(super) lead: Repeated<'a, Int32Type>,
    pub(super) level: Codes<'a>,
}

impl<'a> ScoreColumns<'a> {
    fn new(evidence: &'a RunEvidence) -> Self {
        let columns = Columns(&evidence.scores);
        ScoreColumns {
            run: evidence.run.id,
            count: evidence.scores.num_rows(),
            id: columns.ids(),
            response: columns.repeated("response_id"),
            miner: columns.repeated("miner_uid"),
            hotkey: columns.codes("miner_hotkey"),
            score_type: columns.codes("score_type"),
            time: columns.repeated("calculation_time"),
            score: columns.float("score"),
            lead: columns.repeated("lead_hours"),
            level: columns.codes("variable_level"),
        }
    }

    fn later(&self, a: usize, b: usize) -> bool {
        self.order(a) > self.order(b)
    }

    /// I1: a row of a kind that no rule knows.
    fn unknown(&self, row: usize) -> Finding {
        self.finding(Code::UnknownScoreType, row, self.type_of(row))
    }

    fn type_of(&self, row: usize) -> String {
        sanitize(self.score_type.get(row).unwrap_or_default())
    }
}

impl ScoreRows for ScoreColumns<'_> {
    type Shape = Shape;

    fn count(&self) -> usize {
        self.count
    }

    fn shape(&self, row: usize) -> Shape {
        let lead = self.lead.get(row).map_or(NULL_LEAD, i64::from);
        Shape { score_type: self.score_type.code(row), lead, level: self.level.code(row) }
    }

    fn owner(&self, row: usize) -> (i32, i64) {
        (self.miner.value(row), self.response.value(row))
    }

    fn order(&self, row: usize) -> (i64, i64) {
        (self.time.value(row), self.id.id(row))
    }

    fn finding(&self, code: Code, row: usize, detail: String) -> Finding {
        Finding {
            code,
            run: Some(self.run),
            miner: Some(MinerUid(self.miner.value(row))),
            lead: self.lead.get(row).map(LeadHours),
            table: SCORES.name,
            row_id: Some(self.id.id(row)),
            detail,
        }
    }
}

/// I1–I6, L: the scores of each miner of the roster, in its order.
pub fn scores(
    evidence: &RunEvidence,
    roster: &Roster<'_>,
    rules: &Rules,
    findings: &mut Vec<Finding>,
    scratch: &mut Scratch,
) -> Vec<MinerScores> {
    let rows = ScoreColumns::new(evidence);
    let kinds: Vec<Kind<'_>> = rows.score_type.values.iter().map(|name| kind::parse(name.unwrap_or_default())).collect();
    let before = findings.len();
    if let Some(scores) = side_by_side(&kinds, &mut Gather::new(&rows, roster, rules, findings)) {
        return scores;
    }
    findings.truncate(before);
    in_any_order(&kinds, &mut Gather::new(&rows, roster, rules, findings), scratch)
}

/// One walk over rows as they mostly are: those of a miner follow one another, and no identity repeats, so that I3 has nothing to
/// decide. `None` where they are not so.
fn side_by_side(kinds: &[Kind<'_>], gather: &mut Gather<'_, '_>) -> Option<Vec<MinerScores>> {
    let (rows, roster) = (gather.rows, gather.roster);
    let mut walk = Walk { kinds, shapes: Shapes::default(), known: Vec::new(), roles: Vec::new() };
    let mut pattern: Option<Pattern> = None;
    let mut scores: Vec<Option<MinerScores>> = roster.uids.iter().map(|_| None).collect();
    let mut start = 0;
    while start < rows.count {
        let owner = rows.owner(start);
        let end = rows.miner.end(start).min(rows.response.end(start));
        let miner = roster.isolated(owner.0, owner.1);
        if miner.is_some_and(|miner| scores[miner].is_some()) {
            return None;
        }
        let alike = |pattern: &Pattern| miner.is_some_and(|miner| gather.alike(miner, pattern, start, end));
        if !pattern.as_ref().is_some_and(alike) {
            walk.rows(miner, start..end, gather)?;
            pattern = miner.and_then(|_| Pattern::of(start, &walk.roles)).or(pattern);
        }
        if let Some(miner) = miner {
            scores[miner] = Some(gather.end());
        }
        start = end;
    }
    Some(scores.into_iter().map(|scores| scores.unwrap_or_else(|| gather.nothing())).collect())
}

/// What a walk over the rows has learnt.
struct Walk<'k> {
    kinds: &'k [Kind<'k>],
    shapes: Shapes<Shape>,
    /// Of each shape: what it counts for, and the last miner (from 1) that had it.
    known: Vec<(Role, usize)>,
    /// Of the rows that it went through last.
    roles: Vec<Role>,
}

impl Walk<'_> {
    /// The rows of a miner, or (I2) of no response of the run; `None` where a score is there twice (I3).
    fn rows(&mut self, miner: Option<usize>, range: Range<usize>, gather: &mut Gather<'_, '_>) -> Option<()> {
        if let Some(miner) = miner {
            gather.begin(miner);
        }
        self.roles.clear();
        for row in range {
            let (role, last) = self.known(row, gather);
            match (role, miner) {
                (Role::Ignored, _) => {}
                (Role::Unknown, _) => gather.findings.push(gather.rows.unknown(row)),
                (_, None) => gather.findings.push(gather.rows.orphan(row)),
                (_, Some(miner)) if *last == miner + 1 => return None,
                (_, Some(miner)) => {
                    *last = miner + 1;
                    gather.row(row, &role);
                }
            }
            self.roles.push(role);
        }
        Some(())
    }

    fn known(&mut self, row: usize, gather: &Gather<'_, '_>) -> (Role, &mut usize) {
        let shape = gather.rows.shape(row);
        let place = self.shapes.place(shape);
        if place == self.known.len() {
            self.known.push((role(&shape, self.kinds, gather.rules), 0));
        }
        let (role, last) = &mut self.known[place];
        (*role, last)
    }
}

/// Rows in any order, repeated ones among them: first the winners (I3), then each miner's.
fn in_any_order(kinds: &[Kind<'_>], gather: &mut Gather<'_, '_>, scratch: &mut Scratch) -> Vec<MinerScores> {
    let (rows, roster) = (gather.rows, gather.roster);
    let counts = |row: usize, shape: &Shape, findings: &mut Vec<Finding>| match kinds[shape.score_type as usize] {
        Kind::Era5 { .. } | Kind::Day1 => true,
        Kind::Ignored => false,
        Kind::Unknown => {
            findings.push(rows.unknown(row));
            false
        }
    };
    let identities = winners(rows, roster, &mut scratch.slots, gather.findings, counts);
    let roles: Vec<Role> = identities.shapes().iter().map(|shape| role(shape, kinds, gather.rules)).collect();
    let of_miner = |miner: usize| {
        if roster.responses[miner].is_none() {
            return gather.nothing();
        }
        gather.begin(miner);
        for (shape, role) in roles.iter().enumerate() {
            if let Some(row) = identities.winner(shape, miner) {
                gather.row(row, role);
            }
        }
        gather.end()
    };
    (0..roster.len()).map(of_miner).collect()
}

/// I1 and I5, which depend on the shape alone.
fn role(shape: &Shape, kinds: &[Kind<'_>], rules: &Rules) -> Role {
    let (value, variable, name_lead) = match kinds[shape.score_type as usize] {
        Kind::Era5 { value, variable, name_lead } => (value, variable, name_lead),
        Kind::Day1 => return Role::Day1,
        Kind::Unknown => return Role::Unknown,
        Kind::Ignored => return Role::Ignored,
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
    rows: &'r ScoreColumns<'a>,
    roster: &'r Roster<'a>,
    rules: &'r Rules,
    findings: &'r mut Vec<Finding>,
    values: Vec<LeadValues>,
    /// The last miner (from 1) that had a value of the variable, by lead and variable.
    seen: Vec<usize>,
    miner: usize,
    hotkey: &'r str,
    /// The code of the response's hotkey, once met.
    own_hotkey: Option<i32>,
    day1: Option<usize>,
    last_calculation: Option<Micros>,
}

impl<'r, 'a> Gather<'r, 'a> {
    fn new(rows: &'r ScoreColumns<'a>, roster: &'r Roster<'a>, rules: &'r Rules, findings: &'r mut Vec<Finding>) -> Self {
        let leads = rules.leads().len();
        Gather {
            rows,
            roster,
            rules,
            findings,
            values: (0..leads).map(|_| LeadValues::default()).collect(),
            seen: vec![0; leads * rules.scoring.expected_variables.len()],
            miner: 0,
            hotkey: "",
            own_hotkey: None,
            day1: None,
            last_calculation: None,
        }
    }

    /// What a miner has that has no scores.
    fn nothing(&self) -> MinerScores {
        MinerScores { leads: vec![None; self.values.len()], ..MinerScores::default() }
    }

    fn begin(&mut self, miner: usize) {
        self.values.iter_mut().for_each(LeadValues::clear);
        self.miner = miner;
        self.hotkey = self.roster.responses[miner].map_or("", |response| response.hotkey);
        (self.own_hotkey, self.day1, self.last_calculation) = (None, None, None);
    }

    /// All rows of a miner at once, where they are like those of another and their values make no finding; else nothing is taken.
    fn alike(&mut self, miner: usize, pattern: &Pattern, start: usize, end: usize) -> bool {
        self.begin(miner);
        let own_hotkey = self.rows.hotkey.get(start) == Some(self.hotkey);
        if !(own_hotkey && pattern.fits(self.rows, start, end) && pattern.take(self.rows, start, &mut self.values)) {
            return false;
        }
        for &place in &pattern.day1 {
            self.row(start + place, &Role::Day1);
        }
        for &(lead, variable) in &pattern.seen {
            self.see(lead, variable);
        }
        self.last_calculation = pattern.last_calculation(self.rows, start);
        true
    }

    fn see(&mut self, lead: usize, variable: usize) {
        self.seen[lead * self.rules.scoring.expected_variables.len() + variable] = self.miner + 1;
    }

    /// A winning row of the miner.
    #[inline]
    fn row(&mut self, row: usize, role: &Role) {
        let Some(score) = self.valid(row, role) else { return };
        self.check_hotkey(row);
        match *role {
            Role::Day1 => {
                if self.day1.is_none_or(|known| self.rows.later(row, known)) {
                    self.day1 = Some(row);
                }
            }
            Role::Aside { code, mismatch, .. } => {
                self.check_mismatch(row, mismatch);
                self.findings.push(self.rows.finding(code, row, self.rows.type_of(row)));
            }
            Role::Value { value, lead, variable, mismatch } => {
                self.check_mismatch(row, mismatch);
                self.take(row, score, value, lead);
                self.see(lead, variable);
                self.last_calculation = self.last_calculation.max(Some(Micros(self.rows.time.value(row))));
            }
            Role::Unknown | Role::Ignored => unreachable!("invariant: only scores win"),
        }
    }

    fn end(&mut self) -> MinerScores {
        let leads = (0..self.values.len()).map(|lead| self.lead(lead)).collect();
        let day1 = self.day1.map(|row| self.rows.score.value(row));
        MinerScores { day1, leads, last_calculation: self.last_calculation }
    }

    /// I4: the value, where it is valid.
    fn valid(&mut self, row: usize, role: &Role) -> Option<f64> {
        let rmse = matches!(role, Role::Value { value: ValueKind::Rmse, .. } | Role::Aside { value: ValueKind::Rmse, .. });
        let score = float_at(self.rows.score, row).filter(|score| score.is_finite() && !(rmse && *score < 0.0));
        if score.is_none() {
            self.findings.push(self.rows.finding(Code::InvalidScore, row, self.rows.type_of(row)));
        }
        score
    }

    #[inline]
    fn check_hotkey(&mut self, row: usize) {
        let code = self.rows.hotkey.code(row);
        if self.own_hotkey == Some(code) {
            return;
        }
        if self.rows.hotkey.get(row) == Some(self.hotkey) {
            self.own_hotkey = Some(code);
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

    /// L1: scored, partial, or without any value.
    fn lead(&mut self, lead: usize) -> Option<Lead> {
        let variables = self.rules.scoring.expected_variables.len();
        let seen = self.seen[lead * variables..][..variables].iter().filter(|&&last| last == self.miner + 1).count();
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
            miner: Some(self.roster.uid(self.miner)),
            lead: Some(self.rules.leads()[lead]),
            table: SCORES.name,
            row_id: None,
            detail: format!("{seen} of {variables} variables"),
        });
        Some(Lead { parts, score: None })
    }
}
