//! Generated data with stored rollups beside it that are right but for what was planted: the engine here is recount's own.

use crate::error::Result;
use crate::generate::{self, Engine, Generator, Plan, Summary, Target};
use crate::model::evidence::{RunEvidence, Unit};
use crate::model::job::Watch;
use crate::model::rollups::{ForecastStat, MinerStat};
use crate::model::settings::Scoring;
use crate::rollup::{Lifetime, Rules, fold_unit};

/// Generates a plan into a target, telling how far it is.
pub fn generate(plan: &Plan, target: &Target, watch: &dyn Watch) -> Result<Summary> {
    let generator = Generator::new(plan.clone())?;
    let scoring =
        Scoring { expected_leads: plan.leads.clone(), expected_variables: plan.variables.clone(), ..Scoring::default() };
    let rules = Rules::new(scoring, generator.taken_at());
    let units = generator.units().len() as u64;
    generate::run(plan, target, &mut Fold { rules, lifetime: Lifetime::default(), watch, done: 0, units })
}

struct Fold<'w> {
    rules: Rules,
    lifetime: Lifetime,
    watch: &'w dyn Watch,
    done: u64,
    units: u64,
}

impl Engine for Fold<'_> {
    fn fold(&mut self, _unit: &Unit, evidence: &[RunEvidence]) -> Result<Vec<ForecastStat>> {
        self.watch.check()?;
        let fold = fold_unit(evidence, &self.rules);
        self.lifetime.absorb(fold.history);
        self.done += 1;
        self.watch.progress("runs", self.done, self.units);
        Ok(fold.stats.into_iter().map(|placed| placed.stat).collect())
    }

    fn lifetime(&mut self) -> Vec<MinerStat> {
        std::mem::take(&mut self.lifetime).finish(&self.rules).0
    }
}
