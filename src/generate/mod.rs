//! A plausible validator, made from a seed: evidence, and stored rollups beside it with known differences planted in them.
//!
//! ```text
//! Plan ──► Generator ──► rows of a run ──► evidence ──► rollup ──► planted ──► folder or database
//! ```
//!
//! Every run is made alone from (seed, index of the run): nothing is held from one run to the next, and a history of any
//! length needs the memory of one unit.

mod alter;
mod batch;
mod chance;
mod errors;
pub mod load;
mod messy;
mod miner;
mod plan;
pub mod planted;
mod rows;
mod scores;
mod sink;
mod stored;
mod story;
#[cfg(test)]
mod tests;
mod wrong;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::model::difference::Difference;
use crate::model::evidence::{COMPONENTS, NODES, Node, RESPONSES, RUNS, Run, RunEvidence, SCORES, STEPS, Unit, units};
use crate::model::ids::RunId;
use crate::model::job::Watch;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::settings::Scoring;
use crate::model::time::Micros;
use crate::rollup::{Lifetime, Rules, Scratch, fold_unit};

use chance::{Chance, Stream};
use messy::{IrregularTexts, Irregularities};
use miner::Miner;
pub use plan::Plan;
pub use planted::{Planter, StoredUnit};
pub use rows::{ResponseRow, RunRows, StepRow, Symbol, Vocabulary};
use scores::{Author, ScoreTypes};
use sink::Part;
pub use sink::Target;
use story::{Story, StoryBuilder};
pub use wrong::WrongWriters;

/// What was generated.
#[derive(Debug)]
pub struct Summary {
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Every planted difference, as a comparison would find it (`stored` is what was planted). Noise has the class `within`.
    pub planted: Vec<Difference>,
}

/// Generates a plan into a target: evidence, and beside it the recomputed rollups with the plan's differences planted in them.
/// Blocks; to be called from a plain thread, never from an async task.
///
/// # Errors
/// A plan that no validator could have, a target that cannot be written or holds something, or an interrupt by `watch`.
pub fn generate(plan: &Plan, target: &Target, watch: &dyn Watch) -> Result<Summary> {
    let generator = Generator::new(plan.clone())?;
    let scoring =
        Scoring { expected_leads: plan.leads.clone(), expected_variables: plan.variables.clone(), ..Scoring::default() };
    let rules = Rules::new(scoring, generator.taken_at());
    let (mut lifetime, mut scratch) = (Lifetime::default(), Scratch::default());
    let units = generator.units();
    let mut planter = Planter::new(plan, units.len())?;
    let mut sink = target.open(&generator)?;
    let mut rows = BTreeMap::from([(NODES.name, generator.nodes().len() as u64), (RUNS.name, plan.runs as u64)]);
    for (place, unit) in units.iter().enumerate() {
        let raw = generator.unit_rows(unit);
        let evidence: Vec<RunEvidence> = raw.iter().map(|rows| generator.batches(rows)).collect();
        watch.check()?;
        let fold = fold_unit(&evidence, &rules, &mut scratch);
        lifetime.absorb(fold.history);
        let right = fold.stats.into_iter().map(|placed| placed.stat).collect();
        let wrong = match plan.causes {
            true => WrongWriters::of(&generator, &raw, &rules, &mut scratch),
            false => WrongWriters::none(),
        };
        let stored = planter.unit(place, unit, right, &wrong)?;
        count(&mut rows, &evidence, &stored);
        sink.unit(Part { rows: raw, evidence, stored })?;
        watch.progress("runs", place as u64 + 1, units.len() as u64);
    }
    let miners = planter.miners(lifetime.finish(&rules).0)?;
    rows.insert(MinerStat::TABLE, miners.len() as u64);
    sink.finish(miners)?;
    Ok(Summary { rows, planted: planter.into_planted() })
}

fn count(rows: &mut BTreeMap<&'static str, u64>, evidence: &[RunEvidence], stored: &StoredUnit) {
    let mut add = |table, more: usize| *rows.entry(table).or_default() += more as u64;
    for run in evidence {
        add(RESPONSES.name, run.responses.num_rows());
        add(SCORES.name, run.scores.num_rows());
        add(COMPONENTS.name, run.components.num_rows());
        add(STEPS.name, run.steps.num_rows());
    }
    add(ForecastStat::TABLE, stored.rows.len() + stored.strays.len());
}

/// Makes the evidence of a [`Plan`]. Pure: the same plan gives the same rows, in whatever order runs are asked for.
pub struct Generator {
    plan: Plan,
    vocabulary: Arc<Vocabulary>,
    miners: Vec<Miner>,
    types: ScoreTypes,
    messy: IrregularTexts,
    coordinator: Symbol,
    variable_levels: Vec<(usize, Option<i32>)>,
}

impl Generator {
    /// Refuses a plan that no validator could have.
    pub fn new(plan: Plan) -> Result<Self> {
        plan.validate()?;
        let mut vocabulary = Vocabulary::default();
        let coordinator = vocabulary.add("coordinator");
        let miners = (0..plan.miners).map(|uid| Miner::new(&plan, uid, &mut vocabulary)).collect();
        let types = ScoreTypes::new(&plan, &mut vocabulary);
        let messy = IrregularTexts::new(&plan, &mut vocabulary);
        let variable_levels = if plan.components { plan.variable_levels() } else { Vec::new() };
        let vocabulary = Arc::new(vocabulary);
        Ok(Generator { plan, vocabulary, miners, types, messy, coordinator, variable_levels })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The texts behind the rows' symbols.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn shared_vocabulary(&self) -> Arc<Vocabulary> {
        self.vocabulary.clone()
    }

    /// The time of the snapshot.
    pub fn taken_at(&self) -> Micros {
        self.plan.taken_at()
    }

    /// `node_table`, by uid: the miners, and a few nodes that no run asks.
    pub fn nodes(&self) -> Vec<Node> {
        let idle = self.plan.idle_uids().into_iter().map(|uid| miner::idle_node(&self.plan, uid));
        self.miners.iter().map(Miner::node).chain(idle).collect()
    }

    /// `weather_forecast_runs`, by id.
    pub fn runs(&self) -> Vec<Run> {
        (0..self.plan.runs).map(|index| self.plan.run(index)).collect()
    }

    /// What is handed over at a time, in order.
    pub fn units(&self) -> Vec<Unit> {
        units(&self.runs())
    }

    /// When the run was initiated, and when it had all its leads, if it has.
    pub fn run_times(&self, run: RunId) -> (Micros, Option<Micros>) {
        let index = run.0 as usize - 1;
        let over = self.plan.over(index);
        (self.plan.times(index).initiated, (over <= self.taken_at()).then_some(over))
    }

    /// The evidence of one unit, as a source would hand it over.
    pub fn evidence(&self, unit: &Unit) -> Vec<RunEvidence> {
        self.unit_rows(unit).iter().map(|rows| self.batches(rows)).collect()
    }

    /// The raw rows of one unit.
    pub fn unit_rows(&self, unit: &Unit) -> Vec<RunRows> {
        unit.runs.iter().map(|run| self.rows(run.id.0 as usize - 1)).collect()
    }

    /// Raw rows as evidence: in Arrow, errors sanitized.
    pub fn batches(&self, rows: &RunRows) -> RunEvidence {
        batch::evidence(rows, &self.vocabulary)
    }

    /// The raw rows of the run with this index, by id in each table.
    pub fn rows(&self, index: usize) -> RunRows {
        let run = self.plan.run(index);
        let initiated = self.plan.times(index).initiated;
        let mut rows = RunRows { run, initiated, responses: vec![], scores: vec![], components: vec![], steps: vec![] };
        let mut chance = Chance::new(self.plan.seed, Stream::Run(index));
        let difficulty = 1.0 + 0.08 * chance.normal();
        let has_gfs: Vec<bool> = self.plan.leads.iter().map(|_| chance.yes(0.8)).collect();
        self.seed_steps(index, &mut rows);
        for miner in &self.miners {
            self.one_miner(index, miner, difficulty, &has_gfs, &mut rows);
        }
        if self.plan.messy {
            self.disturb(index, &mut rows);
        }
        rows
    }

    /// The coordinator's steps, and the one that is seeded under the first node's own name.
    fn seed_steps(&self, index: usize, rows: &mut RunRows) {
        let start = plan::plus(rows.initiated, -40.0);
        let first = StepRow {
            id: self.plan.strides().steps * index as i64 + 1,
            miner_uid: 0,
            miner_hotkey: self.miners[0].hotkey_in(index),
            step_name: "seed",
            substep: Some("download_gfs"),
            lead_hours: None,
            status: "pending",
            started_at: None,
            completed_at: None,
            retry_count: 0,
            next_retry_time: None,
            latency_ms: None,
            error_json: None,
        };
        let done = StepRow {
            id: first.id + 1,
            miner_hotkey: self.coordinator,
            lead_hours: Some(0),
            status: "succeeded",
            started_at: Some(start),
            completed_at: Some(rows.initiated),
            ..first.clone()
        };
        rows.steps.extend([first, done]);
    }

    fn one_miner(&self, index: usize, miner: &Miner, difficulty: f64, has_gfs: &[bool], rows: &mut RunRows) {
        let (seed, uid, strides) = (self.plan.seed, miner.uid as usize, self.plan.strides());
        let hotkey = miner.hotkey_in(index);
        let builder = StoryBuilder {
            plan: &self.plan,
            miner,
            hotkey,
            run_id: rows.run.id.0,
            times: self.plan.times(index),
            now: self.taken_at(),
            chance: Chance::new(seed, Stream::Story(index, uid)),
            story: Story::default(),
        };
        let story = builder.build();
        let first = |stride: i64, per_miner: i64| stride * index as i64 + per_miner * i64::from(miner.uid) + 1;
        let steps = (first(strides.steps, strides.steps_per_miner) + 2..).zip(story.steps);
        rows.steps.extend(steps.map(|(id, step)| StepRow { id, ..step }));
        let Some(response) = story.response else { return };
        let response_id = first(strides.responses, 1);
        rows.responses.push(ResponseRow { id: response_id, ..response });
        let author = Author {
            plan: &self.plan,
            types: &self.types,
            miner,
            hotkey,
            response_id,
            gfs_init: rows.run.gfs_init,
            has_gfs,
            difficulty,
        };
        let first_score = first(strides.scores, strides.scores_per_miner);
        let mut chance = Chance::new(seed, Stream::Scores(index, uid));
        author.scores(first_score, story.day1, &story.scored, &mut chance, &mut rows.scores);
        let first_component = first(strides.components, strides.components_per_miner);
        let mut chance = Chance::new(seed, Stream::Components(index, uid));
        author.components(first_component, &self.variable_levels, &story.scored, &mut chance, &mut rows.components);
    }

    fn disturb(&self, index: usize, rows: &mut RunRows) {
        let strides = self.plan.strides();
        let spare = |stride: i64, per_miner: i64| stride * index as i64 + per_miner * self.plan.miners as i64 + 1;
        let irregularities = Irregularities {
            plan: &self.plan,
            texts: &self.messy,
            vocabulary: &self.vocabulary,
            rows,
            chance: Chance::new(self.plan.seed, Stream::Irregularities(index)),
            spare_score: spare(strides.scores, strides.scores_per_miner),
            spare_component: spare(strides.components, strides.components_per_miner),
            spare_step: spare(strides.steps, strides.steps_per_miner) + 2,
        };
        irregularities.add();
    }
}
