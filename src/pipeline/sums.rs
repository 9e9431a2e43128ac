//! What a pass adds up over its units, in their order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use blake3::Hasher;

use crate::diff::{StatDiff, TableDiff};
use crate::error::Result;
use crate::model::difference::{Class, Difference};
use crate::model::digest::feed;
use crate::model::evidence::StoredStat;
use crate::model::finding::{Code, Finding};
use crate::model::miner_list::Named;
use crate::model::outcome::FINDINGS_KEPT;
use crate::model::rollups::SubnetStat;
use crate::model::unproven::Losses;
use crate::rollup::UnitFold;
use crate::rollup::stored::stored_run;

use super::history::History;
use super::pass::UnitResult;

/// The digest of all rollups of a unit.
pub fn digest_of(fold: &UnitFold) -> blake3::Hash {
    let mut hasher = Hasher::new();
    feed(&mut hasher, &fold.lead_scores);
    feed(&mut hasher, fold.stats.iter().map(|placed| &placed.stat));
    hasher.finalize()
}

/// All findings counted by code, and kept as far as they are wanted.
#[derive(Default)]
pub struct FindingSum {
    pub counts: BTreeMap<Code, u64>,
    kept: Vec<Finding>,
    /// Whether more than the first of each code are wanted.
    whole: bool,
}

impl FindingSum {
    /// So many wait until those that nobody asks for are dropped.
    const WAITING_MAX: usize = 1 << 15;

    pub fn add(&mut self, findings: &mut Vec<Finding>) {
        for finding in findings.iter() {
            *self.counts.entry(finding.code).or_default() += 1;
        }
        if self.kept.is_empty() {
            std::mem::swap(&mut self.kept, findings);
        } else {
            self.kept.append(findings);
        }
        if !self.whole && self.kept.len() > Self::WAITING_MAX {
            self.sort();
            self.kept = first_of_each(&self.kept);
        }
    }

    pub fn sort(&mut self) {
        self.kept.sort_by(Finding::order);
    }

    /// All of them, or at least the first of each code.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }
}

/// Of each code the first findings, which are in order of their codes.
pub fn first_of_each(findings: &[Finding]) -> Vec<Finding> {
    findings.chunk_by(|a, b| a.code == b.code).flat_map(|alike| alike.iter().take(FINDINGS_KEPT)).cloned().collect()
}

/// The results of units, put together in order.
pub struct Sums {
    pub hasher: Hasher,
    /// Where lifetime rollups are wanted.
    pub history: Option<History>,
    pub subnet: Vec<SubnetStat>,
    /// By run: what the stored rows give, where that is another thing.
    pub stored_subnet: BTreeMap<i32, SubnetStat>,
    /// Of the miners on the lists of `subnet`.
    names: HashSet<Arc<Named>>,
    pub findings: FindingSum,
    pub stats: TableDiff,
    /// D6
    pub losses: Losses,
    /// Where the strays' differences begin in those of `stats`.
    strays_from: usize,
}

impl Sums {
    pub fn new(stats: TableDiff, runs: usize, lifetime: bool, findings: bool) -> Self {
        Sums {
            hasher: Hasher::new(),
            history: lifetime.then(History::new),
            subnet: Vec::with_capacity(runs + 1),
            stored_subnet: BTreeMap::new(),
            names: HashSet::new(),
            findings: FindingSum { whole: findings, ..FindingSum::default() },
            stats,
            losses: Losses::default(),
            strays_from: 0,
        }
    }

    pub fn add(&mut self, mut unit: UnitResult) -> Result<()> {
        self.hasher.update(unit.digest.as_bytes());
        if let Some(history) = &mut self.history {
            history.absorb(unit.fold.history, unit.side.rows)?;
            history.extra(unit.side.extra);
        }
        for list in unit.fold.subnet.iter_mut().flat_map(|row| [&mut row.top_miners, &mut row.bottom_miners]).flatten() {
            list.share(&mut self.names);
        }
        self.stored_subnet.extend(unit.side.subnet.into_iter().filter_map(|row| Some((row.run_id?, row))));
        self.subnet.append(&mut unit.fold.subnet);
        self.findings.add(&mut unit.fold.findings);
        self.findings.add(&mut unit.diff.findings);
        unit.diff.losses.iter().for_each(|(evidence_of, loss)| self.losses.add(*evidence_of, *loss));
        // Cells within tolerance are counted; only drift is kept.
        unit.diff.table.differences.retain(|difference| difference.class != Class::Within);
        self.stats.add(unit.diff.table);
        self.strays_from = self.stats.differences.len();
        Ok(())
    }

    /// Stored rows that belong to no unit, with their diff.
    pub fn strays(&mut self, mut strays: StatDiff, rows: &[StoredStat]) {
        if let Some(history) = &mut self.history {
            history.extra(rows.iter().filter_map(|stray| stored_run(&stray.row, None)));
        }
        self.findings.add(&mut strays.findings);
        self.stats.add(strays.table);
    }

    /// Those of stored rows that belong to no unit.
    pub fn stray_differences(&self) -> Option<&[Difference]> {
        self.stats.differences.get(self.strays_from..).filter(|list| !list.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::RunId;

    fn finding(row: i64) -> Finding {
        let code = if row % 1000 == 999 { Code::OrphanScore } else { Code::InvalidScore };
        let (miner, lead, table) = (None, None, "weather_miner_scores");
        Finding { code, run: Some(RunId(1)), miner, lead, table, row_id: Some(row), detail: String::new() }
    }

    #[test]
    fn of_millions_of_findings_the_first_are_kept_and_all_are_counted() {
        let mut sums = [true, false].map(|whole| FindingSum { whole, ..FindingSum::default() });
        // Rows from high to low, in units of 7,000.
        for unit in (0..20).rev() {
            for sum in &mut sums {
                sum.add(&mut (unit * 7_000..(unit + 1) * 7_000).rev().map(finding).collect());
            }
        }
        sums.iter_mut().for_each(FindingSum::sort);
        let [whole, first] = sums;
        assert_eq!(whole.kept().len(), 140_000);
        assert!(first.kept().len() <= FindingSum::WAITING_MAX, "{}", first.kept().len());
        assert_eq!(first_of_each(first.kept()), first_of_each(whole.kept()));
        assert_eq!(first_of_each(first.kept())[0].row_id, Some(0));
        assert_eq!(first.counts, whole.counts);
        assert_eq!(first.counts[&Code::OrphanScore], 140);
    }
}
