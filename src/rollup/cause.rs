//! What else a stored number could be: right but rounded, or what the rules give over other rows, or with other settings. A cause is
//! named only where it gives the stored number to the last bits.

mod rows;
#[cfg(test)]
mod tests;

pub use rows::{MinerRows, rows_of};

use crate::model::cause::Cause;
use crate::model::rollups::ForecastStat;
use crate::model::settings::Scoring;

use super::Rules;
use rows::{Choice, Made, Parts};

/// Numbers this close, as a part of the greater, are one number, added up in another order.
const LAST_BITS: f64 = 1e-12;
/// Moments at which a value is looked for.
const MOMENTS_MAX: usize = 256;
/// The divisor of validators that count on ten leads whatever their settings say.
const USUAL_LEADS: usize = 10;
/// Weights of ERA5 that validators have run with; that of the Day-1 score is the rest.
const ERA5_WEIGHTS: [f64; 8] = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.5, 1.0];

/// A row whose stored scores are to be explained.
pub struct Suspect<'s> {
    pub rules: &'s Rules,
    pub rows: &'s MinerRows,
    /// The row as the rules give it.
    pub right: &'s ForecastStat,
    /// All rows of its run.
    pub run: &'s [&'s ForecastStat],
}

/// Whether a stored number is the right one but for its digits.
pub fn of_digits(stored: f64, right: f64) -> Option<Cause> {
    if near(stored, right) {
        return Some(Cause::NaiveSum);
    }
    if f64::from(right as f32) == stored {
        return Some(Cause::SinglePrecision);
    }
    let rounded = |digits: &u8| format!("{right:.*}", usize::from(*digits)).parse() == Ok(stored);
    (2..=12).find(rounded).map(|digits| Cause::Rounded { digits })
}

/// NULL, 0 and 1 are what many ways give: they tell nothing of the way.
pub fn tells(stored: f64) -> bool {
    stored != 0.0 && stored != 1.0 && stored.is_finite()
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= LAST_BITS * a.abs().max(b.abs())
}

impl Suspect<'_> {
    /// Why a score column of the row holds this number.
    pub fn cause(&self, column: &str, stored: f64) -> Cause {
        let Some(column) = Made::of(column) else { return Cause::Unexplained };
        if !tells(stored) {
            let aside = column == Made::Day1 && self.rows.day1_aside().any(|value| value.to_bits() == stored.to_bits());
            return if aside { Cause::SetAside } else { Cause::Unexplained };
        }
        let right = value(self.right, column, self.rules);
        let rows = self.rows.of(column);
        right
            .and_then(|right| of_digits(stored, right))
            .or_else(|| self.denominator(column, stored))
            .or_else(|| self.settings(column, stored))
            .or_else(|| self.other_miner(column, stored))
            .or_else(|| self.duplicates(&rows, column, stored))
            .or_else(|| self.set_aside(&rows, column, stored))
            .or_else(|| self.stale(&rows, column, stored))
            .unwrap_or(Cause::Unexplained)
    }

    fn leads(&self) -> usize {
        self.rules.leads().len()
    }

    fn gives(&self, parts: &Parts, column: Made, stored: f64) -> bool {
        parts.cell(column, self.leads(), self.rules).is_some_and(|value| near(value, stored))
    }

    /// R3 over the right leads, divided by the scored ones, or by ten.
    fn denominator(&self, column: Made, stored: f64) -> Option<Cause> {
        let parts = parts_of(self.right, self.rules);
        // Of other numbers any value could be made.
        let divisors = [parts.leads.len(), USUAL_LEADS].into_iter().filter(|leads| *leads > 0 && *leads != self.leads());
        let given = |leads: &usize| parts.cell(column, *leads, self.rules).is_some_and(|value| near(value, stored));
        matches!(column, Made::Combined | Made::Overall)
            .then(|| divisors.into_iter().find(given))
            .flatten()
            .map(|leads| Cause::Denominator { leads: u16::try_from(leads).unwrap_or(u16::MAX) })
    }

    /// The rules over what had come at some moment.
    fn stale(&self, rows: &MinerRows, column: Made, stored: f64) -> Option<Cause> {
        let times = rows.times();
        times.into_iter().skip(1).take(MOMENTS_MAX).find_map(|until| {
            let then = rows.parts(Choice { until: Some(until), ..Choice::default() }, self.rules);
            let scores = rows.later(until);
            (scores > 0 && self.gives(&then, column, stored)).then_some(Cause::Stale { scores })
        })
    }

    /// The rules without I3.
    fn duplicates(&self, rows: &MinerRows, column: Made, stored: f64) -> Option<Cause> {
        let all = rows.aside(self.rules);
        let parts = || rows.parts(Choice { repeated: true, ..Choice::default() }, self.rules);
        (all.repeated && self.gives(&parts(), column, stored)).then_some(Cause::Duplicates)
    }

    /// The rules without I2, I5 or L1, each and together, as far as they set any row of the miner aside.
    fn set_aside(&self, rows: &MinerRows, column: Made, stored: f64) -> Option<Cause> {
        let choices = rows.aside(self.rules).subsets();
        let given = choices.into_iter().skip(1).any(|choice| self.gives(&rows.parts(choice, self.rules), column, stored));
        let aside = || column == Made::Day1 && rows.day1_aside().any(|value| near(value, stored));
        (given || aside()).then_some(Cause::SetAside)
    }

    /// R4 with the settings that validators have run with.
    fn settings(&self, column: Made, stored: f64) -> Option<Cause> {
        let parts = (column == Made::Overall).then(|| parts_of(self.right, self.rules))?;
        let given = |scoring: Scoring| {
            let rules = Rules { scoring, ..self.rules.clone() };
            parts.cell(column, self.leads(), &rules).is_some_and(|value| near(value, stored))
        };
        let own = &self.rules.scoring;
        // A threshold above or below any score lets none or all of them pass.
        if [f64::MIN, f64::MAX].into_iter().any(|day1_pass_threshold| given(Scoring { day1_pass_threshold, ..own.clone() })) {
            return Some(Cause::OtherThreshold);
        }
        ERA5_WEIGHTS.into_iter().find_map(|era5| {
            // As operators write them: 0.05, not what binary subtraction leaves.
            let day1 = ((1.0 - era5) * 100.0).round() / 100.0;
            given(Scoring { era5_weight: era5, day1_weight: day1, ..own.clone() }).then_some(Cause::OtherWeights { era5, day1 })
        })
    }

    fn other_miner(&self, column: Made, stored: f64) -> Option<Cause> {
        // It has no more values than there are leads: that many miners have the same.
        if column == Made::Completeness {
            return None;
        }
        let others = self.run.iter().filter(|row| row.miner_uid != self.right.miner_uid);
        let same = |row: &&&ForecastStat| value(row, column, self.rules).is_some_and(|value| near(value, stored));
        others.into_iter().find(same).and_then(|row| row.miner_uid).map(|miner| Cause::OtherMiner { miner })
    }
}

/// A score column of a recomputed row.
fn value(row: &ForecastStat, column: Made, rules: &Rules) -> Option<f64> {
    match column {
        Made::Lead(hours) => rules.lead_index(hours).and_then(|at| row.wide[at]),
        Made::Combined => row.era5_combined_score,
        Made::Completeness => row.era5_completeness,
        Made::Day1 => row.forecast_score_initial,
        Made::Overall => row.overall_forecast_score,
        Made::Average(which) => [row.avg_rmse, row.avg_acc, row.avg_skill_score][which],
    }
}

fn parts_of(row: &ForecastStat, rules: &Rules) -> Parts {
    let leads = rules.leads().iter().zip(&row.wide).filter_map(|(lead, score)| Some((lead.0, (*score)?))).collect();
    Parts { leads, day1: row.forecast_score_initial, averages: [row.avg_rmse, row.avg_acc, row.avg_skill_score] }
}
