//! Memory that one fold leaves to the next one of its thread.

use std::sync::{Mutex, PoisonError};

use super::steps::Placed;

/// Buffers of a fold. They are passed on because the system clears every fresh page, which costs more than what a fold does
/// with it. What is left in them never shows in a result.
#[derive(Default)]
pub struct Scratch {
    /// I3: the winning rows.
    pub(super) slots: Vec<u32>,
    /// I7: the rows of steps in order.
    pub(super) step_order: Vec<Placed>,
}

/// The buffers of all threads that fold for one job, each used by one thread at a time.
#[derive(Default)]
pub struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    /// Lends a thread the buffers that came back last, or new ones.
    pub fn with<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let spare = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = spare().pop().unwrap_or_default();
        let result = work(&mut scratch);
        spare().push(scratch);
        result
    }
}
