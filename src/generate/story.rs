//! What happened to one miner in one run: its response, its steps, and when which lead was scored.
//!
//! A story is told forward in time and stops at the time of the snapshot, so runs in flight look as they do in production:
//! what has not begun is not there, what has not ended is in progress.

use serde_json::Value as Json;

use crate::model::time::Micros;

use super::chance::Chance;
use super::errors;
use super::miner::{Miner, Reliability};
use super::plan::{Plan, Times, plus};
use super::rows::{ResponseRow, StepRow, Symbol};

/// Truth is there this long after the time it is for.
const TRUTH_DELAY_SECONDS: f64 = (5.0 * 24.0 + 6.0) * 3_600.0;

/// What `weather_miner_responses`, `weather_forecast_steps` and the scores are written from.
#[derive(Debug, Default)]
pub struct Story {
    pub response: Option<ResponseRow>,
    pub steps: Vec<StepRow>,
    /// When the Day-1 score was written.
    pub day1: Option<Micros>,
    /// When each scored lead was, by the index of the lead: the first `scored.len()` leads.
    pub scored: Vec<Micros>,
}

/// How it ends for the miner, unless the snapshot is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Silent,
    Unreachable,
    InferenceLost,
    Unverified,
    StoreTimeout,
    /// Scoring fails at the lead with this index.
    ScoringFails(usize),
    Good,
}

impl Fate {
    fn draw(reliability: Reliability, leads: usize, chance: &mut Chance) -> Self {
        let [silent, unreachable, lost, unverified, timeout, scoring] = match reliability {
            Reliability::Steady => [0.005, 0.005, 0.01, 0.005, 0.005, 0.01],
            Reliability::Flaky => [0.04, 0.10, 0.07, 0.06, 0.06, 0.07],
            Reliability::Broken => [0.02, 0.05, 0.03, 0.50, 0.25, 0.05],
            Reliability::Offline => [0.15, 0.85, 0.0, 0.0, 0.0, 0.0],
        };
        let fates = [
            (silent, Fate::Silent),
            (unreachable, Fate::Unreachable),
            (lost, Fate::InferenceLost),
            (unverified, Fate::Unverified),
            (timeout, Fate::StoreTimeout),
            (scoring, Fate::ScoringFails(chance.below(leads))),
        ];
        let mut draw = chance.unit();
        for (probability, fate) in fates {
            if draw < probability {
                return fate;
            }
            draw -= probability;
        }
        Fate::Good
    }
}

/// Tells one story; every method returns `None` where the story ends.
pub struct StoryBuilder<'a> {
    pub plan: &'a Plan,
    pub miner: &'a Miner,
    /// The hotkey that the miner had then.
    pub hotkey: Symbol,
    pub run_id: i32,
    pub times: Times,
    /// The time of the snapshot.
    pub now: Micros,
    pub chance: Chance,
    pub story: Story,
}

impl StoryBuilder<'_> {
    pub fn build(mut self) -> Story {
        self.push("day1", None, None, "pending");
        let drawn = Fate::draw(self.miner.reliability, self.plan.leads.len(), &mut self.chance);
        self.all(if self.plan.complete { Fate::Good } else { drawn });
        self.story
    }

    fn all(&mut self, fate: Fate) -> Option<()> {
        if fate == Fate::Silent {
            return None;
        }
        let accepted = self.query(fate)?;
        let computed = self.inference(accepted, fate)?;
        let verified = self.verification(computed, fate)?;
        self.day1(verified)?;
        self.era5(fate)
    }

    fn query(&mut self, fate: Fate) -> Option<Micros> {
        let asked = plus(self.times.initiated, self.chance.range(60.0, 480.0));
        let took = self.latency();
        if fate == Fate::Unreachable {
            let message = errors::unreachable(self.miner, self.run_id, &mut self.chance);
            let end = self.fail(("query", "initiate_fetch", None), asked, took, errors::bare(&message))?;
            let status = if self.chance.yes(0.5) { "miner_offline" } else { "failed" };
            self.respond(end, status);
            self.response().error_message = Some(message);
            return None;
        }
        let end = self.succeed(("query", "initiate_fetch", None), asked, took)?;
        self.respond(end, "fetch_initiated");
        Some(end)
    }

    fn inference(&mut self, accepted: Micros, fate: Fate) -> Option<Micros> {
        let started = plus(accepted, self.chance.range(1.0, 3.0));
        let took = self.miner.inference_seconds * self.chance.range(0.8, 1.6);
        if started > self.now {
            return None;
        }
        self.response().inference_started_at = Some(started);
        self.response().status = "inference_running";
        let step = ("inference", "poll", None);
        if fate == Fate::InferenceLost {
            let message = errors::inference(self.miner, &mut self.chance);
            let end = self.fail(step, started, took, errors::bare(&message))?;
            self.give_up_or_retry(end);
            self.response().error_message = Some(message);
            return None;
        }
        let end = self.succeed(step, started, took)?;
        if self.chance.yes(0.05) {
            self.last_step().retry_count = 1 + self.chance.below(2) as i32;
        }
        self.response().inference_completed_at = Some(end);
        self.response().status = "forecast_ready";
        Some(end)
    }

    /// A recent run is tried again; an old one has used up its retries.
    fn give_up_or_retry(&mut self, end: Micros) {
        let retries = 1 + self.chance.below(2) as i32;
        let next = plus(end, 1_800.0 * f64::from(retries));
        if plus(next, 86_400.0) < self.now {
            self.last_step().retry_count = 3;
            self.response().status = "failed";
            return;
        }
        let step = self.last_step();
        step.status = "retry_scheduled";
        step.retry_count = retries;
        step.next_retry_time = Some(next);
        self.response().status = "retry_scheduled";
    }

    fn verification(&mut self, computed: Micros, fate: Fate) -> Option<Micros> {
        let start = plus(computed, self.chance.range(2.0, 60.0));
        let took = self.latency() * 1.5;
        let step = ("verify", "open_store", None);
        let failure = match fate {
            Fate::Unverified => {
                Some(("verification_failed", Some(false), errors::verification(self.miner, self.run_id, &mut self.chance)))
            }
            Fate::StoreTimeout => Some(("verification_timeout", None, errors::slow_store(self.miner, &mut self.chance))),
            _ => None,
        };
        if let Some((status, passed, error)) = failure {
            let message = errors::message(&error);
            self.fail(step, start, took, error)?;
            let response = self.response();
            (response.status, response.verification_passed, response.error_message) = (status, passed, message);
            return None;
        }
        let opened = self.succeed(step, start, took)?;
        self.response().verification_passed = Some(true);
        self.response().status = "verified_manifest_store_opened";
        let took = self.latency();
        self.succeed(("fetch", "kerchunk", None), plus(opened, 0.5), took)
    }

    fn day1(&mut self, verified: Micros) -> Option<()> {
        let start = plus(verified, self.chance.range(120.0, 900.0));
        let loaded = self.succeed(("day1", "load_inputs", Some(0)), start, 2.0)?;
        let took = self.chance.range(8.0, 40.0);
        let end = self.succeed(("day1", "score", None), loaded, took)?;
        self.story.day1 = Some(end);
        Some(())
    }

    fn era5(&mut self, fate: Fate) -> Option<()> {
        for index in 0..self.plan.leads.len() {
            if self.lead(index, fate).is_none() {
                break;
            }
        }
        let (&first, &last) = (self.story.scored.first()?, self.story.scored.last()?);
        // Two more rows without a lead, which stand for the last one written.
        let latency = self.last_step().latency_ms;
        let row = self.push("era5", Some("score"), Some(0), "succeeded");
        (row.started_at, row.completed_at) = (Some(first), Some(plus(last, 2e-6)));
        let row = self.push("era5", Some("score"), None, "succeeded");
        (row.completed_at, row.latency_ms) = (Some(plus(last, 4e-6)), latency);
        Some(())
    }

    fn lead(&mut self, index: usize, fate: Fate) -> Option<()> {
        let lead = self.plan.leads[index].0;
        let truth = plus(self.times.gfs_init, f64::from(lead) * 3_600.0 + TRUTH_DELAY_SECONDS);
        let start = plus(truth, self.chance.range(0.0, 1_200.0));
        let took = self.chance.range(20.0, 90.0);
        let step = ("era5", "score", Some(lead));
        if fate == Fate::ScoringFails(index) {
            let error = errors::scoring(lead, &mut self.chance);
            let message = errors::message(&error);
            self.fail(step, start, took, error)?;
            let response = self.response();
            (response.status, response.error_message) = ("era5_scoring_failed", message);
            return None;
        }
        let end = self.succeed(step, start, took)?;
        self.story.scored.push(end);
        Some(())
    }

    fn latency(&mut self) -> f64 {
        self.miner.latency_ms * self.chance.range(0.6, 2.2) / 1_000.0
    }

    fn respond(&mut self, response_time: Micros, status: &'static str) {
        self.story.response = Some(ResponseRow {
            id: 0,
            miner_uid: self.miner.uid,
            miner_hotkey: self.hotkey,
            response_time,
            verification_passed: None,
            status,
            error_message: None,
            inference_started_at: None,
            inference_completed_at: None,
        });
    }

    fn response(&mut self) -> &mut ResponseRow {
        self.story.response.as_mut().expect("the query, which comes first, has made the response")
    }

    fn last_step(&mut self) -> &mut StepRow {
        self.story.steps.last_mut().expect("the seeded step is always there")
    }

    /// A step that takes some seconds and succeeds: its end, unless the snapshot comes first.
    fn succeed(&mut self, step: (&'static str, &'static str, Option<i32>), start: Micros, seconds: f64) -> Option<Micros> {
        let now = self.now;
        if start > now {
            return None;
        }
        let end = plus(start, seconds);
        let row = self.push(step.0, Some(step.1), step.2, "in_progress");
        row.started_at = Some(start);
        if end > now {
            return None;
        }
        row.status = "succeeded";
        row.completed_at = Some(end);
        row.latency_ms = Some((seconds * 1_000.0) as i32);
        Some(end)
    }

    /// The same, but it fails.
    fn fail(
        &mut self,
        step: (&'static str, &'static str, Option<i32>),
        start: Micros,
        seconds: f64,
        error: Json,
    ) -> Option<Micros> {
        let end = self.succeed(step, start, seconds)?;
        let row = self.last_step();
        row.status = "failed";
        row.error_json = Some(error);
        Some(end)
    }

    fn push(
        &mut self,
        step_name: &'static str,
        substep: Option<&'static str>,
        lead_hours: Option<i32>,
        status: &'static str,
    ) -> &mut StepRow {
        self.story.steps.push(StepRow {
            id: 0,
            miner_uid: self.miner.uid,
            miner_hotkey: self.hotkey,
            step_name,
            substep,
            lead_hours,
            status,
            started_at: None,
            completed_at: None,
            retry_count: 0,
            next_retry_time: None,
            latency_ms: None,
            error_json: None,
        });
        self.last_step()
    }
}
