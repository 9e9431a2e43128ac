//! Recomputes alone, into a folder of Parquet files.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::RecordBatch;

use super::Source;
use super::sweep::{Collect, Rest, Sweep, UnitResult};
use crate::error::Result;
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{FindingRow, ForecastStat, LeadScore, Rollup};
use crate::model::rows::{batch_of, schema_of};
use crate::parallel;
use crate::rollup::UnitFold;
use crate::sink::tables::{SortedTable, TableFile};
use crate::staging::Staging;

/// Writes `lead_scores`, the three rollup tables and the findings, each in order of its key.
pub fn recompute(job: &Job, source: &Source, out: &Path, watch: &dyn Watch) -> Result<Outcome> {
    let mut tables = Recomputed::create(out)?;
    // Some findings are about stored rows, so these are looked at as well; what differs is not this command's news.
    let sweep = Sweep::new("recompute", job, source, watch);
    let outcome = sweep.run_with(|_, fold| Ok(Batches::of(fold)), &mut tables)?;
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
        let stats: Vec<ForecastStat> = fold.stats.iter().map(|placed| placed.stat.clone()).collect();
        Batches { lead_scores: batch_of(&fold.lead_scores), stats: batch_of(&stats) }
    }
}

/// The five tables in the making.
struct Recomputed {
    folder: Staging,
    /// By run; the rows of a run come in order of miner and lead.
    lead_scores: SortedTable<i32>,
    /// By miner and `forecast_run_id`. Units come in order of the latter, so their number stands for it; then by run.
    stats: SortedTable<(i32, u32, i32)>,
    units: u32,
}

impl Recomputed {
    fn create(out: &Path) -> Result<Self> {
        let folder = Staging::create(out)?;
        Ok(Recomputed {
            lead_scores: SortedTable::create(&folder.path(""), schema_of(LeadScore::COLUMNS))?,
            stats: SortedTable::create(&folder.path(""), schema_of(ForecastStat::COLUMNS))?,
            folder,
            units: 0,
        })
    }

    fn write<R: Rollup>(&self, rows: &[R]) -> Result<()> {
        let mut file = TableFile::create::<R>(&self.folder.path(&format!("{}.parquet", R::TABLE)))?;
        file.rows(rows)?;
        file.finish()
    }

    fn finish(self, threads: usize) -> Result<()> {
        let paths = ["lead_scores.parquet", "weather_forecast_stats.parquet"].map(|file| self.folder.path(file));
        // Side by side, so that the last row groups of one table leave no thread idle; by one thread, one after the other.
        let write_stats = || self.stats.write(&paths[1], threads);
        let (leads, stats) = parallel::both(|| self.lead_scores.write(&paths[0], threads), write_stats);
        leads.and(stats)?;
        self.folder.commit()
    }
}

impl Collect<Batches> for Recomputed {
    fn unit(&mut self, unit: &mut UnitResult, batches: Batches) -> Result<()> {
        let fold = &unit.fold;
        self.lead_scores.push(&batches.lead_scores, fold.lead_scores.iter().map(|row| row.run_id.unwrap_or_default()))?;
        let key = |stat: &ForecastStat| (stat.miner_uid.unwrap_or_default(), self.units, stat.run_id.unwrap_or_default());
        self.stats.push(&batches.stats, fold.stats.iter().map(|placed| key(&placed.stat)))?;
        self.units += 1;
        Ok(())
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        self.write(rest.miners)?;
        self.write(rest.subnet)?;
        self.write(&rest.findings.iter().map(FindingRow::from).collect::<Vec<_>>())
    }
}
