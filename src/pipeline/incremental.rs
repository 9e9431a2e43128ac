//! What a job keeps for the next one, and which units the next one need not read again.
//!
//! A unit that is read again and one that is taken from the state go into the same sums, in the same order: what comes out
//! is the same by construction. All that has to be right is which units are *unchanged*; see `source/postgres/changes.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::diff::StatDiff;
use crate::error::{Error, ErrorKind, Result};
use crate::model::changes::{Changed, Changes, Known, Position};
use crate::model::correction::{EvidenceOf, Fingerprint, Selection};
use crate::model::difference::{Class, Difference};
use crate::model::digest::feed;
use crate::model::evidence::{Snapshot, Unit, units};
use crate::model::finding::Finding;
use crate::model::job::Job;
use crate::model::outcome::Outcome;
use crate::model::rollups::SubnetStat;
use crate::model::serial;
use crate::model::settings::Scoring;
use crate::model::time::Micros;
use crate::rollup::{MinerRun, Rules, UnitFold};
use crate::source::Source;

use super::causes::StoredSide;
use super::pass::UnitResult;
use super::state::{Header, KeptUnit, State, StateFolder};

const HOUR: i64 = 3_600 * 1_000_000;
/// ERA5 is there five days later, and six hours are for scoring.
const TRUTH_DELAY: i64 = (5 * 24 + 6) * HOUR;

const TRACKED: &str = "triggers track every change";
/// What a job without triggers can miss.
const UNTRACKED: &str = "no triggers track changes, so two kinds can be missed until a job with --full: what a session with \
                         track_counts = off did to old rows (edits that leave id and time, deletions, moves to another run), \
                         and what was done to the server's files; what was written in the last moments before a job may be \
                         found by the next one only; `recount migrate --track-changes` leaves nothing to miss";

/// Units that a note names at most.
const NAMED_MAX: usize = 10;

/// Where a job keeps its state, and whether it believes what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    pub folder: PathBuf,
    /// Read everything, and renew the state.
    pub full: bool,
}

/// The result of one unit: all that the sums over units take of it.
#[derive(Serialize, Deserialize)]
struct UnitState {
    digest: [u8; 32],
    history: Vec<MinerRun>,
    #[serde(with = "serial::rows")]
    subnet: Vec<SubnetStat>,
    findings: Vec<Finding>,
    /// Without the cells within tolerance, which are only counted.
    diff: StatDiff,
    side: StoredSide,
    evidence: Option<BTreeMap<EvidenceOf, Fingerprint>>,
}

/// One job with a state.
pub struct Incremental {
    folder: StateFolder,
    header: Header,
    earlier: Option<State>,
    /// Why everything is read.
    why: Option<String>,
    /// Triggers recorded what has changed.
    tracked: bool,
    /// Units that a job which does not read everything would have taken for unchanged, where this one reads them all the same.
    believed: HashMap<String, usize>,
    /// Of these, the ones that have changed.
    missed: Mutex<Vec<String>>,
    /// Units that are not read again, with their index in the earlier state.
    unchanged: HashMap<String, usize>,
    taken: Mutex<Vec<Taken>>,
    begun: Duration,
}

/// A unit on its way into the new state.
enum Taken {
    Unchanged(usize),
    Read(Box<KeptUnit>, Vec<u8>),
}

impl Incremental {
    /// Finds out what has changed since the last job. `correcting`: what is going to be corrected, if anything.
    pub fn begin(keeping: &Keeping, job: &Job, source: &Source, correcting: Option<Selection>) -> Result<Incremental> {
        let start = Instant::now();
        let Some(position) = source.position() else {
            return Err(Error::new(ErrorKind::Usage, "reading only what changed", "SOURCE is no database")
                .hint("a snapshot folder or an archive is read whole: leave --incremental and --full out"));
        };
        let folder = StateFolder::open(&keeping.folder)?;
        let snapshot = source.snapshot();
        let snapshot_time = Rules::new(job.scoring.clone(), snapshot.taken_at).snapshot_time;
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let mut header = Header {
            program,
            settings: settings(job),
            legacy: legacy(snapshot),
            snapshot_time,
            position: position.clone(),
            full_at: snapshot.taken_at,
        };
        let (earlier, mut why) = match folder.read()? {
            Ok(state) => (Some(state), None),
            Err(why) => (None, Some(why.to_owned())),
        };
        let before = earlier.as_ref().map(|state| &state.header.position);
        header.position = header.position.anchored(before);
        let (mut unchanged, mut believed, mut tracked) = (HashMap::new(), HashMap::new(), false);
        if let Some(state) = &earlier {
            why = unlike(&header, &state.header);
            if why.is_none() {
                match source.changes(&state.header.position, &known(state))? {
                    Changes::Unknown(reason) => why = Some(reason),
                    Changes::Known(changed) => {
                        tracing::debug!(runs = ?changed.runs, units = ?changed.units, "changed");
                        unchanged = find_unchanged(state, &changed, job, snapshot, &header, correcting);
                        tracked = changed.tracked;
                        if !keeping.full {
                            take_known(&mut header.position, &changed);
                            header.full_at = state.header.full_at;
                        }
                    }
                }
            }
            if keeping.full {
                believed = std::mem::take(&mut unchanged);
                why = Some("--full asks for it".to_owned());
            }
        }
        tracing::info!(unchanged = unchanged.len(), why = why.as_deref().unwrap_or("-"), "state");
        let (taken, missed, begun) = (Mutex::default(), Mutex::default(), start.elapsed());
        Ok(Incremental { folder, header, earlier, why, tracked, believed, missed, unchanged, taken, begun })
    }

    /// The kept result of the unit, where it is unchanged.
    pub fn unchanged(&self, unit: &Unit) -> Option<Result<UnitResult>> {
        let index = *self.unchanged.get(&unit.forecast_run_id)?;
        let state = self.earlier.as_ref()?;
        let damaged = || {
            Error::new(ErrorKind::Data, "reading the state", format!("{} cannot be read", unit.forecast_run_id))
                .hint("read everything, and renew the state: --full")
        };
        let result = postcard::from_bytes(state.result(index)).ok().map(UnitState::into_result);
        Some(result.ok_or_else(damaged).map(|result| UnitResult { rows: state.units[index].rows.clone(), ..result }))
    }

    /// Takes a unit into the new state. Units come in order.
    pub fn keep(&self, unit: &Unit, result: &UnitResult) -> Result<()> {
        let taken = match self.unchanged.get(&unit.forecast_run_id) {
            Some(index) => Taken::Unchanged(*index),
            None => {
                let bytes = UnitState::of(result).map_err(|e| Error::new(ErrorKind::Data, "keeping a unit", e))?;
                if self.is_missed(unit, result, &bytes) {
                    self.missed.lock().unwrap_or_else(PoisonError::into_inner).push(unit.forecast_run_id.clone());
                }
                Taken::Read(Box::new(kept(unit, result, bytes.len())), bytes)
            }
        };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
        Ok(())
    }

    /// Whether a unit's result differs from the kept one, though nothing told that it has changed.
    fn is_missed(&self, unit: &Unit, result: &UnitResult, bytes: &[u8]) -> bool {
        let (Some(index), Some(state)) = (self.believed.get(&unit.forecast_run_id), &self.earlier) else { return false };
        state.units[*index].rows != result.rows
            || UnitState::without_evidence(state.result(*index)) != UnitState::without_evidence(bytes)
    }

    /// Writes the new state, and tells what was read.
    pub fn finish(self, outcome: &mut Outcome) -> Result<()> {
        let taken = self.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        let again = taken.iter().filter(|unit| matches!(unit, Taken::Unchanged(_))).count();
        let since = self.earlier.as_ref().map(|state| state.header.position.taken_at);
        outcome.notes.push(match (&self.why, since) {
            (None, Some(since)) => format!(
                "{} of {} units were read; the others have not changed since {}; everything was read at {}; {}",
                taken.len() - again,
                taken.len(),
                since.iso(),
                self.header.full_at.iso(),
                if self.tracked { TRACKED } else { UNTRACKED }
            ),
            (why, _) => format!("everything was read, and the state renewed: {}", why.as_deref().unwrap_or_default()),
        });
        let missed = self.missed.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.notes.extend(missed_note(&missed));
        let earlier = self.earlier.as_ref();
        let (mut units, mut results) = (Vec::with_capacity(taken.len()), Vec::with_capacity(taken.len()));
        for unit in &taken {
            match unit {
                Taken::Unchanged(index) => {
                    let state = earlier.expect("invariant: unchanged since an earlier state");
                    units.push(state.units[*index].clone());
                    results.push(state.result(*index));
                }
                Taken::Read(kept, bytes) => {
                    units.push((**kept).clone());
                    results.push(bytes);
                }
            }
        }
        let start = Instant::now();
        self.folder.write(self.header, units, &results)?;
        let state = self.begun + start.elapsed();
        if let Some((_, total)) = outcome.elapsed.iter_mut().find(|(stage, _)| *stage == "total") {
            *total += state;
        }
        outcome.elapsed.insert(0, ("state", state));
        Ok(())
    }
}

impl UnitState {
    /// All that a job without corrections keeps. `None` where it cannot be read.
    fn without_evidence(bytes: &[u8]) -> Option<Vec<u8>> {
        let state: UnitState = postcard::from_bytes(bytes).ok()?;
        postcard::to_stdvec(&UnitState { evidence: None, ..state }).ok()
    }

    fn of(result: &UnitResult) -> postcard::Result<Vec<u8>> {
        let mut diff = result.diff.clone();
        diff.table.differences.retain(|difference| difference.class != Class::Within);
        postcard::to_stdvec(&UnitState {
            digest: *result.digest.as_bytes(),
            history: result.fold.history.clone(),
            subnet: result.fold.subnet.clone(),
            findings: result.fold.findings.clone(),
            diff,
            side: result.side.clone(),
            evidence: (!result.evidence.is_empty()).then(|| result.evidence.clone()),
        })
    }

    fn into_result(self) -> UnitResult {
        let fold = UnitFold { subnet: self.subnet, history: self.history, findings: self.findings, ..UnitFold::default() };
        UnitResult {
            fold,
            diff: self.diff,
            side: self.side,
            evidence: self.evidence.unwrap_or_default(),
            digest: self.digest.into(),
            rows: Default::default(),
        }
    }
}

fn kept(unit: &Unit, result: &UnitResult, bytes: usize) -> KeptUnit {
    let has = |classes: &[Class]| result.diff.table.differences.iter().any(|found| classes.contains(&found.class));
    KeptUnit {
        runs: unit.runs.clone(),
        rows: result.rows.clone(),
        fresh_until: result.fold.fresh_until,
        differs: result.diff.table.differences.iter().any(Difference::is_wrong),
        unproven: has(&[Class::Unproven]),
        habit: has(&[Class::Habit]),
        within: has(&[Class::Within]),
        evidence: !result.evidence.is_empty(),
        bytes: bytes as u64,
    }
}

/// What --full has found that jobs with this state would not have.
fn missed_note(missed: &[String]) -> Option<String> {
    let named = missed.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if missed.len() > NAMED_MAX { ", …" } else { "" };
    (!missed.is_empty()).then(|| {
        format!(
            "incremental jobs have missed changes of {} units, which left no trace: {named}{more}; \
             `recount migrate --track-changes` leaves nothing to miss",
            missed.len()
        )
    })
}

/// The hash of all settings that the result of a unit depends on. The time of the snapshot is looked at by itself.
fn settings(job: &Job) -> [u8; 32] {
    let scoring = Scoring { snapshot_time: None, ..job.scoring.clone() };
    // Numbers are written with the digits that read back to their bits.
    let text = format!("{scoring:?} {:?} {:?} {:?} {:?}", job.tolerance, job.filter, job.narrowing, job.profile);
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// The hash of the legacy scores, which are evidence of runs, and hardly ever change.
fn legacy(snapshot: &Snapshot) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, &snapshot.legacy);
    *hasher.finalize().as_bytes()
}

fn unlike(now: &Header, then: &Header) -> Option<String> {
    let (program, settings) = (now.program == then.program, now.settings == then.settings);
    match (program, settings, now.snapshot_time >= then.snapshot_time) {
        (true, true, true) if now.legacy != then.legacy => Some("the legacy scores have changed".to_owned()),
        (true, true, true) => None,
        (false, ..) => Some(format!("it is of version {}", then.program)),
        (_, false, _) => Some("the settings have changed".to_owned()),
        _ => Some("it is of a later time than this snapshot".to_owned()),
    }
}

fn known(state: &State) -> Known<'_> {
    let mut known = Known::default();
    for unit in &state.units {
        known.runs.extend(unit.rows.runs.iter().copied());
        known.units.extend(unit.runs.first().map(|run| (run.forecast_run_id.as_str(), unit.rows.stored)));
    }
    known
}

fn take_known(position: &mut Position, changed: &Changed) {
    for (table, before) in &changed.known_before {
        if let Some(mark) = position.tables.get_mut(*table) {
            mark.known_before = *before;
        }
    }
}

fn find_unchanged(
    state: &State,
    changed: &Changed,
    job: &Job,
    snapshot: &Snapshot,
    header: &Header,
    correcting: Option<Selection>,
) -> HashMap<String, usize> {
    let now = header.snapshot_time;
    let indexes: HashMap<&str, usize> = state
        .units
        .iter()
        .enumerate()
        .filter_map(|(index, unit)| Some((unit.runs.first()?.forecast_run_id.as_str(), index)))
        .collect();
    let unchanged = |unit: &Unit| {
        let index = *indexes.get(unit.forecast_run_id.as_str())?;
        let kept = &state.units[index];
        let same = kept.runs == unit.runs
            && kept.fresh_until.is_none_or(|until| now <= until)
            && !changed.units.contains(&unit.forecast_run_id)
            && !unit.runs.iter().any(|run| changed.runs.contains(&run.id));
        (same && !is_open(unit, job, now) && serves(kept, correcting)).then_some(index)
    };
    let all = units(&snapshot.runs).into_iter();
    all.filter_map(|unit| Some((unit.forecast_run_id.clone(), unchanged(&unit)?))).collect()
}

/// A young unit is read whatever happens: it is going to change anyway.
fn is_open(unit: &Unit, job: &Job, now: Micros) -> bool {
    let last = job.scoring.expected_leads.last().map_or(0, |lead| i64::from(lead.0) * HOUR);
    unit.runs.iter().any(|run| run.gfs_init.0.saturating_add(last + TRUTH_DELAY) > now.0)
}

/// Corrections are made from evidence: a unit that has any is read again.
fn serves(kept: &KeptUnit, correcting: Option<Selection>) -> bool {
    let asked = |selection: Selection| {
        (selection.exact && kept.within) || (selection.clear_unproven && kept.unproven) || (selection.habits && kept.habit)
    };
    correcting.is_none_or(|selection| kept.evidence && !kept.differs && !asked(selection))
}
