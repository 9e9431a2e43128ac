//! `phase2 check --keep-wide-in`: the stored wide values that no scored lead stands behind, as the recomputation itself finds them.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::evidence::{StoredStat, UnitEvidence};
use crate::model::ids::LeadHours;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::LegacyScore;
use crate::rollup::UnitFold;
use crate::source::Source;

use super::pass::{Collect, Pass, Rest, UnitResult};
use super::reconcile;

/// Recomputes and compares as if every stored wide value without a scored lead behind it were kept already, and gives these values.
/// They count in the source from here on.
pub fn keep(command: &'static str, job: &Job, source: &mut Source, watch: &dyn Watch) -> Result<(Outcome, Vec<LegacyScore>)> {
    let wide = expected_wide(source, job);
    let mut kept = Gather(Vec::new());
    let without =
        Pass::new(command, job, source, watch).run_with(|evidence, fold| Ok(of_unit(evidence, fold, &wide)), &mut kept)?;
    let Gather(mut kept) = kept;
    for stray in source.strays()? {
        kept.extend(wide_values(&stray, &wide));
    }
    if kept.is_empty() {
        return Ok((without, kept));
    }
    source.add_legacy(kept.clone());
    Ok((reconcile(command, job, source, watch)?, kept))
}

/// The wide columns of expected leads: each with its place in a stored row.
fn expected_wide(source: &Source, job: &Job) -> Vec<(usize, LeadHours)> {
    let leads = source.snapshot().wide_leads.iter().copied().enumerate();
    leads.filter(|(_, lead)| job.scoring.expected_leads.binary_search(lead).is_ok()).collect()
}

fn of_unit(evidence: &UnitEvidence, fold: &UnitFold, wide: &[(usize, LeadHours)]) -> Vec<LegacyScore> {
    let placed: BTreeMap<Option<i32>, Option<i32>> =
        fold.stats.iter().filter(|row| row.placed).map(|row| (row.stat.miner_uid, row.stat.run_id)).collect();
    let scored = fold.lead_scores.iter().filter(|lead| lead.scored == Some(true));
    let scored: BTreeSet<_> = scored.map(|lead| (lead.run_id, lead.miner_uid, lead.lead_hours)).collect();
    let of_row = |row: &StoredStat| {
        let own = row.row.run_id.filter(|id| evidence.runs.iter().any(|run| run.run.id.0 == *id));
        let run_id = placed.get(&row.row.miner_uid).copied().unwrap_or(own);
        let values = wide_values(row, wide).map(|score| LegacyScore { run_id, ..score });
        values.filter(|score| !scored.contains(&(score.run_id, score.miner_uid, score.lead_hours))).collect::<Vec<_>>()
    };
    evidence.stored.iter().flat_map(of_row).collect()
}

/// The wide values that a stored row has, of no run yet.
fn wide_values<'r>(row: &'r StoredStat, wide: &'r [(usize, LeadHours)]) -> impl Iterator<Item = LegacyScore> + 'r {
    wide.iter().filter_map(|&(at, lead)| {
        Some(LegacyScore {
            run_id: None,
            miner_uid: row.row.miner_uid,
            forecast_run_id: row.row.forecast_run_id.clone(),
            lead_hours: Some(lead.0),
            era5_score: Some(row.row.wide[at]?),
        })
    })
}

struct Gather(Vec<LegacyScore>);

impl Collect<Vec<LegacyScore>> for Gather {
    fn unit(&mut self, _unit: &mut UnitResult, kept: Vec<LegacyScore>) -> Result<()> {
        self.0.extend(kept);
        Ok(())
    }

    fn rest(&mut self, _rest: Rest<'_>) -> Result<()> {
        Ok(())
    }
}
