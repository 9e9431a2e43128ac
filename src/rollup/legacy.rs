//! L: a lead without any value of its own has the legacy score that was kept for it, where there is one.

use crate::model::evidence::RunEvidence;

use super::Rules;
use super::input::{Lead, MinerScores};
use super::lead::LeadParts;
use super::roster::Roster;

/// A lead with values always has a part.
const NO_PARTS: LeadParts = LeadParts { skill: None, acc: None, rmse: None };

/// Fills the leads that section 2 leaves without a value. A partial lead has values, and stays what it is (L1).
pub fn fill(scores: &mut [MinerScores], evidence: &RunEvidence, roster: &Roster<'_>, rules: &Rules) {
    for row in &evidence.legacy {
        let miner = row.miner_uid.and_then(|uid| roster.index(uid));
        let lead = row.lead_hours.and_then(|lead| rules.lead_index(lead));
        let score = row.era5_score.filter(|score| score.is_finite());
        if let (Some(miner), Some(lead), Some(score)) = (miner, lead, score) {
            scores[miner].leads[lead].get_or_insert(Lead { parts: NO_PARTS, score: Some(score) });
        }
    }
}

/// Whether the score of a lead is a legacy one: then there are no score rows that a finding could be about.
pub fn is_legacy(lead: &Lead) -> bool {
    lead.parts == NO_PARTS
}
