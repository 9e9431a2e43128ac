//! Scores as faulty writers would have made them: each with its cause, from altered rows or other settings, by the rules themselves.

use std::collections::BTreeMap;

use crate::diff::classify;
use crate::model::cause::Cause;
use crate::model::difference::{CellClass, Tolerance};
use crate::model::evidence::RunEvidence;
use crate::model::rollups::ForecastStat;
use crate::model::settings::Scoring;
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::rollup::{Rules, Scratch, fold_unit};

use super::Generator;
use super::chance::Chance;
use super::rows::RunRows;
use super::stored::{placed, spread_wide};

/// What writers with one fault each would have stored of a unit. Rows as the table has them.
pub struct WrongWriters(Vec<(Cause, BTreeMap<Option<i32>, ForecastStat>)>);

impl WrongWriters {
    /// Nobody: cells drift by chance.
    pub fn none() -> Self {
        WrongWriters(Vec::new())
    }

    pub fn of(generator: &Generator, raw: &[RunRows], rules: &Rules, scratch: &mut Scratch) -> Self {
        let mut fold = |rows: &[RunRows], rules: &Rules| {
            let evidence: Vec<RunEvidence> = rows.iter().map(|rows| generator.batches(rows)).collect();
            let stats = fold_unit(&evidence, rules, scratch).stats.into_iter().map(|placed| placed.stat).collect();
            let mut rows = placed(stats);
            rows.iter_mut().for_each(|row| spread_wide(generator.plan(), row));
            rows.into_iter().map(|row| (row.miner_uid, row)).collect::<BTreeMap<_, _>>()
        };
        let right = fold(raw, rules);
        let weighted = |era5_weight, day1_weight| {
            Rules::new(Scoring { era5_weight, day1_weight, ..rules.scoring.clone() }, rules.snapshot_time)
        };
        let lenient = Rules::new(Scoring { day1_pass_threshold: -1.0, ..rules.scoring.clone() }, rules.snapshot_time);
        let mut writers = vec![
            (Cause::Stale { scores: 0 }, fold(&stale(raw), rules)),
            (Cause::Duplicates, fold(&each_counted(generator, raw), rules)),
            (Cause::SetAside, fold(&adopted(raw), rules)),
            (Cause::OtherWeights { era5: 0.8, day1: 0.2 }, fold(raw, &weighted(0.8, 0.2))),
            (Cause::OtherThreshold, fold(raw, &lenient)),
        ];
        let leads = rules.scoring.expected_leads.len() as f64;
        let of_right = |change: &dyn Fn(&ForecastStat) -> ForecastStat| {
            right.iter().map(|(miner, row)| (*miner, change(row))).collect::<BTreeMap<_, _>>()
        };
        writers.push((Cause::Denominator { leads: 0 }, of_right(&|row| divided_by_scored(row, leads))));
        writers.push((Cause::Rounded { digits: 4 }, of_right(&|row| each_score(row, |x| (x * 1e4).round() / 1e4))));
        writers.push((Cause::SinglePrecision, of_right(&|row| each_score(row, |x| f64::from(x as f32)))));
        // The share of scored leads tells of no miner.
        let shifted = right.values().cycle().skip(1).take(right.len());
        let shifted = shifted.map(|row| ForecastStat { era5_completeness: None, ..row.clone() });
        let neighbours = right.keys().copied().zip(shifted).collect();
        writers.push((Cause::OtherMiner { miner: 0 }, neighbours));
        WrongWriters(writers)
    }

    /// What one of them, by chance, has in the place of a cell; `None` where none has anything that is certainly wrong and telling.
    pub fn cell(
        &self,
        row: &ForecastStat,
        cell: impl Fn(&ForecastStat) -> Value<'static>,
        chance: &mut Chance,
    ) -> Option<(Cause, Value<'static>)> {
        let right = cell(row);
        let tells = |value: &Value<'_>| matches!(value, Value::Float(x) if *x != 0.0 && *x != 1.0);
        let wrong = |value: &Value<'_>| classify(value, &right, Tolerance::default()) == CellClass::Drift;
        let candidates: Vec<(Cause, Value<'static>)> = self
            .0
            .iter()
            .filter_map(|(cause, rows)| Some((*cause, cell(rows.get(&row.miner_uid)?))))
            .filter(|(_, value)| tells(value) && wrong(value))
            .collect();
        (!candidates.is_empty()).then(|| chance.of(&candidates).clone())
    }
}

/// Before the last tenth of the scores came.
fn stale(raw: &[RunRows]) -> Vec<RunRows> {
    let before = |rows: &RunRows| {
        let mut times: Vec<Micros> = rows.scores.iter().map(|score| score.calculation_time).collect();
        times.sort_unstable();
        let until = times.get(times.len() * 9 / 10).copied().unwrap_or(Micros(i64::MAX));
        let mut rows = rows.clone();
        rows.scores.retain(|score| score.calculation_time < until);
        rows.components.retain(|component| component.calculated_at < until);
        rows
    };
    raw.iter().map(before).collect()
}

/// Repeated scores as if each were another level: I3 finds nothing to decide.
fn each_counted(generator: &Generator, raw: &[RunRows]) -> Vec<RunRows> {
    let levels = generator.vocabulary().len() as u32;
    let apart = |rows: &RunRows| {
        let mut rows = rows.clone();
        let mut seen: BTreeMap<_, u32> = BTreeMap::new();
        for score in &mut rows.scores {
            let count = seen.entry((score.miner_uid, score.score_type, score.lead_hours, score.variable_level)).or_default();
            if *count > 0 {
                score.variable_level = Some(super::rows::Symbol(*count % levels));
            }
            *count += 1;
        }
        rows
    };
    raw.iter().map(apart).collect()
}

/// Orphans as if they belonged to the response of their miner.
fn adopted(raw: &[RunRows]) -> Vec<RunRows> {
    let own = |rows: &RunRows| {
        let responses: BTreeMap<i32, i64> = rows.responses.iter().map(|response| (response.miner_uid, response.id)).collect();
        let mut rows = rows.clone();
        for score in &mut rows.scores {
            score.response_id = responses.get(&score.miner_uid).copied().unwrap_or(score.response_id);
        }
        rows
    };
    raw.iter().map(own).collect()
}

/// R3 with the number of scored leads as divisor.
fn divided_by_scored(row: &ForecastStat, leads: f64) -> ForecastStat {
    let scored = row.wide.iter().flatten().count() as f64;
    let combined = row.era5_combined_score.filter(|_| scored > 0.0).map(|combined| combined * leads / scored);
    ForecastStat { era5_combined_score: combined, ..ForecastStat::default() }
}

fn each_score(row: &ForecastStat, change: impl Fn(f64) -> f64) -> ForecastStat {
    let score = |score: Option<f64>| score.map(&change);
    ForecastStat {
        forecast_score_initial: score(row.forecast_score_initial),
        era5_combined_score: score(row.era5_combined_score),
        overall_forecast_score: score(row.overall_forecast_score),
        avg_rmse: score(row.avg_rmse),
        avg_acc: score(row.avg_acc),
        avg_skill_score: score(row.avg_skill_score),
        wide: row.wide.iter().map(|lead| score(*lead)).collect(),
        ..ForecastStat::default()
    }
}
