//! What tells whether evidence has changed since an earlier snapshot of the same database.
//!
//! Pure bookkeeping: a database fills in positions and looks for changed rows, the pipeline keeps them in a state.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::evidence::{Run, RunEvidence};
use super::ids::RunId;
use super::time::Micros;

/// Transaction ids are compared by 32 bits. Half of what these can tell apart is far enough from any mistake.
const TRANSACTIONS_MAX: u64 = 1 << 30;

/// Where a snapshot of a database stands: what a later one is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub server: Server,
    /// What is read of the tables, in one text.
    pub schema: String,
    pub taken_at: Micros,
    /// Transactions below this had ended.
    pub xmin: u64,
    /// Transactions from this on had not begun.
    pub xmax: u64,
    pub tables: BTreeMap<String, TableMark>,
    /// Nothing that a transaction in flight has written is older than this; `None`: nobody knows.
    pub anchor: Option<Anchor>,
    pub tracking: Tracking,
}

/// Whether triggers record which runs are written to (`recount migrate --track-changes`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    Off,
    /// It was asked for, but can have missed something, for this reason.
    Broken(String),
    On {
        /// All that a trigger which was disabled, replaced or made anew would change.
        triggers: String,
        /// The stamps of transactions up to this one may have been removed.
        pruned_through: u64,
    },
}

/// Which database it is, and since which start of its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub system: i64,
    pub database: i64,
    /// Another start may be that of an older copy of the same server.
    pub started: Micros,
    /// Set when the server has recovered from a crash, which does not change when it was started.
    pub recovered: Option<Micros>,
    /// When the counters were last set to zero; `None`: not since the start.
    pub stats_reset: Option<Micros>,
}

/// One table at the position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMark {
    pub oid: i64,
    /// Another one after TRUNCATE, VACUUM FULL, or any other rewriting.
    pub filenode: i64,
    /// An ordinary table without children, not a view or a foreign one.
    pub plain: bool,
    /// Names, numbers and types of its columns: one that was dropped and made again, or renamed, has another number.
    pub columns: String,
    /// Read before the snapshot was taken, so that all they have counted is in it; `None`: they stand still.
    pub counters: Option<Counters>,
    /// The greatest id, where rows have ids that ascend.
    pub max_id: Option<i64>,
    /// There is an index on the time that says when a row was last written.
    pub time_index: bool,
    /// All rows of transactions before this one are known, even where the server counts late. One snapshot earlier than the
    /// position unless the table was scanned.
    pub known_before: u64,
}

/// Rows that were ever inserted, updated and deleted, as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub inserted: i64,
    pub updated: i64,
    pub deleted: i64,
}

/// A snapshot before which no transaction began that was in flight at the position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub taken_at: Micros,
    pub max_ids: BTreeMap<String, i64>,
}

impl Position {
    /// The position with its anchor: itself where nothing was in flight, else the earlier one, or the anchor of that.
    #[must_use]
    pub fn anchored(mut self, earlier: Option<&Position>) -> Position {
        let earlier = earlier.filter(|earlier| earlier.server == self.server);
        self.anchor = match earlier {
            _ if self.xmin == self.xmax => Some(self.as_anchor()),
            Some(earlier) if earlier.xmax <= self.xmin => Some(earlier.as_anchor()),
            earlier => earlier.and_then(|earlier| earlier.anchor.clone()),
        };
        self
    }

    fn as_anchor(&self) -> Anchor {
        let ids = self.tables.iter().filter_map(|(table, mark)| Some((table.clone(), mark.max_id?)));
        Anchor { taken_at: self.taken_at, max_ids: ids.collect() }
    }

    /// Why what was known at `earlier` says nothing about this position.
    pub fn unlike(&self, earlier: &Position) -> Option<String> {
        let (server, its) = (&self.server, &earlier.server);
        let replaced = |(name, mark): (&String, &TableMark)| {
            let earlier = earlier.tables.get(name);
            let same = earlier.is_some_and(|earlier| (earlier.oid, earlier.filenode) == (mark.oid, mark.filenode));
            let columns = earlier.is_some_and(|earlier| earlier.columns == mark.columns);
            let why = if same { "has other columns, or columns made anew" } else { "was replaced or rewritten as a whole" };
            (!(same && columns)).then(|| format!("{name} {why}"))
        };
        if (server.system, server.database) != (its.system, its.database) {
            return Some("it is of another database".to_owned());
        }
        if server.started != its.started {
            return Some("the server was started again since".to_owned());
        }
        if server.recovered != its.recovered {
            return Some("the server recovered from a crash since, or its statistics were set to zero".to_owned());
        }
        if self.schema != earlier.schema || self.tables.len() != earlier.tables.len() {
            return Some("other tables or columns are read now".to_owned());
        }
        if self.xmax < earlier.xmax || self.taken_at < earlier.taken_at {
            return Some("it is of a later time than this snapshot".to_owned());
        }
        if self.xmax - earlier.tables.values().map(|mark| mark.known_before).fold(earlier.xmin, u64::min) > TRANSACTIONS_MAX {
            return Some("too many transactions ago".to_owned());
        }
        let mut both = self.tables.iter().chain(&earlier.tables);
        if let Some((name, _)) = both.find(|(_, mark)| !mark.plain) {
            return Some(format!("{name} is no ordinary table, or has tables that inherit from it"));
        }
        self.tables.iter().find_map(replaced)
    }

    /// How far the counters of a table moved since; `None` where they do not tell.
    pub fn moved(&self, earlier: &Position, table: &str) -> Option<Counters> {
        let (now, then) = (self.tables.get(table)?.counters?, earlier.tables.get(table)?.counters?);
        let moved = Counters {
            inserted: now.inserted - then.inserted,
            updated: now.updated - then.updated,
            deleted: now.deleted - then.deleted,
        };
        let forward = moved.inserted >= 0 && moved.updated >= 0 && moved.deleted >= 0;
        (self.server.stats_reset == earlier.server.stats_reset && forward).then_some(moved)
    }
}

/// Rows of one run, in the order of [`super::evidence::RUN_TABLES`].
pub type RunRows = [u64; 4];

/// How many rows a unit was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRows {
    pub runs: Vec<(RunId, RunRows)>,
    pub stored: u64,
}

impl UnitRows {
    /// `stored`: how many stored rows there are.
    pub fn of(runs: &[RunEvidence], stored: usize) -> UnitRows {
        let runs = runs.iter().map(|run| {
            let tables = [&run.responses, &run.scores, &run.components, &run.steps];
            (run.run.id, tables.map(|batch| batch.num_rows() as u64))
        });
        UnitRows { runs: runs.collect(), stored: stored as u64 }
    }
}

/// How many rows each run, and each unit among the stored ones, was known to have.
#[derive(Debug, Default)]
pub struct Known<'k> {
    pub runs: BTreeMap<RunId, RunRows>,
    pub units: BTreeMap<&'k str, u64>,
}

impl Known<'_> {
    /// Rows of a table that went with the runs that are gone.
    pub fn gone(&self, runs: &[Run], table: usize) -> u64 {
        let there: BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
        self.runs.iter().filter(|(run, _)| !there.contains(run)).map(|(_, rows)| rows[table]).sum()
    }
}

/// What is no longer as it was at an earlier position.
#[derive(Debug)]
pub enum Changes {
    /// Everything may be, for this reason.
    Unknown(String),
    Known(Changed),
}

#[derive(Debug, Default)]
pub struct Changed {
    pub runs: BTreeSet<RunId>,
    /// Units of which stored rows changed.
    pub units: BTreeSet<String>,
    /// [`TableMark::known_before`] of tables that were searched.
    pub known_before: BTreeMap<&'static str, u64>,
    /// Triggers recorded all of it: nothing can have been missed.
    pub tracked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(xmin: u64, xmax: u64, max_id: i64) -> Position {
        let counters = Some(Counters { inserted: 10, updated: 20, deleted: 30 });
        let columns = "id 1".to_owned();
        let (max_id, known_before) = (Some(max_id), xmin);
        let mark = TableMark { oid: 1, filenode: 2, plain: true, columns, counters, max_id, time_index: true, known_before };
        Position {
            server: Server { system: 1, database: 2, started: Micros(3), recovered: None, stats_reset: None },
            schema: "columns".to_owned(),
            taken_at: Micros(xmax as i64),
            xmin,
            xmax,
            tables: BTreeMap::from([("t".to_owned(), mark)]),
            anchor: None,
            tracking: Tracking::Off,
        }
    }

    fn anchor_id(position: &Position) -> Option<i64> {
        position.anchor.as_ref().map(|anchor| anchor.max_ids["t"])
    }

    #[test]
    fn an_anchor_is_older_than_every_transaction_in_flight() {
        let quiet = position(100, 100, 7).anchored(None);
        assert_eq!(anchor_id(&quiet), Some(7), "nothing was in flight");
        assert_eq!(anchor_id(&position(100, 105, 7).anchored(None)), None, "nobody knows");
        let busy = position(110, 120, 8).anchored(Some(&quiet));
        assert_eq!(anchor_id(&busy), Some(7), "all in flight began later");
        let next = position(130, 140, 9).anchored(Some(&busy));
        assert_eq!(anchor_id(&next), Some(8));
        let long = position(115, 140, 9).anchored(Some(&busy));
        assert_eq!(anchor_id(&long), Some(7), "one is in flight still");
        let mut other = position(130, 140, 9);
        other.server.started = Micros(4);
        assert_eq!(anchor_id(&other.anchored(Some(&busy))), None, "after another start");
    }

    #[test]
    fn what_makes_a_state_worthless_is_told() {
        let then = position(100, 105, 7);
        let told = |change: fn(&mut Position)| {
            let mut now = position(200, 205, 8);
            change(&mut now);
            now.unlike(&then)
        };
        assert_eq!(told(|_| ()), None);
        assert_eq!(told(|now| now.server.database = 9).as_deref(), Some("it is of another database"));
        assert_eq!(told(|now| now.server.started = Micros(9)).as_deref(), Some("the server was started again since"));
        assert_eq!(told(|now| now.schema.clear()).as_deref(), Some("other tables or columns are read now"));
        assert_eq!(told(|now| now.xmax = 104).as_deref(), Some("it is of a later time than this snapshot"));
        assert_eq!(told(|now| now.xmax = 1 << 31).as_deref(), Some("too many transactions ago"));
        let rewritten = told(|now| now.tables.values_mut().for_each(|mark| mark.filenode = 9));
        assert_eq!(rewritten.as_deref(), Some("t was replaced or rewritten as a whole"));
        let view = told(|now| now.tables.values_mut().for_each(|mark| mark.plain = false));
        assert_eq!(view.as_deref(), Some("t is no ordinary table, or has tables that inherit from it"));
        let renamed = told(|now| now.tables.values_mut().for_each(|mark| mark.columns = "id 2".to_owned()));
        assert_eq!(renamed.as_deref(), Some("t has other columns, or columns made anew"));
        let crashed = told(|now| now.server.recovered = Some(Micros(9)));
        assert_eq!(crashed.as_deref(), Some("the server recovered from a crash since, or its statistics were set to zero"));
    }

    #[test]
    fn counters_tell_only_where_they_went_on() {
        let then = position(100, 105, 7);
        let moved = |change: fn(&mut Position)| {
            let mut now = position(200, 205, 8);
            change(&mut now);
            now.moved(&then, "t")
        };
        assert_eq!(moved(|_| ()), Some(Counters { inserted: 0, updated: 0, deleted: 0 }));
        assert_eq!(moved(|now| now.server.stats_reset = Some(Micros(9))), None);
        assert_eq!(moved(|now| now.tables.values_mut().for_each(|mark| mark.counters = None)), None);
        let back = |now: &mut Position| {
            let set = Some(Counters { inserted: 1, updated: 20, deleted: 30 });
            now.tables.values_mut().for_each(|mark| mark.counters = set);
        };
        assert_eq!(moved(back), None, "set to zero without a word");
    }
}
