//! Which runs have changed since an earlier snapshot, found in the tables without reading all of the evidence.
//!
//! A row that the earlier snapshot did not see was written by a transaction that had not ended then: its `xmin` is not below
//! that snapshot's. Small tables are scanned for such rows. In the two big ones they are looked up by id, and by the time of
//! scoring, and the server's counters say whether that has found all that was written; else these are scanned too.
//!
//! A row that is gone leaves no trace where it was, be it deleted or moved to another run. So the rows of the runs that were
//! written to are counted: their number must have grown by what was inserted, less what was deleted. Else all runs are counted.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Decode, FromRow, Row, Type};

use super::Postgres;
use super::changes::joined;
use super::connect::failed;
use crate::error::Result;
use crate::model::changes::{Changed, Counters, Known, Position};
use crate::model::ids::RunId;
use crate::model::time::Micros;

/// Ids are drawn a moment before their transaction has a number: at most this many were drawn in between.
const IDS_BEFORE: i64 = 10_000;
/// A score is timed when it is computed, by the clock of the process that computes it, and written later.
const MICROS_BEFORE: i64 = 6 * 3600 * 1_000_000;

/// A smaller part of a table is not worth a connection.
const PART_PAGES_MIN: i64 = 1_000;
/// Fewer runs are not worth one either.
const PART_RUNS_MIN: usize = 4;

/// How changed rows of a table are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// In one scan, with the number of rows in each group.
    Whole { group: &'static str },
    /// In one scan for the new rows alone.
    Fresh,
    /// By ids, which ascend, and by the time in this column.
    Ids { time: &'static str },
}

impl Search {
    pub(super) fn time(self) -> Option<&'static str> {
        match self {
            Search::Ids { time } => Some(time),
            Search::Whole { .. } | Search::Fresh => None,
        }
    }
}

/// One group of rows: its key, and how many there are.
#[derive(Debug)]
struct Group<K> {
    key: K,
    rows: i64,
}

impl<'r, K: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>> FromRow<'r, PgRow> for Group<K> {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        Ok(Group { key: row.try_get("key")?, rows: row.try_get("rows")? })
    }
}

/// The same with how many of them are new.
#[derive(Debug)]
struct WholeGroup<K> {
    key: K,
    rows: i64,
    fresh: i64,
}

impl<'r, K: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>> FromRow<'r, PgRow> for WholeGroup<K> {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        Ok(WholeGroup { key: row.try_get("key")?, rows: row.try_get("rows")?, fresh: row.try_get("fresh")? })
    }
}

/// New rows by their runs; of each run, how many were certainly written after the earlier snapshot.
#[derive(Debug, Default)]
struct Fresh(BTreeMap<RunId, i64>);

impl Fresh {
    fn add(&mut self, groups: Vec<Group<i32>>) {
        groups.into_iter().for_each(|group| *self.0.entry(RunId(group.key)).or_default() += group.rows);
    }

    fn runs(&self) -> BTreeSet<RunId> {
        self.0.keys().copied().collect()
    }

    /// Each row takes one insertion or update at least. Where the server counted as many as there are rows, there are no other
    /// rows than these, and none was written twice, or by a transaction that was rolled back.
    fn explains(&self, moved: Counters) -> bool {
        self.0.values().sum::<i64>() == moved.inserted + moved.updated
    }
}

/// The search through one table.
pub(super) struct Probe<'p> {
    pub source: &'p Postgres,
    pub position: &'p Position,
    pub earlier: &'p Position,
    pub known: &'p Known<'p>,
    pub table: &'static str,
    pub place: Option<usize>,
}

impl Probe<'_> {
    pub(super) fn search(&self, search: Search) -> Result<Changed> {
        match (search, self.place) {
            (Search::Whole { group }, Some(_)) => self.runs(group),
            (Search::Whole { group }, None) => self.units(group),
            (Search::Fresh, place) => self.rows(None, place.unwrap_or_default()),
            (Search::Ids { time }, place) => self.rows(Some(time), place.unwrap_or_default()),
        }
    }

    /// New rows by their runs, all rows counted.
    fn runs(&self, group: &str) -> Result<Changed> {
        let groups: Vec<WholeGroup<i32>> = self.groups(&whole(self.table, group, &fresh(self.earlier.xmin)))?;
        let mut runs: BTreeSet<RunId> = groups.iter().filter(|group| group.fresh > 0).map(|group| RunId(group.key)).collect();
        let rows = groups.into_iter().map(|group| (RunId(group.key), group.rows)).collect();
        runs.extend(self.differing(&rows));
        Ok(Changed { runs, ..Changed::default() })
    }

    /// New stored rows by their units.
    fn units(&self, group: &str) -> Result<Changed> {
        let groups: Vec<WholeGroup<String>> = self.groups(&whole(self.table, group, &fresh(self.earlier.xmin)))?;
        let there: BTreeMap<&str, &WholeGroup<String>> = groups.iter().map(|group| (group.key.as_str(), group)).collect();
        let changed = self.known.units.iter().filter(|(unit, rows)| {
            let now = there.get(*unit);
            now.map_or(0, |now| now.rows as u64) != **rows || now.is_some_and(|now| now.fresh > 0)
        });
        Ok(Changed { units: changed.map(|(unit, _)| (*unit).to_owned()).collect(), ..Changed::default() })
    }

    /// New rows by their ids and times where that finds them all, else by a scan; all runs counted where rows may be gone.
    fn rows(&self, time: Option<&str>, place: usize) -> Result<Changed> {
        let moved = self.position.moved(self.earlier, self.table);
        let explained = |fresh: &Fresh| moved.is_some_and(|moved| fresh.explains(moved));
        let known_before = self.earlier.tables.get(self.table).map_or(self.earlier.xmin, |mark| mark.known_before);
        let looked_up = match time {
            Some(time) => self.by_ids(time)?.filter(explained),
            None => None,
        };
        // The counters may tell late. So a table that was not scanned is scanned from one snapshot further back, the next time.
        let (fresh, known_before) = match looked_up {
            Some(fresh) => (fresh, self.earlier.xmin),
            None => (self.scanned(known_before)?, self.position.xmin),
        };
        let mut runs = fresh.runs();
        let balanced = match moved.filter(|_| explained(&fresh)) {
            Some(moved) => self.balanced(&fresh, moved, place)?,
            None => false,
        };
        if !balanced {
            tracing::debug!(table = self.table, "counting the rows of every run");
            runs.extend(self.differing(&self.counted("")?));
        }
        Ok(Changed { runs, known_before: BTreeMap::from([(self.table, known_before)]), ..Changed::default() })
    }

    /// `None` where nobody knows from which id and time on.
    fn by_ids(&self, time: &str) -> Result<Option<Fresh>> {
        let (Some(anchor), Some(now)) = (&self.earlier.anchor, self.position.tables.get(self.table)) else { return Ok(None) };
        let from_id = anchor.max_ids.get(self.table).copied().unwrap_or(0).saturating_sub(IDS_BEFORE);
        let mut fresh = Fresh::default();
        fresh.add(self.groups(&self.fresh_sql(self.earlier.xmin, &format!(" AND id > {from_id}")))?);
        if now.time_index {
            let from_time = since(time, Micros(anchor.taken_at.0.saturating_sub(MICROS_BEFORE)));
            let old_ids = format!(" AND id <= {from_id} AND {from_time}");
            fresh.add(self.groups(&self.fresh_sql(self.earlier.xmin, &old_ids))?);
        }
        Ok(Some(fresh))
    }

    /// New rows by a scan: each connection takes a part of the table's pages.
    fn scanned(&self, from: u64) -> Result<Fresh> {
        tracing::debug!(table = self.table, "looking for new rows in all of it");
        let pages = format!("SELECT pg_relation_size('{}') / current_setting('block_size')::int8", self.table);
        let pages: Vec<(i64,)> = self.groups(&pages)?;
        let pages = pages.first().map_or(0, |(pages,)| *pages);
        let parts = parts(pages, self.source.options.connections as i64);
        let mut fresh = Fresh::default();
        for groups in self.at_once(parts, |part| self.groups(&self.fresh_sql(from, &part)))? {
            fresh.add(groups);
        }
        Ok(fresh)
    }

    fn fresh_sql(&self, from: u64, and: &str) -> String {
        let (from, certain) = (fresh(from), fresh(self.earlier.xmax));
        let table = self.table;
        format!(
            "SELECT run_id::int4 AS key, count(*) FILTER (WHERE {certain}) AS rows FROM {table} WHERE {from}{and} GROUP BY run_id"
        )
    }

    /// Whether the runs with new rows have grown by as much as was inserted, less what was deleted, but for the runs that are
    /// gone: then no row of another run is gone, neither deleted nor moved here.
    fn balanced(&self, fresh: &Fresh, moved: Counters, place: usize) -> Result<bool> {
        let gone = self.known.gone(&self.source.snapshot.runs, place) as i64;
        if moved.updated == 0 && moved.deleted == gone {
            return Ok(true);
        }
        let ids: Vec<String> = fresh.0.keys().map(ToString::to_string).collect();
        let parts = ids.chunks(ids.len().div_ceil(self.source.options.connections.max(1)).max(PART_RUNS_MIN));
        let parts = parts.map(|ids| format!(" WHERE run_id = ANY (ARRAY[{}])", ids.join(", "))).collect();
        let counted = self.at_once(parts, |part| self.counted(&part))?;
        let grown =
            counted.iter().flatten().map(|(run, rows)| rows - self.known.runs.get(run).map_or(0, |rows| rows[place] as i64));
        Ok(grown.sum::<i64>() - gone == moved.inserted - moved.deleted)
    }

    fn counted(&self, condition: &str) -> Result<BTreeMap<RunId, i64>> {
        let sql = format!("SELECT run_id::int4 AS key, count(*) AS rows FROM {}{condition} GROUP BY run_id", self.table);
        let groups: Vec<Group<i32>> = self.groups(&sql)?;
        Ok(groups.into_iter().map(|group| (RunId(group.key), group.rows)).collect())
    }

    /// The known runs that have another number of rows now.
    fn differing(&self, now: &BTreeMap<RunId, i64>) -> BTreeSet<RunId> {
        let place = self.place.unwrap_or_default();
        let same = |run: &RunId, rows: u64| now.get(run).copied().unwrap_or(0) == rows as i64;
        self.known.runs.iter().filter(|(run, rows)| !same(run, rows[place])).map(|(run, _)| *run).collect()
    }

    fn at_once<T: Send>(&self, parts: Vec<String>, search: impl Fn(String) -> Result<T> + Sync) -> Result<Vec<T>> {
        std::thread::scope(|scope| {
            let search = &search;
            let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || search(part))).collect();
            running.into_iter().map(joined).collect()
        })
    }

    fn groups<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(&self, sql: &str) -> Result<Vec<T>> {
        let what = format!("looking for changes in {}", self.table);
        self.source.asked(sql, what)
    }
}

impl Postgres {
    /// The rows that a reader finds.
    pub(super) fn asked<T>(&self, sql: &str, what: String) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut reader = self.readers.take()?;
        let rows = self.wait(&mut reader, async |reader| {
            sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_all(reader).await.map_err(|e| failed(what, e))
        })?;
        reader.give_back();
        Ok(rows)
    }
}

/// Conditions that cut a table into this many parts. What was appended after its size was asked for belongs to the last one.
fn parts(pages: i64, parts: i64) -> Vec<String> {
    let parts = parts.clamp(1, (pages / PART_PAGES_MIN).max(1));
    let starts: Vec<i64> = (0..parts).map(|part| pages * part / parts).collect();
    let ends = starts.iter().skip(1).map(Some).chain([None]);
    let from = starts.iter().map(|start| if *start == 0 { String::new() } else { format!(" AND ctid >= '({start},0)'::tid") });
    from.zip(ends).map(|(from, end)| from + &end.map_or(String::new(), |end| format!(" AND ctid < '({end},0)'::tid"))).collect()
}

/// Rows of transactions from this one on. A very old row may look like one: then its run is read once too often.
fn fresh(xmin: u64) -> String {
    format!("age(xmin) <= age('{}'::xid)", xmin as u32)
}

fn since(column: &str, time: Micros) -> String {
    format!("{column} >= '1970-01-01T00:00:00Z'::timestamptz + {} * interval '1 microsecond'", time.0)
}

fn whole(table: &str, group: &str, fresh: &str) -> String {
    format!("SELECT {group} AS key, count(*) AS rows, count(*) FILTER (WHERE {fresh}) AS fresh FROM {table} GROUP BY 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_rows_are_told_by_the_lower_half_of_a_transaction_id() {
        assert_eq!(fresh(5_000_000_000), "age(xmin) <= age('705032704'::xid)");
    }

    #[test]
    fn counters_must_tell_of_just_as_many_rows() {
        let fresh = Fresh(BTreeMap::from([(RunId(1), 3), (RunId(2), 0), (RunId(3), 4)]));
        assert!(fresh.explains(Counters { inserted: 5, updated: 2, deleted: 9 }));
        assert!(!fresh.explains(Counters { inserted: 5, updated: 3, deleted: 0 }));
        assert!(!fresh.explains(Counters { inserted: 6, updated: 0, deleted: 0 }));
    }

    #[test]
    fn parts_are_the_whole() {
        assert_eq!(parts(0, 4), [""]);
        assert_eq!(parts(1_999, 4), [""]);
        assert_eq!(parts(2_000, 4), [" AND ctid < '(1000,0)'::tid", " AND ctid >= '(1000,0)'::tid"]);
        let three = [
            " AND ctid < '(10000,0)'::tid",
            " AND ctid >= '(10000,0)'::tid AND ctid < '(20000,0)'::tid",
            " AND ctid >= '(20000,0)'::tid",
        ];
        assert_eq!(parts(30_000, 3), three);
    }
}
