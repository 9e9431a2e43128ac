//! Who is affected: miners whose score or rank changes.

use std::collections::BTreeMap;

use crate::model::difference::{Class, Difference};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::value::Value;
pub use crate::model::weighing::WEIGHTED;
use crate::model::weighing::{Held, Weighed};

use super::text::{magnitude, value};

/// A row whose score or rank is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    pub run: Option<i32>,
    pub forecast_run_id: &'a str,
    pub miner: i32,
    /// `overall_forecast_score`, stored and recomputed.
    pub score: Option<(&'a Value<'static>, &'a Value<'static>)>,
    /// `miner_rank`, stored and recomputed.
    pub rank: Option<(&'a Value<'static>, &'a Value<'static>)>,
}

impl Change<'_> {
    /// By how much the score changes; infinite where one side is no number.
    pub fn by(&self) -> f64 {
        match self.score {
            Some((Value::Float(stored), Value::Float(right))) if stored.is_finite() => (right - stored).abs(),
            Some(_) => f64::INFINITY,
            None => 0.0,
        }
    }

    /// Places up or down.
    pub fn places(&self) -> i64 {
        match self.rank {
            Some((Value::Int(stored), Value::Int(right))) => (right - stored).abs(),
            Some(_) => i64::MAX,
            None => 0,
        }
    }
}

/// The rows of runs whose score or rank changes: the greatest change of a score first, then of a rank. A rank that only goes, since its
/// row has no score, changes nobody's place.
pub fn changes(differences: &[Difference]) -> Vec<Change<'_>> {
    let mut rows: BTreeMap<(&str, i32), Change<'_>> = BTreeMap::new();
    let drifted = |difference: &&Difference| difference.class == Class::Drift && difference.table == ForecastStat::TABLE;
    for difference in differences.iter().filter(drifted) {
        let (Some(miner), Some(id)) = (difference.key.miner_uid, &difference.key.forecast_run_id) else { continue };
        let values = Some((&difference.stored, &difference.recomputed));
        let row = || Change { run: difference.key.run_id, forecast_run_id: id, miner, score: None, rank: None };
        match difference.column.as_deref() {
            Some(WEIGHTED) => rows.entry((id, miner)).or_insert_with(row).score = values,
            Some("miner_rank") => rows.entry((id, miner)).or_insert_with(row).rank = values,
            _ => {}
        }
    }
    let mut changes: Vec<Change<'_>> = rows.into_values().collect();
    changes.retain(|change| change.score.is_some() || change.places() < i64::MAX);
    changes.sort_by(|a, b| b.by().total_cmp(&a.by()).then(b.places().cmp(&a.places())));
    changes
}

/// Heads of [`cells`].
pub const HEADS: [&str; 6] = ["run", "miner", WEIGHTED, "changes by", "miner_rank", "newest row"];

/// A change as terminal and page show it, under [`HEADS`].
pub fn cells(change: &Change<'_>, weighed: Option<&Weighed>) -> [String; HEADS.len()] {
    let pair = |pair: Option<(&Value<'static>, &Value<'static>)>| {
        pair.map_or(String::new(), |(stored, right)| format!("{} → {}", value(stored), value(right)))
    };
    let run = change.run.map_or_else(|| change.forecast_run_id.to_owned(), |run| run.to_string());
    let by = if change.by() > 0.0 && change.by().is_finite() { magnitude(change.by()) } else { String::new() };
    let newest = weighed.and_then(|weighed| weighed.is_newest(change.miner, change.forecast_run_id)) == Some(true);
    let newest = if newest { "yes" } else { "" };
    [run, change.miner.to_string(), pair(change.score), by, pair(change.rank), newest.to_owned()]
}

/// Miners named in the line about `score_table`.
const OFF_MAX: usize = 3;

/// What is told of `score_table`: always where its row is off, else where scores change, since a correction does not reach it.
pub fn of_score_table(weighed: Option<&Weighed>, changes: bool) -> Option<String> {
    match &weighed?.row {
        Ok(held) if !held.off.is_empty() => Some(off(held)),
        Ok(held) if changes => {
            Some(format!("score_table: weights are read from {}, which agrees with run {}", held.task_id, held.run))
        }
        Err(why) if changes => Some(format!("score_table was not looked at: {why}")),
        _ => None,
    }
}

fn off(held: &Held) -> String {
    let number = |score: Option<f64>| score.map_or_else(|| "none".to_owned(), |score| score.to_string());
    let named = held
        .off
        .iter()
        .take(OFF_MAX)
        .map(|off| format!("miner {}: {}, right {}", off.miner, number(off.score), number(off.right)));
    let named: Vec<String> = named.chain((held.off.len() > OFF_MAX).then(|| "…".to_owned())).collect();
    format!(
        "score_table: weights are read from {}, where {} of {} are not the overall scores of run {} ({}). A correction does not reach it: \
         the validator has to make that row anew",
        held.task_id,
        held.off.len(),
        super::counted(held.miners, "score"),
        held.run,
        named.join("; ")
    )
}
