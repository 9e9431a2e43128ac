//! What is to be generated, and the fixed strides of ids that make every run independent of the others.

use chrono::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::model::evidence::Run;
use crate::model::ids::{LeadHours, RunId};
use crate::model::settings::Scoring;
use crate::model::time::Micros;

use super::chance::{Chance, Stream};

/// Uids of a subnet are below this.
pub const MAX_MINERS: usize = 256;

/// Nodes beside the miners that are never asked for a forecast (validators), where uids are left for them.
const IDLE_NODES: usize = 2;

/// Ids that `messy` may use in each table, for each miner of a run and for the run itself.
const MESSY_IDS: (i64, i64) = (8, 64);

/// `variable_level` and `variable_name` share this bound: the narrower of the two columns.
const MAX_VARIABLE_CHARS: usize = 20;

const PRESSURE_LEVELS: [i32; 13] = [50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000];

/// What is to be generated. The same plan always gives the same data.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub runs: usize,
    pub miners: usize,
    pub seed: u64,
    /// Strictly ascending, in hours.
    pub leads: Vec<LeadHours>,
    pub variables: Vec<String>,
    /// Whether the evidence has what a validator's database should not have, and has.
    pub messy: bool,
    /// Whether every miner answers and every run is over: all scores that a rule uses are there, each once, and no others.
    pub complete: bool,
    /// Real differences between the stored rollups and the right ones.
    pub drift: usize,
    /// Scores drift as those of faulty writers do, each with its cause, and not by chance.
    pub causes: bool,
    /// Whether there are component rows: they are two thirds of all rows.
    pub components: bool,
    /// GFS initialisation of the first run.
    pub start: Micros,
}

impl Default for Plan {
    fn default() -> Self {
        let scoring = Scoring::default();
        Plan {
            runs: 10,
            miners: 16,
            seed: 1,
            leads: scoring.expected_leads,
            variables: scoring.expected_variables,
            messy: false,
            complete: false,
            drift: 0,
            causes: false,
            components: true,
            start: Micros(1_735_689_600_000_000), // 2025-01-01T00:00:00Z
        }
    }
}

/// Ids that one run takes in each table, whether it uses them or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    pub scores_per_miner: i64,
    pub components_per_miner: i64,
    pub steps_per_miner: i64,
    pub responses: i64,
    pub scores: i64,
    pub components: i64,
    pub steps: i64,
}

/// When a run happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub gfs_init: Micros,
    pub initiated: Micros,
}

impl Plan {
    /// Refuses what no validator could have, and what the columns of the tables cannot hold.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: &str, detail: String| Err(Error::new(ErrorKind::Usage, format!("generate: {what}"), detail));
        Scoring { expected_leads: self.leads.clone(), expected_variables: self.variables.clone(), ..Scoring::default() }
            .validate()?;
        if self.runs == 0 {
            return refuse("runs", "is 0; expected at least one".to_owned());
        }
        if self.miners == 0 || self.miners > MAX_MINERS {
            return refuse("miners", format!("is {}; expected 1 to {MAX_MINERS}", self.miners));
        }
        let plain = |name: &String| {
            !name.is_empty() && name.len() <= MAX_VARIABLE_CHARS && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if let Some(name) = self.variables.iter().find(|name| !plain(name)) {
            return refuse("variables", format!("has {name:?}; expected up to {MAX_VARIABLE_CHARS} letters, digits and _"));
        }
        let years = 1_000 * 365 * Duration::days(1).num_microseconds().unwrap_or(0);
        if self.start.0.abs() > years || self.last_day() > 365 * 1_000 {
            return refuse("start", "lies beyond the years that a calendar shows".to_owned());
        }
        let strides = self.strides();
        let widest = strides.responses.max(strides.scores).max(strides.components);
        if self.runs as i64 > i64::from(i32::MAX) / widest {
            return refuse("runs", format!("is {}; ids of 32 bits allow {}", self.runs, i64::from(i32::MAX) / widest));
        }
        Ok(())
    }

    /// How many ids a run takes in each table.
    pub fn strides(&self) -> Strides {
        let miners = self.miners as i64;
        let spare = if self.messy { MESSY_IDS.0 * miners + MESSY_IDS.1 } else { 0 };
        let leads = self.leads.len() as i64;
        let scores_per_miner = 3 * leads * self.variables.len() as i64 + 2;
        let components_per_miner = leads * self.variable_levels().len() as i64;
        let steps_per_miner = leads + 12;
        Strides {
            scores_per_miner,
            components_per_miner,
            steps_per_miner,
            responses: miners,
            scores: miners * scores_per_miner + spare,
            components: miners * components_per_miner + spare,
            steps: miners * steps_per_miner + 2 + spare,
        }
    }

    /// Each variable, at each pressure level where it has any: the index of the variable, and the level in hPa.
    pub fn variable_levels(&self) -> Vec<(usize, Option<i32>)> {
        let levels = |(index, name): (usize, &String)| match name.as_str() {
            "t" | "u" | "v" | "q" | "z" => PRESSURE_LEVELS.map(|level| (index, Some(level))).to_vec(),
            _ => vec![(index, None)],
        };
        self.variables.iter().enumerate().flat_map(levels).collect()
    }

    /// Uids in `node_table` that no run ever asks.
    pub fn idle_uids(&self) -> Vec<i32> {
        (self.miners..(self.miners + IDLE_NODES).min(MAX_MINERS)).map(|uid| uid as i32).collect()
    }

    /// When run `index` happened.
    ///
    /// Most runs are a day apart and old enough to have all their truth. The last few lie further apart, so that whatever
    /// the leads, some are half scored and the last is in flight. A complete plan has none of these.
    pub fn times(&self, index: usize) -> Times {
        let again = self.seeded_again(index);
        let gfs_init = plus(self.start, self.day(if again { index - 1 } else { index }) * 86_400.0);
        let delay = if again { 30.0 * 3_600.0 } else { 24.0 * 3_600.0 + 180.0 };
        let jitter = Chance::new(self.seed, Stream::Run(index)).range(0.0, 1.0);
        Times { gfs_init, initiated: plus(gfs_init, delay + jitter) }
    }

    /// The time of the snapshot: while the last run's miners compute or, in a complete plan, when that run is over.
    pub fn taken_at(&self) -> Micros {
        let last = self.runs - 1;
        if self.complete { self.over(last) } else { plus(self.times(last).initiated, 2_700.0) }
    }

    /// When run `index` has all its truth and all its scores.
    pub fn over(&self, index: usize) -> Micros {
        let last = self.leads.last().map_or(0.0, |lead| f64::from(lead.0) * 3_600.0);
        plus(self.times(index).gfs_init, last + 6.0 * 86_400.0)
    }

    /// Row `index` of `weather_forecast_runs`; its id is `index + 1`.
    pub fn run(&self, index: usize) -> Run {
        let gfs_init = self.times(index).gfs_init;
        // The production writer takes the initialisation for the target too.
        Run::new(RunId(index as i32 + 1), gfs_init, gfs_init)
    }

    /// A run that retention has deleted, the `n`th before the first. It has no id any more.
    pub fn purged_run(&self, n: usize) -> Run {
        let init = plus(self.start, -86_400.0 * (n as f64 + 1.0));
        Run::new(RunId(0), init, init)
    }

    /// Whether a messy run repeats the initialisation of the one before it.
    fn seeded_again(&self, index: usize) -> bool {
        self.messy && index % 7 == 2
    }

    /// Days from the start to the initialisation of run `index`.
    fn day(&self, index: usize) -> f64 {
        let tail = if self.complete { 0 } else { (self.runs / 2).min(4) };
        let whole = self.runs - tail;
        if index < whole {
            return index as f64;
        }
        let longest = self.leads.last().map_or(0, |lead| lead.0);
        let span = (longest as f64 / 24.0).ceil() + 7.0;
        (whole - 1) as f64 + (span * (index + 1 - whole) as f64 / tail as f64).floor()
    }

    fn last_day(&self) -> i64 {
        self.day(self.runs - 1) as i64
    }
}

/// `time` and some seconds.
pub fn plus(time: Micros, seconds: f64) -> Micros {
    Micros(time.0 + (seconds * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_plan_is_valid_and_production_sized() {
        let plan = Plan { runs: 1_000, miners: 256, ..Plan::default() };
        plan.validate().unwrap();
        assert_eq!(plan.strides().scores_per_miner, 272);
        assert_eq!(plan.strides().components_per_miner, 690);
        assert_eq!(plan.variable_levels().len(), 69);
    }

    #[test]
    fn what_ids_cannot_hold_is_refused() {
        let refused = |plan: Plan| plan.validate().unwrap_err().to_string();
        assert!(refused(Plan { runs: 0, ..Plan::default() }).contains("runs"));
        assert!(refused(Plan { miners: 257, ..Plan::default() }).contains("1 to 256"));
        assert!(refused(Plan { runs: 100_000, miners: 256, ..Plan::default() }).contains("32 bits"));
        assert!(refused(Plan { variables: vec!["2t h".to_owned()], ..Plan::default() }).contains("variables"));
        assert!(refused(Plan { leads: vec![], ..Plan::default() }).contains("expected_leads"));
    }

    #[test]
    fn runs_ascend_and_the_last_lie_apart() {
        let plan = Plan { runs: 10, ..Plan::default() };
        let days: Vec<f64> = (0..10).map(|index| plan.day(index)).collect();
        assert_eq!(days, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 13.0, 17.0, 22.0]);
        assert_eq!(plan.run(0).forecast_run_id, "forecast_20250101_00_to_20250101_00");
    }

    #[test]
    fn only_messy_plans_seed_a_run_again() {
        let same = |plan: &Plan| plan.run(1).forecast_run_id == plan.run(2).forecast_run_id;
        let plan = Plan::default();
        assert!(!same(&plan));
        let messy = Plan { messy: true, ..plan };
        assert!(same(&messy));
        assert!(messy.times(1).initiated < messy.times(2).initiated);
    }
}
