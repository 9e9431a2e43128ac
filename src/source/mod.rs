//! Where the evidence comes from: a database, a snapshot folder that stands for one, or an archive.
//!
//! Both give the same rows; the order of rows and the codes of dictionaries may differ. The way of the data is *pull*:
//! a worker asks for one unit, folds it, drops it. So memory holds one unit per worker, whatever the size of the history.

pub mod archive;
pub mod folder;
pub mod postgres;

pub mod decode;
mod ipc;
pub mod layout;
mod parts;
pub mod retained;
pub mod small;
mod stretches;
pub mod united;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Result;
use crate::model::changes::{Changes, Known, Position};
use crate::model::evidence::{Run, RunEvidence, STEPS, Snapshot, Stored, StoredStat, Unit, UnitEvidence};
use crate::model::rollups::{ForecastStat, LegacyScore, MinerStat, Rollup, SubnetStat};

use self::archive::Archive;
use self::folder::Folder;
use self::postgres::Postgres;
use self::retained::Retained;
use self::united::United;
use crate::model::ids::RunId;
use crate::model::job::Location;

pub use crate::model::evidence::TABLES;

/// How to reach and use a source. A folder needs none of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Reader connections; the one that exports the snapshot comes on top.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Bound of a single statement; zero: none.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock; zero: without end.
    pub lock_timeout: Duration,
    /// Where a table without an index on its run is copied to while the job runs.
    pub spool_dir: PathBuf,
    /// Note where the snapshot stands, so that [`Source::changes`] can tell what changed since another one.
    pub position: bool,
    /// Read what weights are set from, of which the report of a comparison tells.
    pub weights: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connections: 2,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(3600),
            lock_timeout: Duration::from_secs(30),
            spool_dir: std::env::temp_dir(),
            position: false,
            weights: false,
        }
    }
}

/// A database or a snapshot folder, opened and checked.
#[derive(Debug)]
pub enum Source {
    Postgres(Box<Postgres>),
    Folder(Box<Folder>),
    Archive(Box<Archive>),
    /// A database and the runs that only an archive still has.
    United(Box<United>),
}

impl Source {
    /// Opens a database, a snapshot folder or an archive. Everything that can be checked before the first run is read is
    /// checked here.
    ///
    /// The source blocks and has its own runtime: call it from plain threads, never from an async task.
    pub fn open(location: &Location, options: &Options) -> Result<Source> {
        match location {
            Location::Postgres(url) => Postgres::open(url, options).map(|source| Source::Postgres(Box::new(source))),
            Location::Archive(dest) => Archive::open(dest).map(|source| Source::Archive(Box::new(source))),
            Location::Folder(path) if archive::is_archive(path) => {
                Archive::open(path).map(|source| Source::Archive(Box::new(source)))
            }
            Location::Folder(path) => Folder::open_to_read(path.as_ref()).map(|source| Source::Folder(Box::new(source))),
        }
    }

    /// What is known before any run is read.
    pub fn snapshot(&self) -> &Snapshot {
        match self {
            Source::Postgres(source) => source.snapshot(),
            Source::Folder(source) => source.snapshot(),
            Source::Archive(source) => source.snapshot(),
            Source::United(source) => source.snapshot(),
        }
    }

    /// Reads one unit. Blocks; may be called from many threads at once.
    pub fn read(&self, unit: &Unit) -> Result<UnitEvidence> {
        let mut evidence = match self {
            Source::Postgres(source) => source.read(unit),
            Source::Folder(source) => source.read(unit),
            Source::Archive(source) => source.read(unit),
            Source::United(source) => source.read(unit),
        }?;
        self.snapshot().attach_legacy(&mut evidence.runs);
        Ok(evidence)
    }

    /// As [`Source::read`], with what the source has as columns left so, and scores in stretches.
    pub fn read_columns(&self, unit: &Unit) -> Result<(Vec<RunEvidence>, Stored)> {
        let (mut runs, stored) = match self {
            Source::Postgres(source) => source.read_columns(unit)?,
            Source::Folder(source) => source.read_columns(unit)?,
            Source::Archive(_) | Source::United(_) => {
                let evidence = self.read(unit)?;
                return Ok((evidence.runs, Stored::Rows(evidence.stored)));
            }
        };
        self.snapshot().attach_legacy(&mut runs);
        Ok((runs, Stored::Columns(stored)))
    }

    /// Legacy scores that are to count beside those of the source itself.
    pub fn add_legacy(&mut self, scores: Vec<LegacyScore>) {
        let snapshot = match self {
            Source::Postgres(source) => source.snapshot_mut(),
            Source::Folder(source) => source.snapshot_mut(),
            Source::Archive(source) => source.snapshot_mut(),
            Source::United(source) => source.snapshot_mut(),
        };
        snapshot.add_legacy(scores);
    }

    /// The stored rows that [`Source::read`] gives for no unit: their `forecast_run_id` belongs to none. Each stored row comes out exactly once, here or there.
    pub fn strays(&self) -> Result<Vec<StoredStat>> {
        match self {
            Source::Postgres(source) => source.strays(),
            Source::Folder(source) => source.strays(),
            Source::Archive(source) => source.strays(),
            Source::United(source) => source.strays(),
        }
    }

    /// Where the snapshot stands: only a database that was opened for it tells.
    pub fn position(&self) -> Option<&Position> {
        match self {
            Source::Postgres(source) => source.position(),
            Source::Folder(_) | Source::Archive(_) | Source::United(_) => None,
        }
    }

    /// What has changed since an earlier position, as far as it was known then.
    pub fn changes(&self, earlier: &Position, known: &Known<'_>) -> Result<Changes> {
        match self {
            Source::Postgres(source) => source.changes(earlier, known),
            Source::Folder(_) | Source::Archive(_) | Source::United(_) => Ok(Changes::Unknown("it is of a database".to_owned())),
        }
    }

    /// Rows read so far, by table. Tables that the source lacks are not in it.
    pub fn rows_read(&self) -> BTreeMap<&'static str, u64> {
        let mut rows = BTreeMap::new();
        for counters in self.counters() {
            for (table, count) in counters.by_table(self.snapshot()) {
                *rows.entry(table).or_default() += count;
            }
        }
        rows
    }

    fn counters(&self) -> Vec<&Counters> {
        match self {
            Source::Postgres(source) => vec![source.counters()],
            Source::Folder(source) => vec![source.counters()],
            Source::Archive(source) => vec![source.counters()],
            Source::United(source) => source.counters(),
        }
    }

    /// The source without the archive that it was united with.
    pub fn alone(self) -> Source {
        match self {
            Source::United(united) => united.into_live(),
            source => source,
        }
    }

    /// What of a run is gone from the source and stays in the archive that it is united with. Each run is given once, after it
    /// was read.
    pub fn take_retained(&self, run: RunId) -> Option<Retained> {
        match self {
            Source::United(source) => source.take_retained(run),
            Source::Postgres(_) | Source::Folder(_) | Source::Archive(_) => None,
        }
    }

    /// Whether the evidence of the run comes from an archive that stands behind the database.
    pub fn is_archived(&self, run: RunId) -> bool {
        matches!(self, Source::United(source) if source.is_archived(run))
    }

    /// Whether the database no longer has the run, so that it stores nothing of it and misses nothing.
    pub fn is_gone(&self, run: RunId) -> bool {
        match self {
            Source::United(source) => source.is_gone(run),
            Source::Archive(source) => source.is_gone(run),
            Source::Postgres(_) | Source::Folder(_) => false,
        }
    }

    /// Whether an archive stands behind a database that is compared.
    pub fn has_history(&self) -> bool {
        matches!(self, Source::United(source) if source.compares())
    }

    /// What an archive holds of a run that the database has too; `None` where no archive stands behind the source.
    pub fn former(&self, run: &Run) -> Result<Option<RunEvidence>> {
        match self {
            Source::United(source) => source.former(run),
            Source::Postgres(_) | Source::Folder(_) | Source::Archive(_) => Ok(None),
        }
    }

    /// The source as a user may see it: a URL without password or parameters, or the folder.
    pub fn display(&self) -> String {
        match self {
            Source::Postgres(source) => source.display(),
            Source::Folder(source) => source.display(),
            Source::Archive(source) => source.display(),
            Source::United(source) => source.display(),
        }
    }
}

/// Rows read, counted from many threads.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; TABLES.len()]);

impl Counters {
    pub(crate) fn add(&self, table: &str, rows: usize) {
        if let Some(index) = TABLES.iter().position(|name| *name == table) {
            self.0[index].fetch_add(rows as u64, Ordering::Relaxed);
        }
    }

    fn by_table(&self, snapshot: &Snapshot) -> BTreeMap<&'static str, u64> {
        let absent = |table: &str| match table {
            table if table == STEPS.name => !snapshot.has_steps,
            table if table == ForecastStat::TABLE => !snapshot.has_stored_stats,
            table if table == MinerStat::TABLE => snapshot.stored_miners.is_none(),
            table if table == SubnetStat::TABLE => snapshot.stored_subnet.is_none(),
            table if table == LegacyScore::TABLE => snapshot.legacy.is_empty(),
            _ => false,
        };
        let rows = TABLES.iter().zip(&self.0).map(|(table, rows)| (*table, rows.load(Ordering::Relaxed)));
        rows.filter(|(table, _)| !absent(table)).collect()
    }
}
