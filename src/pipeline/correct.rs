//! From a comparison to corrections: in memory for `reconcile --apply`, or in a folder for `apply` at another time.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::baseline::Baseline;
use crate::model::correction::{Correction, Corrections, EvidenceOf, Fingerprint, Origin, Selection, cells_of, corrections_of};
use crate::model::difference::{Difference, RowKey};
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{ForecastStat, MinerStat, SubnetStat};
use crate::model::value::Value;
use crate::sink::folder::DiffFolder;
use crate::source::Source;

use super::incremental::Incremental;
use super::pass::{Collect, Pass, Rest, UnitResult};

/// Recomputes and compares, and gives what would correct the stored rollups.
pub fn corrections(
    job: &Job,
    source: &Source,
    selection: Selection,
    settings: &Json,
    state: Option<Incremental>,
    watch: &dyn Watch,
) -> Result<(Outcome, Corrections)> {
    let mut gather = Gather::new(job, source, selection);
    let pass = Pass::new("reconcile", job, source, watch).with_evidence().with_state(state.as_ref());
    let mut outcome = pass.run(&mut gather)?;
    if let Some(state) = state {
        state.finish(&mut outcome)?;
    }
    let mut corrections = Corrections { rows: gather.rows, evidence: gather.prints.take(), origin: origin(&outcome, settings) };
    corrections.sort();
    Ok((outcome, corrections))
}

/// Recomputes and compares, and writes every difference to a folder, with all that `apply` needs.
pub fn diff(job: &Job, source: &Source, out: &Path, settings: &Json, watch: &dyn Watch) -> Result<Outcome> {
    let mut writer = Writer { gather: Gather::new(job, source, Selection::ALL), folder: DiffFolder::create(out, job.encoding)? };
    let outcome = Pass::new("diff", job, source, watch).with_evidence().run(&mut writer)?;
    writer.folder.finish(&writer.gather.prints.take(), &origin(&outcome, settings))?;
    Ok(outcome)
}

fn origin(outcome: &Outcome, settings: &Json) -> Origin {
    Origin {
        source: outcome.source.clone(),
        taken_at: outcome.taken_at.0,
        digest: outcome.digest.clone(),
        settings: settings.clone(),
        diff: None,
    }
}

/// Corrections in the making. Rows of runs come unit by unit, so only the evidence of rows that are corrected is kept.
struct Gather {
    selection: Selection,
    /// What is not corrected, whatever is selected.
    baseline: Option<Arc<Baseline>>,
    /// Names of the wide columns that are stored, each with its place among the expected leads.
    wide: Vec<(String, usize)>,
    rows: Vec<Correction>,
    prints: Prints,
}

impl Gather {
    fn new(job: &Job, source: &Source, selection: Selection) -> Gather {
        let expected = &job.scoring.expected_leads;
        let wide = source.snapshot().wide_leads.iter();
        let wide = wide.filter_map(|lead| Some((format!("era5_score_{lead}h"), expected.binary_search(lead).ok()?)));
        Gather { selection, baseline: job.baseline.clone(), wide: wide.collect(), rows: Vec::new(), prints: Prints::default() }
    }

    fn unit(&mut self, unit: &UnitResult) -> Vec<Correction> {
        let placed: BTreeMap<Option<i32>, &ForecastStat> =
            unit.fold.stats.iter().map(|row| (row.stat.miner_uid, &row.stat)).collect();
        let missing = |key: &RowKey| Some(self.whole(placed.get(&key.miner_uid)?));
        let rows = corrections_of(&self.not_accepted(&unit.diff.table.differences), self.selection, missing);
        self.prints.unit(&unit.evidence, &rows);
        rows
    }

    fn rest(&mut self, rest: &Rest<'_>) -> Vec<Correction> {
        let rows: Vec<_> = rest.differences.iter().flat_map(|list| self.whole_tables(list, rest)).collect();
        self.prints.rest(&rows);
        rows
    }

    fn whole_tables(&self, differences: &[Difference], rest: &Rest<'_>) -> Vec<Correction> {
        // Missing rows may be as many as there are runs: each is looked up, not looked for.
        let miners: HashMap<Option<i32>, &MinerStat> = rest.miners.iter().map(|row| (row.miner_uid, row)).collect();
        let subnet: HashMap<(&Option<String>, Option<i32>), &SubnetStat> =
            rest.subnet.iter().map(|row| ((&row.scope, row.run_id), row)).collect();
        corrections_of(&self.not_accepted(differences), self.selection, |key| match &key.scope {
            None => miners.get(&key.miner_uid).map(|row| cells_of::<MinerStat>(row)),
            scope => subnet.get(&(scope, key.run_id)).map(|row| cells_of::<SubnetStat>(row)),
        })
    }

    fn not_accepted<'d>(&self, differences: &'d [Difference]) -> Cow<'d, [Difference]> {
        match &self.baseline {
            Some(baseline) => differences.iter().filter(|found| !baseline.accepts(found)).cloned().collect(),
            None => Cow::Borrowed(differences),
        }
    }

    /// The recomputed row with its wide columns.
    fn whole(&self, row: &ForecastStat) -> Vec<(String, Value<'static>)> {
        let wide = self.wide.iter().filter_map(|(name, at)| Some((name.clone(), Value::Float(row.wide.get(*at).copied()??))));
        cells_of(row).into_iter().chain(wide).collect()
    }
}

impl Collect for Gather {
    fn unit(&mut self, unit: &mut UnitResult, (): ()) -> Result<()> {
        let rows = Gather::unit(self, unit);
        self.rows.extend(rows);
        Ok(())
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        let rows = Gather::rest(self, &rest);
        self.rows.extend(rows);
        Ok(())
    }

    fn takes_findings(&self) -> bool {
        false
    }
}

/// Corrections on their way to a folder.
struct Writer {
    gather: Gather,
    folder: DiffFolder,
}

impl Collect for Writer {
    fn unit(&mut self, unit: &mut UnitResult, (): ()) -> Result<()> {
        let rows = self.gather.unit(unit);
        self.folder.write(&unit.diff.table.differences, &rows)
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        let rows = self.gather.rest(&rest);
        rest.differences.iter().try_for_each(|list| self.folder.write(list, &[]))?;
        self.folder.write(&[], &rows)
    }

    fn takes_findings(&self) -> bool {
        false
    }
}

/// The fingerprints that corrections need, and the sums over all runs that those of lifetime rows are.
#[derive(Default)]
struct Prints {
    needed: BTreeMap<EvidenceOf, Fingerprint>,
    /// Of each miner over all runs, and of all.
    lifetime: BTreeMap<EvidenceOf, Fingerprint>,
}

impl Prints {
    fn unit(&mut self, evidence: &BTreeMap<EvidenceOf, Fingerprint>, rows: &[Correction]) {
        for evidence_of in rows.iter().flat_map(Correction::needed) {
            self.needed.entry(evidence_of).or_insert_with(|| {
                let mut sum = Fingerprint::default();
                let of = |one: &EvidenceOf| {
                    one.run == evidence_of.run && (evidence_of.miner == EvidenceOf::ALL || one.miner == evidence_of.miner)
                };
                evidence.iter().filter(|(one, _)| of(one)).for_each(|(_, print)| sum.add(print));
                sum
            });
        }
        for (evidence_of, print) in evidence {
            let all = EvidenceOf { run: EvidenceOf::ALL, miner: EvidenceOf::ALL };
            for sum in
                [EvidenceOf { run: EvidenceOf::ALL, ..*evidence_of }, all, EvidenceOf { miner: EvidenceOf::ALL, ..*evidence_of }]
            {
                self.lifetime.entry(sum).or_default().add(print);
            }
        }
    }

    fn rest(&mut self, rows: &[Correction]) {
        for evidence_of in rows.iter().flat_map(Correction::needed) {
            let print = self.lifetime.get(&evidence_of).copied().unwrap_or_default();
            self.needed.entry(evidence_of).or_insert(print);
        }
    }

    fn take(self) -> BTreeMap<EvidenceOf, Fingerprint> {
        self.needed
    }
}
