//! Miners whose rows are alike: mostly, each miner of a run has the same scores in the same order. What the rules I1 and
//! I5 decide for the rows of one then holds for those of the next, and only their values have to be looked at: column by column, not
//! row by row.

use arrow_array::Array;

use super::input::{Role, ScoreColumns};
use super::kind::ValueKind;
use super::lead::LeadValues;
use crate::model::time::Micros;

/// Rows of a miner of which each is a score that counts, without a finding.
pub struct Pattern {
    /// Where they stand.
    start: usize,
    rows: usize,
    buckets: Vec<Bucket>,
    /// Of day 1, ascending.
    pub day1: Vec<usize>,
    /// Leads and variables that have a value.
    pub seen: Vec<(usize, usize)>,
}

/// The values of one kind of one lead, by their places among the rows.
struct Bucket {
    lead: usize,
    value: ValueKind,
    places: Vec<u32>,
}

impl Pattern {
    /// `None` where a row makes a finding whatever its value, or is no score.
    pub fn of(start: usize, roles: &[Role]) -> Option<Pattern> {
        let mut pattern = Pattern { start, rows: roles.len(), buckets: Vec::new(), day1: Vec::new(), seen: Vec::new() };
        for (place, role) in roles.iter().enumerate() {
            match *role {
                Role::Day1 => pattern.day1.push(place),
                Role::Value { value, lead, variable, mismatch: false } => {
                    pattern.seen.push((lead, variable));
                    let same = |bucket: &&mut Bucket| (bucket.lead, bucket.value) == (lead, value);
                    match pattern.buckets.iter_mut().find(same) {
                        Some(bucket) => bucket.places.push(place as u32),
                        None => pattern.buckets.push(Bucket { lead, value, places: vec![place as u32] }),
                    }
                }
                _ => return None,
            }
        }
        pattern.seen.sort_unstable();
        pattern.seen.dedup();
        Some(pattern)
    }

    /// Whether these rows are of the same shapes (I3), and all are of the hotkey that the first one has.
    pub fn fits(&self, rows: &ScoreColumns<'_>, start: usize, end: usize) -> bool {
        end - start == self.rows
            && rows.score_type.keys.same(self.start, start, self.rows)
            && rows.lead.same(self.start, start, self.rows)
            && rows.level.keys.same(self.start, start, self.rows)
            && !rows.hotkey.keys.has_nulls()
            && rows.hotkey.keys.end(start) >= end
    }

    /// The values into their leads. False where one is missing, not valid (I4) or out of range (I6); then some are taken already.
    pub fn take(&self, rows: &ScoreColumns<'_>, start: usize, leads: &mut [LeadValues]) -> bool {
        let scores = &rows.score.values()[start..][..self.rows];
        rows.score.nulls().is_none_or(|nulls| nulls.slice(start, self.rows).null_count() == 0)
            && self.buckets.iter().all(|bucket| bucket.take(scores, &mut leads[bucket.lead]))
    }

    /// The latest `calculation_time` of the values.
    pub fn last_calculation(&self, rows: &ScoreColumns<'_>, start: usize) -> Option<Micros> {
        let mut from = start;
        let between = self.day1.iter().copied().chain([self.rows]).flat_map(|day1| {
            let part = rows.time.within(from..start + day1);
            from = start + day1 + 1;
            part
        });
        between.max().map(|time| Micros(*time))
    }
}

impl Bucket {
    fn take(&self, scores: &[f64], lead: &mut LeadValues) -> bool {
        let (values, range) = match self.value {
            ValueKind::Skill => (&mut lead.skill, f64::MIN..=1.0),
            ValueKind::Acc => (&mut lead.acc, -1.0..=1.0),
            ValueKind::Rmse => (&mut lead.rmse, 0.0..=f64::MAX),
        };
        let before = values.len();
        values.extend(self.places.iter().map(|&place| scores[place as usize]));
        values[before..].iter().all(|score| range.contains(score))
    }
}
