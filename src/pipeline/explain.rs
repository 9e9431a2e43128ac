//! Why a row is what it is: of a row of a run its unit alone is read, folded, compared and taken apart; of a row that is made of other
//! rollups, all of them.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::model::columns::Column;
use crate::model::difference::{Difference, RowKey};
use crate::model::evidence::{StoredStat, UnitEvidence, units};
use crate::model::ids::{MinerUid, RunId};
use crate::model::job::{Job, Narrowing, RunRange, Watch};
use crate::model::outcome::Outcome;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup, SubnetStat};
use crate::model::value::Value;
use crate::rollup::explain::explain as columns_of;
pub use crate::rollup::explain::{EvidenceRow, Explained, rested_on_beyond};
use crate::rollup::explain::{RunRow, explain_miner, explain_subnet_for_life, explain_subnet_of_run};
use crate::rollup::{Rules, Scratch, UnitFold};
use crate::source::Source;

use super::pass::{Collect, Pass, Rest, UnitResult};

/// Which row is explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Of `weather_forecast_stats`. `placed` is false where a later run has the place (D1): then nothing is stored of this row.
    Run { run: RunId, miner: MinerUid, forecast_run_id: String, placed: bool },
    /// Of `miner_stats`.
    Lifetime(MinerUid),
    /// Of `weather_subnet_stats`: of a run, or over everything.
    Subnet(Option<RunId>),
}

impl What {
    pub fn table(&self) -> &'static str {
        match self {
            What::Run { .. } => ForecastStat::TABLE,
            What::Lifetime(_) => MinerStat::TABLE,
            What::Subnet(_) => SubnetStat::TABLE,
        }
    }
}

/// A row, explained and held against what is stored.
pub struct Explanation {
    pub source: String,
    pub what: What,
    pub columns: Vec<Explained>,
    /// Cells by column; `None` where nothing is stored.
    pub stored: Option<BTreeMap<String, Value<'static>>>,
    /// Whether the source stores the table at all.
    pub table_is_stored: bool,
    /// Where the row is compared: what is within tolerance is left out.
    pub differences: Vec<Difference>,
    /// Of the rows that the row is made of, where it is made of other rollups.
    pub below: Vec<Difference>,
    pub rules: Rules,
}

fn cells_of<R: Rollup>(row: &R) -> BTreeMap<String, Value<'static>> {
    R::COLUMNS.iter().enumerate().map(|(at, column)| (column.name.to_string(), row.value(at).into_owned())).collect()
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
    let cells = |stored: &StoredStat| {
        let wide = snapshot.wide_leads.iter().zip(&stored.row.wide);
        let wide = wide.map(|(lead, value)| (Column::wide(*lead).name.to_string(), value.map_or(Value::Null, Value::Float)));
        cells_of(&stored.row).into_iter().chain(wide).collect()
    };
    Ok(Explanation {
        source: outcome.source,
        what: What::Run { run, miner, forecast_run_id: found.forecast_run_id, placed: found.placed },
        columns: found.columns,
        stored: found.stored.filter(|_| found.placed).as_ref().map(cells),
        table_is_stored: snapshot.has_stored_stats,
        differences: outcome.differences.into_iter().filter(|difference| found.placed && difference.key == key).collect(),
        below: Vec::new(),
        rules,
    })
}

/// Explains the row of a miner over all its runs. All runs are read.
///
/// # Errors
/// [`ErrorKind::Usage`] where the miner has no row; those of [`super::reconcile`] besides.
pub fn explain_lifetime(job: &Job, source: &Source, miner: MinerUid, watch: &dyn Watch) -> Result<Explanation> {
    let snapshot = source.snapshot();
    let job = Job { narrowing: Narrowing::default(), ..job.clone() };
    let take = |fold: &UnitFold| {
        let of_miner = fold.stats.iter().filter(|row| row.stat.miner_uid == Some(miner.0));
        let rows = of_miner.map(|row| RunRow {
            stat: row.stat.clone(),
            placed: fold.history.iter().find(|run| row.placed && run.miner == miner).cloned(),
        });
        rows.collect()
    };
    let mut gather = Below::<RunRow>::default();
    let outcome = Pass::new("explain", &job, source, watch).run_with_fold(take, &mut gather)?;
    let Some(stat) = gather.miners.iter().find(|row| row.miner_uid == Some(miner.0)) else {
        return Err(unknown(format!("miner {miner} has no response and no step in any run, so no row")));
    };
    let columns = explain_miner(stat, gather.rows, &gather.miners);
    let stored = snapshot.stored_miners.iter().flatten().find(|row| row.miner_uid == Some(miner.0));
    let key = RowKey { miner_uid: Some(miner.0), ..RowKey::default() };
    let rules = Rules::new(job.scoring.clone(), snapshot.taken_at);
    Ok(whole(outcome, What::Lifetime(miner), key, columns, stored.map(cells_of), snapshot.stored_miners.is_some(), rules))
}

/// Explains the row of the subnet in a run, or over everything. All runs are read.
///
/// # Errors
/// [`ErrorKind::Usage`] where there is no such run; those of [`super::reconcile`] besides.
pub fn explain_subnet(job: &Job, source: &Source, run: Option<RunId>, watch: &dyn Watch) -> Result<Explanation> {
    let snapshot = source.snapshot();
    if let Some(run) = run.filter(|run| !snapshot.runs.iter().any(|known| known.id == *run)) {
        return Err(unknown(format!("{} has no run {run}", source.display())));
    }
    let job = Job { narrowing: Narrowing::default(), ..job.clone() };
    let take = |fold: &UnitFold| {
        let of_run = fold.stats.iter().filter(|row| run.is_some() && row.stat.run_id == run.map(|run| run.0));
        of_run.map(|row| row.stat.clone()).collect()
    };
    let mut gather = Below::<ForecastStat>::default();
    let outcome = Pass::new("explain", &job, source, watch).run_with_fold(take, &mut gather)?;
    let id = run.map(|run| run.0);
    let Some(stat) = gather.subnet.iter().find(|row| row.run_id == id) else {
        return Err(unknown("the subnet has no such row".to_owned()));
    };
    let columns = match run {
        Some(_) => explain_subnet_of_run(stat, gather.rows),
        None => explain_subnet_for_life(stat, &gather.miners, gather.placed),
    };
    let stored = snapshot.stored_subnet.iter().flatten().find(|row| row.run_id == id);
    let key = RowKey { scope: stat.scope.clone(), run_id: id, ..RowKey::default() };
    let rules = Rules::new(job.scoring.clone(), snapshot.taken_at);
    Ok(whole(outcome, What::Subnet(run), key, columns, stored.map(cells_of), snapshot.stored_subnet.is_some(), rules))
}

/// A row that is made of other rollups.
fn whole(
    outcome: Outcome,
    what: What,
    key: RowKey,
    columns: Vec<Explained>,
    stored: Option<BTreeMap<String, Value<'static>>>,
    table_is_stored: bool,
    rules: Rules,
) -> Explanation {
    let table = what.table();
    let (differences, others): (Vec<Difference>, Vec<Difference>) =
        outcome.differences.into_iter().partition(|difference| difference.table == table && difference.key == key);
    let is_below = |difference: &Difference| match &what {
        What::Run { .. } => false,
        What::Lifetime(miner) => difference.table == ForecastStat::TABLE && difference.key.miner_uid == Some(miner.0),
        What::Subnet(Some(run)) => difference.table == ForecastStat::TABLE && difference.key.run_id == Some(run.0),
        What::Subnet(None) => difference.table == MinerStat::TABLE,
    };
    let below = others.into_iter().filter(is_below).collect();
    Explanation { source: outcome.source, what, columns, stored, table_is_stored, differences, below, rules }
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

/// Keeps rows of runs that are asked for, and the rows that are made of all runs.
struct Below<R> {
    rows: Vec<R>,
    /// Rows of all miners that have a place.
    placed: u64,
    miners: Vec<MinerStat>,
    subnet: Vec<SubnetStat>,
}

impl<R> Default for Below<R> {
    fn default() -> Self {
        Below { rows: Vec::new(), placed: 0, miners: Vec::new(), subnet: Vec::new() }
    }
}

impl<R: Send> Collect<Vec<R>> for Below<R> {
    fn unit(&mut self, unit: &mut UnitResult, mut rows: Vec<R>) -> Result<()> {
        self.placed += unit.fold.history.len() as u64;
        self.rows.append(&mut rows);
        Ok(())
    }

    fn rest(&mut self, rest: Rest<'_>) -> Result<()> {
        (self.miners, self.subnet) = (rest.miners.to_vec(), rest.subnet.to_vec());
        Ok(())
    }

    fn takes_findings(&self) -> bool {
        false
    }
}
