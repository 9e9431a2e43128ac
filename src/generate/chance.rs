//! Seeded randomness: one independent stream for each thing drawn, so that anything can be drawn alone and in any order.
//!
//! Only additions, multiplications and square roots: what the platform's mathematics library computes its own way
//! (logarithms, sines) would give other data on another machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What is drawn. Each has its own sequence of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The character of the miner with this uid.
    Miner(usize),
    /// What all miners of a run share.
    Run(usize),
    /// What happened to one miner in one run: run, uid.
    Story(usize, usize),
    /// Its scores.
    Scores(usize, usize),
    /// Its components.
    Components(usize, usize),
    /// What is wrong with the rows of a run.
    Irregularities(usize),
    /// Which differences go where.
    Schedule,
    /// The differences of one unit, by its index among the units; after the last, those of the lifetime rollups.
    Planted(usize),
}

impl Stream {
    fn number(self) -> u64 {
        let (domain, run, uid) = match self {
            Stream::Miner(uid) => (1, 0, uid),
            Stream::Run(run) => (2, run, 0),
            Stream::Story(run, uid) => (3, run, uid),
            Stream::Scores(run, uid) => (4, run, uid),
            Stream::Components(run, uid) => (5, run, uid),
            Stream::Irregularities(run) => (6, run, 0),
            Stream::Schedule => (7, 0, 0),
            Stream::Planted(run) => (8, run, 0),
        };
        (domain << 56) | ((run as u64) << 16) | uid as u64
    }
}

/// A sequence of random numbers.
pub struct Chance(ChaCha8Rng);

impl Chance {
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream.number());
        Chance(generator)
    }

    /// Evenly from [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly from [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Evenly from 0 to `n - 1`; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.0.next_u64() as u128 * n as u128) >> 64) as usize
    }

    pub fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub fn yes(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Nearly normal, mean 0 and deviation 1: the sum of four even numbers, from one draw.
    pub fn normal(&mut self) -> f64 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f64 - 131_070.0) / 37_837.0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let first = |stream| Chance::new(7, stream).0.next_u64();
        assert_eq!(first(Stream::Story(3, 4)), first(Stream::Story(3, 4)));
        assert_ne!(first(Stream::Story(3, 4)), first(Stream::Story(4, 3)));
        assert_ne!(first(Stream::Story(3, 4)), first(Stream::Scores(3, 4)));
        assert_ne!(first(Stream::Schedule), Chance::new(8, Stream::Schedule).0.next_u64());
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut chance = Chance::new(1, Stream::Schedule);
        let draws: Vec<f64> = (0..20_000).map(|_| chance.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let square = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.05, "{mean} {square}");
    }

    #[test]
    fn below_covers_its_range() {
        let mut chance = Chance::new(1, Stream::Schedule);
        let mut seen = [0; 5];
        (0..1_000).for_each(|_| seen[chance.below(5)] += 1);
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }
}
