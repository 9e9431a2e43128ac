//! I3: rows that are one score, found without a hash for each row.
//!
//! The part of an identity that is not the miner (score type, lead, level) is a *shape*; a run has a few hundred.
//! Rows stand mostly in the order in which they were written, so after one shape the same shape follows as the last
//! time: that guess is tried before the hash map. A row's slot is then `shape × miners + miner`.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;

/// No row has taken the slot yet.
pub const EMPTY: u32 = u32::MAX;

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

/// The winning row of each shape and miner.
pub struct Identities<S> {
    shapes: Shapes<S>,
    miners: usize,
    /// The winning row of each slot, or [`EMPTY`].
    slots: Vec<u32>,
}

thread_local! {
    /// The slots of the last run that this thread has folded: a page that is fresh has to be cleared first.
    static SPARE_SLOTS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

impl<S> Drop for Identities<S> {
    fn drop(&mut self) {
        SPARE_SLOTS.set(std::mem::take(&mut self.slots));
    }
}

impl<S: Copy + Eq + Hash> Identities<S> {
    pub fn new(miners: usize) -> Self {
        let mut slots = SPARE_SLOTS.take();
        slots.clear();
        Identities { shapes: Shapes::default(), miners, slots }
    }

    /// In the order in which they were first met.
    pub fn shapes(&self) -> &[S] {
        &self.shapes.all
    }

    /// The slot of (shape, miner).
    #[inline]
    pub fn slot(&mut self, shape: S, miner: usize) -> &mut u32 {
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
        let mut identities = Identities::new(2);
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
