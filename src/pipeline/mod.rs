//! The main job, and the only place that sees all stages.

pub mod archive;
mod correct;
mod generate;
pub mod legacy;
mod sweep;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::error::Result;
use crate::model::evidence::{UnitEvidence, units};
use crate::model::job::{Job, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{FindingRow, ForecastStat, LeadScore, Rollup};
use crate::rollup::parallel;
use crate::sink::tables::{SortedTable, TableFile};
use crate::source::Options;
pub use crate::source::Source;
use crate::source::folder::SnapshotWriter;
use crate::staging::Staging;

/// What writes: the stage itself, for the commands that do nothing else.
pub use crate::sink::correct::{apply, jobs, prune, show, undo, write_sql};
pub use crate::sink::folder::read as read_diff;
pub use correct::{corrections, diff};
pub use generate::generate;
use sweep::{Collect, Rest, Sweep, UnitResult};

/// Opens the source of a job.
pub fn open(job: &Job) -> Result<Source> {
    let options = Options { connections: job.connections, statement_timeout: job.statement_timeout, ..Options::default() };
    let source = Source::open(job.source.secret(), &options)?;
    let snapshot = source.snapshot();
    tracing::info!(source = source.display(), taken_at = snapshot.taken_at.iso(), runs = snapshot.runs.len(), "opened");
    Ok(source)
}

/// Recomputes and compares.
pub fn reconcile(command: &'static str, job: &Job, source: &Source, watch: &dyn Watch) -> Result<Outcome> {
    Sweep::new(command, job, source, watch).run(&mut ())
}

/// Recomputes alone, into a folder of Parquet files.
pub fn recompute(job: &Job, source: &Source, out: &Path, watch: &dyn Watch) -> Result<Outcome> {
    let mut tables = Recomputed::create(out)?;
    // Some findings are about stored rows, so these are looked at as well; what differs is not this command's news.
    let outcome = Sweep::new("recompute", job, source, watch).run(&mut tables)?;
    tables.finish()?;
    Ok(Outcome { tables: BTreeMap::new(), differences: Vec::new(), ..outcome })
}

/// Copies the snapshot into a folder that stands for the database.
pub fn export(source: &Source, out: &Path, threads: usize, settings: &Json, watch: &dyn Watch) -> Result<()> {
    let snapshot = source.snapshot();
    let mut writer = SnapshotWriter::create(out, snapshot)?;
    let units = units(&snapshot.runs);
    let mut done = 0;
    parallel::in_order(
        threads,
        &units,
        |unit| {
            watch.check()?;
            source.read(unit)
        },
        |evidence: UnitEvidence| {
            writer.append(&evidence)?;
            done += 1;
            watch.progress("export", done, units.len() as u64);
            Ok(())
        },
    )?;
    writer.finish(&source.strays()?, settings)
}

/// The five tables of `recompute` in the making.
struct Recomputed {
    folder: Staging,
    lead_scores: SortedTable<(Option<i32>, Option<i32>, Option<i32>)>,
    /// Units come in order of `forecast_run_id`, so their number stands for it.
    stats: SortedTable<(Option<i32>, usize, Option<i32>)>,
    units: usize,
}

impl Recomputed {
    fn create(out: &Path) -> Result<Self> {
        let folder = Staging::create(out)?;
        Ok(Recomputed { folder, lead_scores: SortedTable::default(), stats: SortedTable::default(), units: 0 })
    }

    fn write<R: Rollup>(&self, rows: &[R]) -> Result<()> {
        let mut file = TableFile::create::<R>(&self.folder.path(&format!("{}.parquet", R::TABLE)))?;
        file.rows(rows)?;
        file.finish()
    }

    fn finish(self) -> Result<()> {
        self.lead_scores.write::<LeadScore>(&self.folder.path("lead_scores.parquet"))?;
        self.stats.write::<ForecastStat>(&self.folder.path("weather_forecast_stats.parquet"))?;
        self.folder.commit()
    }
}

impl Collect for Recomputed {
    fn unit(&mut self, unit: &mut UnitResult, (): ()) -> Result<()> {
        self.lead_scores.push(&unit.fold.lead_scores, |row: &LeadScore| (row.run_id, row.miner_uid, row.lead_hours));
        let rows: Vec<ForecastStat> = unit.fold.stats.drain(..).map(|placed| placed.stat).collect();
        self.stats.push(&rows, |row| (row.miner_uid, self.units, row.run_id));
        self.units += 1;
        Ok(())
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        self.write(rest.miners)?;
        self.write(rest.subnet)?;
        self.write(&rest.findings.iter().map(FindingRow::from).collect::<Vec<_>>())
    }
}
