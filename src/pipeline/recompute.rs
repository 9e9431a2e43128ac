//! Recomputes alone: for the digest and the findings, or into a folder of Parquet files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use arrow_array::RecordBatch;

use super::Source;
use super::pass::{Collect, Pass, Rest, UnitResult};
use crate::error::Result;
use crate::files::staging::Staging;
use crate::model::job::{Encoding, Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{FindingRow, ForecastStat, LeadScore, MinerStat, Rollup, SubnetStat};
use crate::model::rows::{batch_of, batch_of_each, schema_of};
use crate::parallel;
use crate::rollup::UnitFold;
use crate::sink::tables::{RowGroups, SortedTable, ordered_rows, write};

/// Recomputes, and keeps nothing but what an [`Outcome`] has of it.
pub fn recompute(job: &Job, source: &Source, watch: &dyn Watch) -> Result<Outcome> {
    Ok(without_differences(Pass::new("recompute", job, source, watch).run(&mut ())?))
}

/// Some findings are about stored rows, so a pass looks at these as well; what differs is not this command's news.
fn without_differences(outcome: Outcome) -> Outcome {
    Outcome { tables: BTreeMap::new(), differences: Vec::new(), ..outcome }
}

/// Writes `lead_scores`, the three rollup tables and the findings, each in order of its key.
pub fn write_rollups(job: &Job, source: &Source, out: &Path, watch: &dyn Watch) -> Result<Outcome> {
    let mut tables = Recomputed::create(out, job.threads, job.encoding)?;
    let pass = Pass::new("recompute", job, source, watch);
    let outcome = pass.run_with_fold(Batches::of, &mut tables)?;
    tables.folder.commit()?;
    Ok(without_differences(outcome))
}

/// The rows of a unit, put into columns on the thread that folds it.
struct Batches {
    lead_scores: RecordBatch,
    stats: RecordBatch,
}

impl Batches {
    fn of(fold: &UnitFold) -> Batches {
        Batches { lead_scores: batch_of(&fold.lead_scores), stats: batch_of_each(&fold.stats, |placed| &placed.stat) }
    }
}

/// The tables in the making.
struct Recomputed {
    folder: Staging,
    threads: usize,
    encoding: Encoding,
    /// By run; the rows of a run come in order of miner and lead.
    lead_scores: Option<SortedTable>,
    /// By miner, `forecast_run_id` and run; units come in order of the second, rows of a unit in order of the third.
    stats: Option<SortedTable>,
}

impl Recomputed {
    fn create(out: &Path, threads: usize, encoding: Encoding) -> Result<Self> {
        let folder = Staging::create(out)?;
        let path = folder.path("");
        let table = |columns, key| Some(SortedTable::create(&path, schema_of(columns), key));
        Ok(Recomputed {
            lead_scores: table(LeadScore::COLUMNS, "run_id"),
            stats: table(ForecastStat::COLUMNS, "miner_uid"),
            folder,
            threads,
            encoding,
        })
    }
}

const ONCE: &str = "invariant: what is left comes once, and last";

impl Collect<Batches> for Recomputed {
    fn unit(&mut self, _unit: &mut UnitResult, batches: Batches) -> Result<()> {
        self.lead_scores.as_mut().expect(ONCE).push(batches.lead_scores)?;
        self.stats.as_mut().expect(ONCE).push(batches.stats)
    }

    /// Writes all tables.
    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        let sorted = [self.stats.take(), self.lead_scores.take()].map(|table| table.expect(ONCE));
        let sorted = parallel::all(sorted.into(), SortedTable::sorted).into_iter().collect::<Result<Vec<_>>>()?;
        let miners = ordered_rows::<MinerStat, _>(rest.miners.len(), |rows| batch_of(&rest.miners[rows]));
        let subnet = ordered_rows::<SubnetStat, _>(rest.subnet.len(), |rows| batch_of(&rest.subnet[rows]));
        let finding_rows = |rows: Range<usize>| rest.findings[rows].iter().map(FindingRow::from).collect::<Vec<_>>();
        let findings = ordered_rows::<FindingRow, _>(rest.findings.len(), |rows| batch_of(&finding_rows(rows)));
        let tables: [(&str, &dyn RowGroups); 5] = [
            (ForecastStat::TABLE, &sorted[0]),
            (MinerStat::TABLE, &miners),
            (SubnetStat::TABLE, &subnet),
            (FindingRow::TABLE, &findings),
            (LeadScore::TABLE, &sorted[1]),
        ];
        write(&tables.map(|(table, rows)| (self.folder.path(&format!("{table}.parquet")), rows)), self.threads, self.encoding)
    }
}
