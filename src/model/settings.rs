//! The settings of scoring (C), validated once; every rule reads them from here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

use super::ids::LeadHours;
use super::time::Micros;

/// How equal scores share a rank (R6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RankMethod {
    /// 1, 2, 2, 4
    Competition,
    /// 1, 2, 2, 3
    Dense,
}

/// `max_retries`: one number, or a table by step name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxRetries {
    pub default: i32,
    pub by_step: BTreeMap<String, i32>,
}

impl MaxRetries {
    pub fn of(&self, step_name: &str) -> i32 {
        self.by_step.get(step_name).copied().unwrap_or(self.default)
    }
}

/// Section 3, each key with its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scoring {
    /// Hours; not empty, positive, strictly ascending.
    pub expected_leads: Vec<LeadHours>,
    /// Not empty.
    pub expected_variables: Vec<String>,
    pub era5_weight: f64,
    pub day1_weight: f64,
    pub day1_pass_threshold: f64,
    pub max_retries: MaxRetries,
    pub rank_method: RankMethod,
    pub failed_response_statuses: Vec<String>,
    pub run_level_steps: Vec<String>,
    pub forecast_type: String,
    /// The validator deletes finished steps older than this (D6); 0: it never does.
    #[serde(default = "default_retention")]
    pub step_retention_days: u32,
    /// `None`: the snapshot's own time.
    pub snapshot_time: Option<Micros>,
}

fn default_retention() -> u32 {
    30
}

impl Default for Scoring {
    fn default() -> Self {
        let texts = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect();
        Scoring {
            expected_leads: (1..=10).map(|day| LeadHours(24 * day)).collect(),
            expected_variables: texts(&["2t", "10u", "10v", "msl", "t", "u", "v", "q", "z"]),
            era5_weight: 0.95,
            day1_weight: 0.05,
            day1_pass_threshold: 0.1,
            max_retries: MaxRetries { default: 3, by_step: BTreeMap::new() },
            rank_method: RankMethod::Competition,
            failed_response_statuses: texts(&[
                "failed",
                "error",
                "miner_offline",
                "verification_failed",
                "verification_error",
                "verification_timeout",
                "era5_scoring_failed",
            ]),
            run_level_steps: texts(&["seed"]),
            forecast_type: "10day".to_owned(),
            step_retention_days: default_retention(),
            snapshot_time: None,
        }
    }
}

impl Scoring {
    /// Holds the settings against section 3; the error names the key, what it is and what was expected.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where a setting is out of its bounds, or two contradict each other.
    pub fn validate(&self) -> Result<()> {
        let refuse = |keys: &'static [&'static str], detail: String| {
            Err(Error::new(ErrorKind::Usage, format!("setting {}", keys.join(" + ")), detail).about(keys))
        };
        let leads = &self.expected_leads;
        if leads.is_empty() {
            return refuse(&["expected_leads"], "is empty; expected at least one lead in hours".to_owned());
        }
        if let Some(lead) = leads.iter().find(|lead| lead.0 <= 0) {
            return refuse(&["expected_leads"], format!("has {lead}; every lead must be a positive number of hours"));
        }
        if let Some(pair) = leads.windows(2).find(|pair| pair[0] >= pair[1]) {
            return refuse(&["expected_leads"], format!("has {} before {}; leads must be strictly ascending", pair[0], pair[1]));
        }
        let variables = &self.expected_variables;
        if variables.is_empty() {
            return refuse(&["expected_variables"], "is empty; expected at least one variable".to_owned());
        }
        if let Some((_, twice)) = variables.iter().enumerate().find(|(i, name)| variables[..*i].contains(name)) {
            return refuse(&["expected_variables"], format!("has {twice:?} twice"));
        }
        for (key, weight) in [(&["era5_weight"], self.era5_weight), (&["day1_weight"], self.day1_weight)] {
            if !(weight >= 0.0 && weight.is_finite()) {
                return refuse(key, format!("is {weight}; expected a finite number that is not negative"));
            }
        }
        let sum = self.era5_weight + self.day1_weight;
        if !(sum > 0.0 && sum.is_finite()) {
            return refuse(&["era5_weight", "day1_weight"], format!("is {sum}; the sum must be above zero and finite"));
        }
        if !self.day1_pass_threshold.is_finite() {
            return refuse(&["day1_pass_threshold"], format!("is {}; expected a finite number", self.day1_pass_threshold));
        }
        for (step, retries) in [("default", &self.max_retries.default)]
            .into_iter()
            .chain(self.max_retries.by_step.iter().map(|(k, v)| (k.as_str(), v)))
        {
            if *retries < 0 {
                return refuse(&["max_retries"], format!("has {retries} for {step:?}; expected zero or more"));
            }
        }
        Ok(())
    }

    /// The weights of ERA5 and Day-1, each divided by their sum.
    pub fn weights(&self) -> (f64, f64) {
        let sum = self.era5_weight + self.day1_weight;
        (self.era5_weight / sum, self.day1_weight / sum)
    }
}
