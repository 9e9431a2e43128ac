//! I2, I3: which rows are one score, and which of them counts; found without a hash for each row.
//!
//! The part of an identity that is not the miner (score type, lead, level) is a *shape*; a run has a few hundred.
//! Rows stand mostly in the order in which they were written, so after one shape the same shape follows as the last
//! time: that guess is tried before the hash map. A row's slot is then `shape × miners + miner`.

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::finding::{Code, Finding};

use super::roster::Roster;

/// No row has taken the slot yet.
const EMPTY: u32 = u32::MAX;

/// Shapes in the order in which they were first met.
pub struct Shapes<S> {
    all: Vec<S>,
    index: HashMap<S, u32>,
    follower: Vec<u32>,
    last: usize,
}

impl<S> Default for Shapes<S> {
    fn default() -> Self {
        Shapes { all: Vec::new(), index: HashMap::new(), follower: Vec::new(), last: 0 }
    }
}

impl<S: Copy + Eq + Hash> Shapes<S> {
    /// The place of a shape among all.
    #[inline]
    pub fn place(&mut self, shape: S) -> usize {
        if let Some(&guess) = self.follower.get(self.last)
            && self.all[guess as usize] == shape
        {
            self.last = guess as usize;
            return self.last;
        }
        self.look_up(shape)
    }

    fn look_up(&mut self, shape: S) -> usize {
        let known = self.all.len();
        let found = *self.index.entry(shape).or_insert(known as u32);
        if found as usize == known {
            self.all.push(shape);
            self.follower.push(0);
        }
        self.follower[self.last] = found;
        self.last = found as usize;
        self.last
    }
}

/// A table of score rows, as I2 and I3 look at it.
pub trait ScoreRows {
    /// The part of a row's identity that is not the miner.
    type Shape: Copy + Eq + Hash;

    fn count(&self) -> usize;
    fn shape(&self, row: usize) -> Self::Shape;
    /// The miner's uid and the id of the response.
    fn owner(&self, row: usize) -> (i32, i64);
    /// The order of "latest": time, then id.
    fn order(&self, row: usize) -> (i64, i64);
    fn finding(&self, code: Code, row: usize, detail: String) -> Finding;

    /// I2: a row whose response is not the miner's own.
    fn orphan(&self, row: usize) -> Finding {
        self.finding(Code::OrphanScore, row, format!("response {}", self.owner(row).1))
    }
}

/// I2, I3: the latest row of each identity; what is set aside becomes a finding. Rows that `counts` denies are left out.
pub fn winners<'s, R: ScoreRows>(
    rows: &R,
    roster: &Roster<'_>,
    slots: &'s mut Vec<u32>,
    findings: &mut Vec<Finding>,
    mut counts: impl FnMut(usize, &R::Shape, &mut Vec<Finding>) -> bool,
) -> Identities<'s, R::Shape> {
    let mut identities = Identities::new(roster.len(), slots);
    // Rows of one miner mostly follow one another.
    let mut last = None;
    for row in 0..rows.count() {
        let shape = rows.shape(row);
        if !counts(row, &shape, findings) {
            continue;
        }
        let owner = rows.owner(row);
        let known = last.filter(|(last, _)| *last == owner).map(|(_, miner)| miner);
        let Some(miner) = known.or_else(|| roster.isolated(owner.0, owner.1)) else {
            findings.push(rows.orphan(row));
            continue;
        };
        last = Some((owner, miner));
        let slot = identities.slot(shape, miner);
        if *slot == EMPTY {
            *slot = row as u32;
            continue;
        }
        let known = *slot as usize;
        let (winner, loser) = if rows.order(row) > rows.order(known) { (row, known) } else { (known, row) };
        *slot = winner as u32;
        findings.push(rows.finding(Code::DuplicateScore, loser, String::new()));
    }
    identities
}

/// The winning row of each shape and miner.
pub struct Identities<'s, S> {
    shapes: Shapes<S>,
    miners: usize,
    /// The winning row of each slot, or [`EMPTY`].
    slots: &'s mut Vec<u32>,
}

impl<'s, S: Copy + Eq + Hash> Identities<'s, S> {
    /// `slots` is memory to work in; what it holds is dropped.
    fn new(miners: usize, slots: &'s mut Vec<u32>) -> Self {
        slots.clear();
        Identities { shapes: Shapes::default(), miners, slots }
    }

    /// In the order in which they were first met.
    pub fn shapes(&self) -> &[S] {
        &self.shapes.all
    }

    /// The slot of (shape, miner).
    #[inline]
    fn slot(&mut self, shape: S, miner: usize) -> &mut u32 {
        let place = self.shapes.place(shape);
        if place * self.miners == self.slots.len() {
            self.slots.resize(self.slots.len() + self.miners, EMPTY);
        }
        &mut self.slots[place * self.miners + miner]
    }

    /// The winning row of (shape, miner).
    #[inline]
    pub fn winner(&self, shape: usize, miner: usize) -> Option<usize> {
        let row = self.slots[shape * self.miners + miner];
        (row != EMPTY).then_some(row as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_one_for_each_shape_and_miner_in_any_order() {
        let rows = [(7, 0), (8, 0), (7, 1), (9, 1), (7, 0), (8, 1), (8, 0), (9, 0)];
        let mut slots = vec![5; 9];
        let mut identities = Identities::new(2, &mut slots);
        for (row, (shape, miner)) in rows.iter().enumerate() {
            let slot = identities.slot(*shape, *miner);
            if *slot == EMPTY {
                *slot = row as u32;
            }
        }
        for (shape, miner) in rows {
            let index = identities.shapes().iter().position(|&s| s == shape).unwrap();
            let first = rows.iter().position(|&row| row == (shape, miner));
            assert_eq!(identities.winner(index, miner), first);
        }
    }
}
