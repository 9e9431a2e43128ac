//! The character of a miner: how good its forecasts are, and how reliable it is.

use crate::model::evidence::Node;
use crate::model::ids::MinerUid;

use super::chance::{Chance, Stream};
use super::plan::Plan;
use super::rows::{Symbol, Vocabulary};

/// How often, and how, a miner fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliability {
    Steady,
    Flaky,
    /// It answers, but what it hosts rarely verifies.
    Broken,
    /// It never answers.
    Offline,
}

/// A miner over all runs.
#[derive(Debug, Clone)]
pub struct Miner {
    pub uid: i32,
    /// 0: useless, 1: as good as it gets.
    pub talent: f64,
    pub reliability: Reliability,
    pub inference_seconds: f64,
    pub latency_ms: f64,
    /// Host and port, as raw errors tell them.
    pub address: String,
    hotkey: Symbol,
    /// From the run with this index on, another one is registered under the uid.
    successor: Option<(usize, Symbol)>,
    /// What `node_table` says; mostly the hotkey of the last run.
    registered: Option<String>,
}

impl Miner {
    pub fn new(plan: &Plan, uid: usize, vocabulary: &mut Vocabulary) -> Self {
        let mut chance = Chance::new(plan.seed, Stream::Miner(uid));
        let talent = chance.unit().sqrt();
        let reliability = match chance.unit() {
            x if x < 0.04 => Reliability::Offline,
            x if x < 0.08 => Reliability::Broken,
            x if x < 0.20 => Reliability::Flaky,
            _ => Reliability::Steady,
        };
        let inference_seconds = chance.range(400.0, 2_400.0);
        let latency_ms = chance.range(80.0, 900.0);
        let address = format!("198.51.100.{}:{}", uid.max(1), 33_000 + chance.below(9_000));
        let first = hotkey(&mut chance);
        let successor = (uid % 16 == 5 && plan.runs > 1).then(|| (1 + chance.below(plan.runs - 1), hotkey(&mut chance)));
        let registered = match (&successor, uid % 64) {
            (_, 41) => None,
            (_, 9) => Some(hotkey(&mut chance)),
            (Some((_, last)), _) => Some(last.clone()),
            (None, _) => Some(first.clone()),
        };
        let successor = successor.map(|(run, key)| (run, vocabulary.add(&key)));
        let hotkey = vocabulary.add(&first);
        Miner { uid: uid as i32, talent, reliability, inference_seconds, latency_ms, address, hotkey, successor, registered }
    }

    /// The hotkey that the miner had in a run.
    pub fn hotkey_in(&self, run: usize) -> Symbol {
        match self.successor {
            Some((from, successor)) if run >= from => successor,
            _ => self.hotkey,
        }
    }

    /// Its row of `node_table`.
    pub fn node(&self) -> Node {
        Node { uid: MinerUid(self.uid), hotkey: self.registered.clone() }
    }
}

/// A node that is no miner.
pub fn idle_node(plan: &Plan, uid: i32) -> Node {
    let mut chance = Chance::new(plan.seed, Stream::Miner(uid as usize));
    Node { uid: MinerUid(uid), hotkey: Some(hotkey(&mut chance)) }
}

/// Something that looks like an address on the chain.
fn hotkey(chance: &mut Chance) -> String {
    const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let tail = (0..47).map(|_| char::from(*chance.of(BASE58)));
    std::iter::once('5').chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_differ_and_few_hotkeys_change() {
        let plan = Plan { runs: 20, miners: 64, ..Plan::default() };
        let mut vocabulary = Vocabulary::default();
        let miners: Vec<Miner> = (0..64).map(|uid| Miner::new(&plan, uid, &mut vocabulary)).collect();
        let changed = miners.iter().filter(|m| m.hotkey_in(0) != m.hotkey_in(19)).count();
        assert_eq!(changed, 4);
        let last = |m: &Miner| Some(vocabulary.text(m.hotkey_in(19)).to_owned());
        assert_eq!(miners.iter().filter(|m| m.node().hotkey != last(m)).count(), 2);
        assert!(
            miners.iter().any(|m| m.reliability == Reliability::Steady)
                && miners.iter().any(|m| m.reliability != Reliability::Steady)
        );
    }
}
