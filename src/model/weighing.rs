//! What a validator sets weights from: its newest rows, and the row of its own `score_table`, which a correction does not reach.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{Class, Difference, Tolerance};
use super::rollups::{ForecastStat, Rollup};
use super::value::Value;

/// The column that weights are set from.
pub const WEIGHTED: &str = "overall_forecast_score";

/// As it is stored. Both parts are optional: a source may have neither.
#[derive(Debug, Clone)]
pub struct Weighing {
    /// Rows by miner and `forecast_run_id` that are the newest by `updated_at` of their miner and hotkey, all of a tie (D7); else why
    /// that is not known.
    pub newest: Result<BTreeSet<(i32, String)>, String>,
    /// The newest weather row of `score_table`; else why there is none.
    pub row: Result<ScoreRow, String>,
}

/// A row of `score_table`.
#[derive(Debug, Clone, Default)]
pub struct ScoreRow {
    pub task_id: String,
    /// The run whose overall scores it was made from.
    pub run: i32,
    /// By miner; those without a score are not here.
    pub scores: BTreeMap<i32, f64>,
    /// `overall_forecast_score` of the run as it is stored.
    pub stored: BTreeMap<i32, Option<f64>>,
}

/// The row held against the overall scores of its run.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub task_id: String,
    pub run: i32,
    /// Miners of the run or of the row.
    pub miners: u64,
    pub off: Vec<Off>,
}

/// A miner whose score in the row is not the right one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Off {
    pub miner: i32,
    pub score: Option<f64>,
    pub right: Option<f64>,
}

/// What is told of weights.
#[derive(Debug, Clone)]
pub struct Weighed {
    pub newest: Result<BTreeSet<(i32, String)>, String>,
    pub row: Result<Held, String>,
}

impl Weighed {
    /// Whether a row is the newest of its miner and hotkey; `None` where that is not known.
    pub fn is_newest(&self, miner: i32, forecast_run_id: &str) -> Option<bool> {
        self.newest.as_ref().ok().map(|rows| rows.contains(&(miner, forecast_run_id.to_owned())))
    }
}

impl Weighing {
    /// The right score is the stored one, unless it differs from the recomputed one. `differences` are all of the night.
    pub fn held(&self, differences: &[Difference]) -> Weighed {
        Weighed { newest: self.newest.clone(), row: self.row.as_ref().map(|row| row.held(differences)).map_err(Clone::clone) }
    }
}

/// The number after `weather_scores_`: `weather_scores_812_20250101T000000Z`, or `final_weather_scores_812` of older validators.
pub fn run_of(task_id: &str) -> Option<i32> {
    let rest = task_id.split_once("weather_scores_")?.1;
    rest.split('_').next()?.parse().ok()
}

impl ScoreRow {
    fn held(&self, differences: &[Difference]) -> Held {
        let mut right = self.stored.clone();
        let mut unknown = BTreeSet::new();
        let of_run =
            |difference: &&Difference| difference.table == ForecastStat::TABLE && difference.key.run_id == Some(self.run);
        for difference in differences.iter().filter(of_run) {
            let Some(miner) = difference.key.miner_uid else { continue };
            match (difference.class, difference.column.as_deref(), &difference.recomputed) {
                // What a row that is not stored would have is not among the differences.
                (Class::Missing, ..) => {
                    unknown.insert(miner);
                }
                (Class::Drift | Class::Habit, Some(WEIGHTED), Value::Float(score)) => {
                    right.insert(miner, Some(*score));
                }
                (Class::Drift | Class::Habit, Some(WEIGHTED), _) => {
                    right.insert(miner, None);
                }
                _ => {}
            }
        }
        let miners: BTreeSet<i32> =
            right.keys().chain(self.scores.keys()).copied().filter(|miner| !unknown.contains(miner)).collect();
        let off = miners.iter().filter_map(|&miner| {
            let (score, right) = (self.scores.get(&miner).copied(), right.get(&miner).copied().flatten());
            (!is_same(score, right)).then_some(Off { miner, score, right })
        });
        Held { task_id: self.task_id.clone(), run: self.run, miners: miners.len() as u64, off: off.collect() }
    }
}

/// No score and 0 weigh the same. Else the tolerance of a stored double (D2).
fn is_same(score: Option<f64>, right: Option<f64>) -> bool {
    let weight = |score: Option<f64>| score.filter(|score| score.is_finite()).unwrap_or(0.0);
    Tolerance::default().allows(weight(score), weight(right))
}

#[cfg(test)]
mod tests {
    use super::super::difference::RowKey;
    use super::*;

    fn difference(miner: i32, class: Class, column: Option<&str>, recomputed: Value<'static>) -> Difference {
        Difference {
            table: ForecastStat::TABLE,
            key: RowKey { miner_uid: Some(miner), run_id: Some(7), ..RowKey::default() },
            column: column.map(str::to_owned),
            class,
            stored: Value::Null,
            recomputed,
            cause: None,
        }
    }

    #[test]
    fn a_row_is_held_against_the_right_scores_of_its_run() {
        let row = ScoreRow {
            task_id: "weather_scores_7_x".to_owned(),
            run: 7,
            scores: [(1, 0.5), (2, 0.25), (3, 0.0), (4, 0.5), (5, 0.125), (6, f64::NAN)].into(),
            stored: [(1, Some(0.5)), (2, Some(0.25)), (3, None), (4, Some(0.5)), (6, None), (8, Some(0.75))].into(),
        };
        let off = |differences: &[Difference]| -> Vec<i32> { row.held(differences).off.iter().map(|off| off.miner).collect() };
        // 5 has no row in the run, 8 no score in the table.
        assert_eq!(off(&[]), [5, 8]);
        let wrong = difference(2, Class::Drift, Some(WEIGHTED), Value::Float(0.375));
        assert_eq!(off(std::slice::from_ref(&wrong)), [2, 5, 8]);
        assert_eq!(row.held(&[wrong]).off[0], Off { miner: 2, score: Some(0.25), right: Some(0.375) });
        assert_eq!(off(&[difference(1, Class::Drift, Some(WEIGHTED), Value::Null)]), [1, 5, 8]);
        // Another column, a class that is no news, and another run say nothing of it.
        assert_eq!(off(&[difference(2, Class::Drift, Some("avg_acc"), Value::Float(0.375))]), [5, 8]);
        assert_eq!(off(&[difference(2, Class::Unproven, Some(WEIGHTED), Value::Null)]), [5, 8]);
        let key = RowKey { miner_uid: Some(2), run_id: Some(8), ..RowKey::default() };
        assert_eq!(off(&[Difference { key, ..difference(2, Class::Drift, Some(WEIGHTED), Value::Null) }]), [5, 8]);
        // What a missing row would have is not known.
        assert_eq!(off(&[difference(5, Class::Missing, None, Value::Null)]), [8]);
        assert_eq!(row.held(&[]).miners, 7);
    }

    #[test]
    fn a_task_names_its_run() {
        assert_eq!(run_of("weather_scores_812_20250101T000000Z"), Some(812));
        assert_eq!(run_of("final_weather_scores_9"), Some(9));
        assert_eq!(run_of("initial_weather_scores"), None);
        assert_eq!(run_of("soil_812"), None);
    }
}
