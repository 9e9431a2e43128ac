//! A database together with the runs that its retention has deleted and an archive still has. The database wins.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, DictionaryArray, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;

use super::archive::{Archive, recoded};
use super::decode::Interner;
use super::retained::{Retained, set_aside, unite};
use super::{Counters, Source};
use crate::archive::read::Reader;
use crate::error::{Context, ErrorKind, Result};
use crate::model::evidence::{Run, RunEvidence, Snapshot, StoredStat, Unit, UnitEvidence};
use crate::model::ids::{LeadHours, RunId};
use crate::model::job::{Narrowing, RunRange};
use crate::model::rollups::Rollup;
use crate::model::sanitize::{sanitize_cow, sanitized};
use crate::model::time::Micros;
use crate::model::value::Value;

const DAY_US: i64 = 86_400_000_000;

/// What the union is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Rollups are compared with what the database stores; it stores nothing of the runs that it has deleted.
    Compare,
    /// Everything is written down again: what the database once stored of deleted runs too, and no text as it came.
    Preserve,
}

/// Two sources as one.
#[derive(Debug)]
pub struct United {
    live: Source,
    archive: Option<Archive>,
    purpose: Purpose,
    snapshot: Snapshot,
    /// The runs that come from the archive.
    archived: BTreeSet<RunId>,
    /// Those of them that the database no longer has; it was not asked for the others.
    gone: BTreeSet<RunId>,
    forget: Option<RunRange>,
    /// Steps that ended before this are deleted as old ones; `None` where none are.
    kept_since: Option<Micros>,
    /// What is gone of the runs that were read.
    retained: Mutex<BTreeMap<RunId, Retained>>,
}

impl United {
    /// Takes from the database the runs that `narrowing` includes, and from the archive all others that it has.
    pub fn new(live: Source, archive: Option<Archive>, purpose: Purpose, narrowing: &Narrowing) -> United {
        let mut snapshot = live.snapshot().clone();
        snapshot.runs.retain(|run| narrowing.includes_run(run));
        let known: BTreeSet<RunId> = snapshot.runs.iter().map(|run| run.id).collect();
        let had: BTreeSet<RunId> = live.snapshot().runs.iter().map(|run| run.id).filter(|run| !live.is_gone(*run)).collect();
        let mut archived = BTreeSet::new();
        if let Some(former) = archive.as_ref().map(Archive::snapshot) {
            let gone = former.runs.iter().filter(|run| !known.contains(&run.id)).cloned();
            snapshot.runs.extend(gone);
            archived = snapshot.runs.iter().map(|run| run.id).filter(|id| !known.contains(id)).collect();
            snapshot.runs.sort_by_key(|run| run.id);
            snapshot.has_steps |= former.has_steps;
            snapshot.add_legacy(former.legacy.iter().cloned());
            if purpose == Purpose::Preserve {
                snapshot.has_stored_stats |= former.has_stored_stats;
                snapshot.wide_leads.extend(&former.wide_leads);
                snapshot.wide_leads.sort_unstable();
                snapshot.wide_leads.dedup();
            }
            let (live, gone) = (known.len(), archived.len());
            snapshot.notes.push(format!("{live} runs come from the database and {gone} that it no longer has from the archive"));
        }
        if purpose == Purpose::Preserve {
            snapshot.stored_miners.iter_mut().flatten().for_each(clean_row);
            snapshot.stored_subnet.iter_mut().flatten().for_each(clean_row);
            snapshot.legacy.iter_mut().for_each(clean_row);
            let hotkeys = snapshot.nodes.iter_mut().filter_map(|node| node.hotkey.as_mut());
            hotkeys.for_each(|hotkey| *hotkey = sanitize_cow(hotkey).into_owned());
        }
        let (forget, kept_since, retained) = (None, None, Mutex::default());
        let gone = snapshot.runs.iter().map(|run| run.id).filter(|run| !had.contains(run)).collect();
        United { live, archive, purpose, snapshot, archived, gone, forget, kept_since, retained }
    }

    /// Keeps what is gone from runs that remain, by what the validator deletes as old: finished steps after this many days (0:
    /// never). What is gone of the runs of `forget` is not kept, be it a part of them or all.
    #[must_use]
    pub fn keeping(mut self, step_retention_days: u32, forget: Option<RunRange>) -> United {
        let days = i64::from(step_retention_days) * DAY_US;
        self.kept_since = (days > 0).then(|| Micros(self.snapshot.taken_at.0.saturating_sub(days)));
        self.forget = forget;
        let (archived, forget) = (&self.archived, &self.forget);
        let forgotten = |run: RunId| archived.contains(&run) && forget.is_some_and(|forget| forget.contains(run));
        self.snapshot.runs.retain(|run| !forgotten(run.id));
        self
    }

    pub fn take_retained(&self, run: RunId) -> Option<Retained> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner).remove(&run)
    }

    fn retain(&self, run: RunId, mut retained: Retained) -> Result<()> {
        for aside in &mut retained.aside {
            *aside = clean_batch(aside)?;
        }
        self.retained.lock().unwrap_or_else(PoisonError::into_inner).insert(run, retained);
        Ok(())
    }

    /// Adds to the runs of the source what the archive has of them beyond that.
    fn add_gone(&self, archive: &Archive, evidence: &mut UnitEvidence) -> Result<()> {
        let forget = |run: RunId| self.forget.is_some_and(|forget| forget.contains(run));
        let known = |run: &Run| archive.snapshot().runs.contains(run) && !forget(run.id);
        for live in evidence.runs.iter_mut().filter(|live| known(&live.run)) {
            if archive.has_more(live)? {
                let (former, marks) = archive.everything(&live.run.clone(), Reader::rows_there)?;
                let retained = unite(live, &former, &marks, self.kept_since)?;
                self.retain(live.run.id, retained)?;
            }
        }
        Ok(())
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    pub fn display(&self) -> String {
        self.live.display()
    }

    pub fn into_live(self) -> Source {
        self.live
    }

    pub fn compares(&self) -> bool {
        self.purpose == Purpose::Compare
    }

    pub fn is_archived(&self, run: RunId) -> bool {
        self.archived.contains(&run)
    }

    pub fn is_gone(&self, run: RunId) -> bool {
        self.gone.contains(&run)
    }

    /// What the archive holds of a run that the database has too.
    pub fn former(&self, run: &Run) -> Result<Option<RunEvidence>> {
        let archive = self.archive.as_ref().filter(|archive| archive.snapshot().runs.contains(run));
        archive.map(|archive| archive.read_run(run)).transpose()
    }

    pub(super) fn counters(&self) -> Vec<&Counters> {
        self.live.counters().into_iter().chain(self.archive.as_ref().map(Archive::counters)).collect()
    }

    pub fn read(&self, unit: &Unit) -> Result<UnitEvidence> {
        let (gone, here): (Vec<Run>, Vec<Run>) = unit.runs.iter().cloned().partition(|run| self.is_archived(run.id));
        let part = |runs| Unit { forecast_run_id: unit.forecast_run_id.clone(), runs };
        let mut evidence = UnitEvidence { runs: Vec::new(), stored: Vec::new() };
        if !here.is_empty() {
            evidence = self.live.read(&part(here))?;
            if let (Purpose::Preserve, Some(archive)) = (self.purpose, &self.archive) {
                self.add_gone(archive, &mut evidence)?;
            }
            self.widen(&mut evidence.stored, &self.live.snapshot().wide_leads);
        }
        if let Some(archive) = self.archive.as_ref().filter(|_| !gone.is_empty()) {
            let mut former = archive.read(&part(gone))?;
            if self.purpose == Purpose::Preserve {
                // What was put aside of them stays aside.
                for run in &mut former.runs {
                    let (everything, marks) = archive.everything(&run.run, Reader::rows)?;
                    if !marks.is_empty() {
                        *run = everything;
                        let retained = set_aside(run, marks)?;
                        self.retain(run.run.id, retained)?;
                    }
                }
            }
            evidence.runs.extend(former.runs);
            evidence.runs.sort_by_key(|run| run.run.id);
            if self.purpose == Purpose::Preserve {
                self.preserve(former.stored, &archive.snapshot().wide_leads, &mut evidence.stored);
            }
        }
        if self.purpose == Purpose::Preserve { clean(evidence) } else { Ok(evidence) }
    }

    /// Adds what was stored of deleted runs, where the database has no row of the same miner.
    fn preserve(&self, mut former: Vec<StoredStat>, leads: &[LeadHours], stored: &mut Vec<StoredStat>) {
        former.retain(|old| stored.iter().all(|new| new.row.miner_uid != old.row.miner_uid));
        former.retain(|old| old.row.run_id.is_none_or(|run| self.is_archived(RunId(run))));
        self.widen(&mut former, leads);
        stored.extend(former);
    }

    /// Gives rows with wide columns for `leads` those of the union.
    fn widen(&self, rows: &mut [StoredStat], leads: &[LeadHours]) {
        if leads == self.snapshot.wide_leads {
            return;
        }
        for row in rows {
            let value = |lead: &LeadHours| leads.binary_search(lead).ok().and_then(|at| row.row.wide.get(at).copied().flatten());
            row.row.wide = self.snapshot.wide_leads.iter().map(value).collect();
        }
    }

    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        let mut strays = self.live.strays()?;
        self.widen(&mut strays, &self.live.snapshot().wide_leads);
        if self.purpose == Purpose::Preserve {
            strays.iter_mut().for_each(|stray| clean_row(&mut stray.row));
        }
        Ok(strays)
    }
}

/// Adds the chosen rows of a table's former evidence to what is there of it.
pub fn joined(live: &RecordBatch, former: &RecordBatch, chosen: &BooleanArray) -> Result<RecordBatch> {
    let added = filter_record_batch(former, chosen);
    let joined = added.and_then(|added| concat_batches(&live.schema(), [live, &added]));
    recoded(&joined.doing(ErrorKind::Data, || "joining evidence with that of an archive".to_owned())?)
}

/// What leaves for an archive must carry no address, wherever in the database somebody put one. Rollups are then folded from
/// the clean evidence, so that the archive agrees with itself.
fn clean(mut evidence: UnitEvidence) -> Result<UnitEvidence> {
    for run in &mut evidence.runs {
        for batch in [&mut run.responses, &mut run.scores, &mut run.components, &mut run.steps] {
            *batch = clean_batch(batch)?;
        }
    }
    evidence.stored.iter_mut().for_each(|stored| clean_row(&mut stored.row));
    Ok(evidence)
}

/// Every text of a rollup row, as a name or within JSON.
fn clean_row<R: Rollup>(row: &mut R) {
    for index in 0..R::COLUMNS.len() {
        let clean = match row.value(index) {
            Value::Text(text) => match sanitize_cow(&text) {
                Cow::Owned(clean) => Value::Text(Cow::Owned(clean)),
                Cow::Borrowed(_) => continue,
            },
            Value::Json(json) => Value::Json(Cow::Owned(sanitized(&json))),
            _ => continue,
        };
        assert!(row.set(index, clean), "invariant: a cell keeps its type");
    }
}

fn clean_batch(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Dictionary(..) => clean_column(column),
        _ => Ok(column.clone()),
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
    let batch = columns.and_then(|columns| RecordBatch::try_new(batch.schema(), columns));
    batch.doing(ErrorKind::Data, || "sanitizing evidence".to_owned())
}

fn clean_column(column: &ArrayRef) -> std::result::Result<ArrayRef, arrow_schema::ArrowError> {
    let coded = column.as_dictionary::<Int32Type>();
    let texts: Vec<Cow<'_, str>> =
        coded.values().as_string::<i32>().iter().map(|text| sanitize_cow(text.unwrap_or_default())).collect();
    if texts.iter().all(|text| matches!(text, Cow::Borrowed(_))) {
        return Ok(column.clone());
    }
    // Two texts may have become one, and equal texts must have equal codes.
    let mut interner = Interner::default();
    let codes = texts.iter().map(|text| interner.code(text.as_bytes())).collect::<std::result::Result<Vec<_>, _>>()?;
    let keys = coded.keys().iter().map(|key| key.map(|key| codes[key as usize])).collect();
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, interner.values())?))
}
