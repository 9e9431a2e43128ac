//! Recomputes alone, into a folder of Parquet files.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::RecordBatch;

use super::Source;
use super::sweep::{Collect, Rest, Sweep, UnitResult};
use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{FindingRow, ForecastStat, LeadScore, MinerStat, Rollup, SubnetStat};
use crate::model::rows::{batch_of, batch_of_each, schema_of};
use crate::rollup::UnitFold;
use crate::sink::tables::SortedTable;
use crate::staging::Staging;

/// Writes `lead_scores`, the three rollup tables and the findings, each in order of its key.
pub fn recompute(job: &Job, source: &Source, out: &Path, watch: &dyn Watch) -> Result<Outcome> {
    let mut tables = Recomputed::create(out)?;
    // Some findings are about stored rows, so these are looked at as well; what differs is not this command's news.
    let sweep = Sweep::new("recompute", job, source, watch);
    let outcome = sweep.run_with_fold(Batches::of, &mut tables)?;
    tables.finish(job.threads)?;
    Ok(Outcome { tables: BTreeMap::new(), differences: Vec::new(), ..outcome })
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

/// The five tables in the making.
struct Recomputed {
    folder: Staging,
    /// By run; the rows of a run come in order of miner and lead.
    lead_scores: SortedTable,
    /// By miner, `forecast_run_id` and run; units come in order of the second, rows of a unit in order of the third.
    stats: SortedTable,
    miners: SortedTable,
    subnet: SortedTable,
    findings: SortedTable,
}

impl Recomputed {
    fn create(out: &Path) -> Result<Self> {
        let folder = Staging::create(out)?;
        let path = folder.path("");
        let table = |columns, key| SortedTable::create(&path, schema_of(columns), key);
        Ok(Recomputed {
            lead_scores: table(LeadScore::COLUMNS, Some("run_id")),
            stats: table(ForecastStat::COLUMNS, Some("miner_uid")),
            miners: table(MinerStat::COLUMNS, None),
            subnet: table(SubnetStat::COLUMNS, None),
            findings: table(FindingRow::COLUMNS, None),
            folder,
        })
    }

    fn finish(self, threads: usize) -> Result<()> {
        let file = |table: &str| self.folder.path(&format!("{table}.parquet"));
        let tables = [
            (self.stats, file(ForecastStat::TABLE)),
            (self.miners, file(MinerStat::TABLE)),
            (self.subnet, file(SubnetStat::TABLE)),
            (self.findings, file(FindingRow::TABLE)),
            (self.lead_scores, file(LeadScore::TABLE)),
        ];
        SortedTable::write(tables.into(), threads)?;
        self.folder.commit()
    }
}

impl Collect<Batches> for Recomputed {
    fn unit(&mut self, _unit: &mut UnitResult, batches: Batches) -> Result<()> {
        self.lead_scores.push(batches.lead_scores)?;
        self.stats.push(batches.stats)
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        self.miners.rows(rest.miners)?;
        self.subnet.rows(rest.subnet)?;
        self.findings.rows(&rest.findings.iter().map(FindingRow::from).collect::<Vec<_>>())
    }
}
