//! Why a row is what it is: its unit alone is read, folded, compared and taken apart.

use crate::error::{Error, ErrorKind, Result};
use crate::model::difference::{Difference, RowKey};
use crate::model::evidence::{StoredStat, UnitEvidence, units};
use crate::model::ids::{LeadHours, MinerUid, RunId};
use crate::model::job::{Job, Narrowing, RunRange, Watch};
use crate::model::rollups::ForecastStat;
pub use crate::rollup::explain::{EvidenceRow, Explained};
use crate::rollup::{Rules, Scratch, UnitFold, explain::explain as columns_of};
use crate::source::Source;

use super::pass::{Collect, Pass, Rest, UnitResult};

/// A row of `weather_forecast_stats`, explained and held against what is stored.
pub struct Explanation {
    pub source: String,
    pub run: RunId,
    pub miner: MinerUid,
    pub forecast_run_id: String,
    /// False where a later run has the place (D1): then nothing is stored of this row.
    pub placed: bool,
    pub columns: Vec<Explained>,
    pub stored: Option<StoredStat>,
    /// Those that the source stores a wide column of, in the order of the stored row.
    pub wide_leads: Vec<LeadHours>,
    /// Where the row is compared: what is within tolerance is left out.
    pub differences: Vec<Difference>,
    pub rules: Rules,
}

/// Explains the row of a miner in a run.
///
/// # Errors
/// [`ErrorKind::Usage`] where the source has no such run, or the miner no row in it; those of [`super::reconcile`] besides.
pub fn explain(job: &Job, source: &Source, run: RunId, miner: MinerUid, watch: &dyn Watch) -> Result<Explanation> {
    let snapshot = source.snapshot();
    let Some(unit) = units(&snapshot.runs).into_iter().find(|unit| unit.runs.iter().any(|known| known.id == run)) else {
        return Err(unknown(format!("{} has no run {run}", source.display())));
    };
    // A run that was seeded again is compared by the run that has its place (D1).
    let runs = RunRange { first: Some(run), last: unit.runs.iter().map(|run| run.id).max() };
    let job = Job { narrowing: Narrowing { runs, since: None, miner: None, lifetime: false }, ..job.clone() };
    let rules = Rules::new(job.scoring.clone(), snapshot.taken_at);
    let take = |evidence: &UnitEvidence, fold: &UnitFold| -> Result<Option<FoundRow>> {
        let found = evidence.runs.iter().find(|evidence| evidence.run.id == run).and_then(|of_run| {
            let columns = columns_of(of_run, fold, &rules, miner, &mut Scratch::default())?;
            let is_row = |stat: &ForecastStat| (stat.run_id, stat.miner_uid) == (Some(run.0), Some(miner.0));
            let placed = fold.stats.iter().any(|row| row.placed && is_row(&row.stat));
            let stored = evidence.stored.iter().find(|stored| stored.row.miner_uid == Some(miner.0)).cloned();
            Some(FoundRow { columns, placed, stored, forecast_run_id: of_run.run.forecast_run_id.clone() })
        });
        Ok(found)
    };
    let mut gather = Gather(None);
    let outcome = Pass::new("explain", &job, source, watch).run_with(take, &mut gather)?;
    let found = gather.0.ok_or_else(|| unknown(format!("run {run} has no response and no step of miner {miner}, so no row")))?;
    let key = RowKey {
        miner_uid: Some(miner.0),
        forecast_run_id: Some(found.forecast_run_id.clone()),
        scope: None,
        run_id: Some(run.0),
    };
    Ok(Explanation {
        source: outcome.source,
        run,
        miner,
        forecast_run_id: found.forecast_run_id,
        placed: found.placed,
        columns: found.columns,
        stored: found.stored.filter(|_| found.placed),
        wide_leads: snapshot.wide_leads.clone(),
        differences: outcome.differences.into_iter().filter(|difference| found.placed && difference.key == key).collect(),
        rules,
    })
}

fn unknown(detail: String) -> Error {
    Error::new(ErrorKind::Usage, "looking for the row", detail).hint("a report names the runs and miners that differ")
}

struct FoundRow {
    columns: Vec<Explained>,
    placed: bool,
    stored: Option<StoredStat>,
    forecast_run_id: String,
}

/// Keeps the one row that is asked for.
struct Gather(Option<FoundRow>);

impl Collect<Option<FoundRow>> for Gather {
    fn unit(&mut self, _unit: &mut UnitResult, found: Option<FoundRow>) -> Result<()> {
        self.0 = self.0.take().or(found);
        Ok(())
    }

    fn rest(&mut self, _rest: Rest<'_>) -> Result<()> {
        Ok(())
    }
}
