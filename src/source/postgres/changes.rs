//! Which runs have changed since an earlier snapshot of the same database, found without reading their evidence.
//!
//! A row that the earlier snapshot did not see was written by a transaction that had not ended then: its `xmin` is not below
//! that snapshot's. Small tables are scanned for such rows. In the two big ones they are looked up by id, and by the time of
//! scoring. Rows that are gone leave no trace: the server's counters tell whether there can be any, and then runs are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, FromRow};

use super::connect::failed;
use super::contract::{Contract, Selection};
use super::{Exported, Postgres, plan};
use crate::error::{Error, ErrorKind, Result};
use crate::model::changes::{Changed, Changes, Counters, Edits, Known, Position, Server, TableMark};
use crate::model::evidence::{COMPONENTS, RESPONSES, SCORES, STEPS};
use crate::model::ids::RunId;
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::time::Micros;

/// Ids are drawn a moment before their transaction has a number: so many may have been.
const IDS_BEFORE: i64 = 10_000;
/// A score is timed when it is computed, by the clock of whoever does that, and written later.
const MICROS_BEFORE: i64 = 6 * 3600 * 1_000_000;

/// A smaller part of a table is not worth a connection.
const PART_PAGES_MIN: i64 = 1_000;

/// How changed rows of a table are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// In one scan, with the number of rows in each group.
    Scan { group: &'static str, counts: bool },
    /// By ids, which ascend, and by the time in this column.
    Ids { time: &'static str },
}

/// The tables whose rows make a unit, by their place in the rows of a run; the stored ones have none.
const SEARCHES: [(&str, Option<usize>, Search); 5] = [
    (RESPONSES.name, Some(0), Search::Scan { group: "run_id::int4", counts: true }),
    (SCORES.name, Some(1), Search::Ids { time: "calculation_time" }),
    (COMPONENTS.name, Some(2), Search::Ids { time: "calculated_at" }),
    // Two million rows a year: counting them all takes longer than finding the new ones.
    (STEPS.name, Some(3), Search::Scan { group: "run_id::int4", counts: false }),
    (ForecastStat::TABLE, None, Search::Scan { group: "forecast_run_id::text", counts: true }),
];

/// What is asked before the snapshot is taken.
#[derive(Debug)]
pub struct Before {
    server: Server,
    counters: BTreeMap<String, Counters>,
}

// The first statement of its kind that fails would take the transaction with it, hence its place before that.
const SERVER_SQL: &str = "
SELECT (SELECT system_identifier FROM pg_control_system()), d.oid::int8,
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8,
       (extract(epoch FROM pg_stat_get_db_stat_reset_time(d.oid)) * 1000000)::int8,
       current_setting('track_counts')::bool AND NOT pg_is_in_recovery()
FROM pg_database d WHERE d.datname = current_database()";

const COUNTERS_SQL: &str = "
SELECT t.name, pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)
FROM unnest($1::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(t.name)";

const MARKS_SQL: &str = "
SELECT t.name, c.oid::int8, coalesce(pg_relation_filenode(c.oid), 0)::int8, c.relkind = 'r',
       EXISTS (SELECT FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               JOIN pg_class x ON x.oid = i.indexrelid
               JOIN pg_am m ON m.oid = x.relam
               WHERE i.indrelid = c.oid AND a.attname = t.time AND m.amname = 'btree'
                 AND i.indisvalid AND i.indisready AND i.indpred IS NULL)
FROM unnest($1::text[], $2::text[]) AS t(name, time) JOIN pg_class c ON c.oid = to_regclass(t.name)";

/// Which server it is, and how far its counters are. All that they have counted is in a snapshot that is taken afterwards.
pub async fn before(connection: &mut PgConnection) -> Result<Before> {
    let cannot = |e| failed("asking which server this is", e);
    let row: (i64, i64, i64, Option<i64>, bool) = sqlx::query_as(SERVER_SQL).fetch_one(&mut *connection).await.map_err(cannot)?;
    let (system, database, started, stats_reset, counting) = row;
    let names: Vec<&str> = SEARCHES.iter().map(|(table, ..)| *table).collect();
    let rows: Vec<(String, i64, i64, i64)> =
        sqlx::query_as(COUNTERS_SQL).bind(&names).fetch_all(connection).await.map_err(cannot)?;
    let counters = rows.into_iter().filter(|_| counting);
    Ok(Before {
        server: Server { system, database, started: Micros(started), stats_reset: stats_reset.map(Micros) },
        counters: counters.map(|(name, inserted, updated, deleted)| (name, Counters { inserted, updated, deleted })).collect(),
    })
}

/// The position of the snapshot that this connection has exported.
pub async fn position(
    connection: &mut PgConnection,
    before: Before,
    contract: &Contract,
    exported: &Exported,
) -> Result<Position> {
    let (xmin, xmax) = bounds(&exported.sees)?;
    let times: Vec<Option<&str>> = SEARCHES.iter().map(|(.., search)| search.time()).collect();
    let names: Vec<&str> = SEARCHES.iter().map(|(table, ..)| *table).collect();
    let found: Vec<(String, i64, i64, bool, bool)> = sqlx::query_as(MARKS_SQL)
        .bind(&names)
        .bind(&times)
        .fetch_all(&mut *connection)
        .await
        .map_err(|e| failed("reading the catalogue", e))?;
    let mut tables = BTreeMap::new();
    for (name, oid, filenode, plain, time_index) in found {
        let counters = before.counters.get(&name).copied();
        let ids = SEARCHES.iter().any(|(table, _, search)| *table == name && search.time().is_some());
        let max_id = if ids { max_id(connection, &name).await? } else { None };
        let edits = Edits { xmin, updated: counters.map(|counters| counters.updated) };
        tables.insert(name, TableMark { oid, filenode, plain, counters, max_id, time_index, edits });
    }
    let schema = selections(contract).map(plan::whole).collect::<Vec<_>>().join("\n");
    Ok(Position { server: before.server, schema, taken_at: exported.taken_at, xmin, xmax, tables, anchor: None })
}

async fn max_id(connection: &mut PgConnection, table: &str) -> Result<Option<i64>> {
    // An empty table has no id yet; the first one will be above this.
    let sql = AssertSqlSafe(format!("SELECT coalesce(max(id), 0)::int8 FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(connection).await.map_err(|e| failed(format!("reading the ids of {table}"), e)).map(Some)
}

fn selections(contract: &Contract) -> impl Iterator<Item = &Selection> {
    let Contract { nodes, runs, responses, scores, components, steps, stats, miners, subnet, .. } = contract;
    let required = [nodes, runs, responses, scores, components];
    required.into_iter().chain([steps, stats, miners, subnet].into_iter().flatten())
}

/// `xmin:xmax:…` of a snapshot.
fn bounds(snapshot: &str) -> Result<(u64, u64)> {
    let mut parts = snapshot.split(':').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(xmin)), Some(Ok(xmax))) => Ok((xmin, xmax)),
        _ => Err(Error::new(ErrorKind::Database, "reading the snapshot's bounds", format!("found {snapshot}"))),
    }
}

impl Search {
    fn time(self) -> Option<&'static str> {
        match self {
            Search::Ids { time } => Some(time),
            Search::Scan { .. } => None,
        }
    }
}

/// One group of a scan: its key, how many rows, how many of them new.
#[derive(Debug, FromRow)]
struct Group<K> {
    key: K,
    rows: Option<i64>,
    fresh: i64,
}

impl Postgres {
    /// Where the snapshot stands, where that was asked for.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// What has changed since an earlier position, as far as it was known then.
    pub fn changes(&self, earlier: &Position, known: &Known<'_>) -> Result<Changes> {
        let Some(position) = &self.position else { return Ok(Changes::Unknown("nobody asked for its position".to_owned())) };
        if let Some(why) = position.unlike(earlier) {
            return Ok(Changes::Unknown(why));
        }
        let found: Vec<Result<Changed>> = std::thread::scope(|scope| {
            let there = SEARCHES.iter().filter(|(table, ..)| position.tables.contains_key(*table));
            let searches = there.map(|&(table, place, search)| {
                let probe = Probe { source: self, position, earlier, known, table, place };
                scope.spawn(move || probe.search(search))
            });
            let running: Vec<_> = searches.collect();
            running.into_iter().map(joined).collect()
        });
        let mut all = Changed::default();
        for changed in found {
            let changed = changed?;
            all.runs.extend(changed.runs);
            all.units.extend(changed.units);
            all.edits.extend(changed.edits);
        }
        Ok(Changes::Known(all))
    }
}

/// The search through one table.
struct Probe<'p> {
    source: &'p Postgres,
    position: &'p Position,
    earlier: &'p Position,
    known: &'p Known<'p>,
    table: &'static str,
    place: Option<usize>,
}

impl Probe<'_> {
    fn search(&self, search: Search) -> Result<Changed> {
        match (search, self.place) {
            (Search::Scan { group, counts }, Some(place)) => self.runs(group, counts, place),
            (Search::Scan { group, .. }, None) => self.units(group),
            (Search::Ids { time }, place) => self.by_ids(time, place.unwrap_or_default()),
        }
    }

    /// New rows by their runs, in one scan.
    fn runs(&self, group: &str, counts: bool, place: usize) -> Result<Changed> {
        let fresh = fresh(self.earlier.xmin);
        if counts {
            let groups: Vec<Group<i32>> = self.groups(&grouped(self.table, group, &fresh))?;
            return Ok(Changed { runs: self.differing(&groups, place), ..Changed::default() });
        }
        let mut runs = self.scanned(&fresh)?;
        if !self.explains_deletions(place) {
            runs.extend(self.counted(place)?);
        }
        Ok(Changed { runs, ..Changed::default() })
    }

    /// New stored rows by their units.
    fn units(&self, group: &str) -> Result<Changed> {
        let groups: Vec<Group<String>> = self.groups(&grouped(self.table, group, &fresh(self.earlier.xmin)))?;
        let there: BTreeMap<&str, &Group<String>> = groups.iter().map(|group| (group.key.as_str(), group)).collect();
        let changed = self.known.units.iter().filter(|(unit, rows)| {
            let now = there.get(*unit);
            now.map_or(0, |now| now.rows.unwrap_or(0) as u64) != **rows || now.is_some_and(|now| now.fresh > 0)
        });
        Ok(Changed { units: changed.map(|(unit, _)| (*unit).to_owned()).collect(), ..Changed::default() })
    }

    /// New rows by their ids, rows written again by their times, and all runs counted where the counters tell of more.
    fn by_ids(&self, time: &str, place: usize) -> Result<Changed> {
        let table = self.table;
        let (Some(now), Some(then)) = (self.position.tables.get(table), self.earlier.tables.get(table)) else {
            return Ok(Changed::default());
        };
        let mut changed = Changed::default();
        let inserted = match &self.earlier.anchor {
            Some(anchor) => {
                let known_id = then.max_id.unwrap_or(0);
                let from = anchor.max_ids.get(table).copied().unwrap_or(0).saturating_sub(IDS_BEFORE);
                let groups: Vec<Group<i32>> = self.groups(&above(table, from, known_id, &fresh(self.earlier.xmin)))?;
                changed.runs.extend(groups.iter().map(|group| RunId(group.key)));
                if now.time_index {
                    let from = Micros(anchor.taken_at.0.saturating_sub(MICROS_BEFORE));
                    changed.runs.extend(self.fresh_runs(&format!("{} AND {}", since(time, from), fresh(self.earlier.xmin)))?);
                }
                let sum = |count: fn(&Group<i32>) -> i64| groups.iter().map(count).sum::<i64>();
                [sum(|group| group.fresh), sum(|group| group.rows.unwrap_or(0))]
            }
            None => {
                changed.runs.extend(self.scanned(&fresh(self.earlier.xmin))?);
                [-1; 2]
            }
        };
        changed.edits.insert(table, now.edits);
        if !now.time_index {
            self.updated(now, then, &mut changed)?;
        }
        let moved = self.position.moved(self.earlier, table);
        if !moved.is_some_and(|moved| inserted.contains(&moved.inserted)) || !self.explains_deletions(place) {
            changed.runs.extend(self.counted(place)?);
        }
        Ok(changed)
    }

    /// Without an index on the time, the counters tell whether there is anything to scan for.
    fn updated(&self, now: &TableMark, then: &TableMark, changed: &mut Changed) -> Result<()> {
        let still = self.position.moved(self.earlier, self.table).is_some() && now.edits.updated == then.edits.updated;
        if still {
            changed.edits.insert(self.table, then.edits);
        } else {
            changed.runs.extend(self.scanned(&fresh(then.edits.xmin))?);
        }
        Ok(())
    }

    /// Whether as many rows were deleted as went with the runs that are gone.
    fn explains_deletions(&self, place: usize) -> bool {
        let gone = self.known.gone(&self.source.snapshot.runs, place);
        self.position.moved(self.earlier, self.table).is_some_and(|moved| u64::try_from(moved.deleted) == Ok(gone))
    }

    /// The runs of rows for which a whole table is looked through: each connection takes a part of its pages.
    fn scanned(&self, condition: &str) -> Result<BTreeSet<RunId>> {
        let pages = format!("SELECT pg_relation_size('{}') / current_setting('block_size')::int8", self.table);
        let pages: Vec<(i64,)> = self.groups(&pages)?;
        let pages = pages.first().map_or(0, |(pages,)| *pages);
        let parts = parts(pages, self.source.options.connections as i64);
        let found: Vec<Result<BTreeSet<RunId>>> = std::thread::scope(|scope| {
            let part = |part| scope.spawn(move || self.fresh_runs(&format!("{condition}{part}")));
            let running: Vec<_> = parts.into_iter().map(part).collect();
            running.into_iter().map(joined).collect()
        });
        found.into_iter().try_fold(BTreeSet::new(), |mut all, runs| {
            all.extend(runs?);
            Ok(all)
        })
    }

    fn fresh_runs(&self, condition: &str) -> Result<BTreeSet<RunId>> {
        let sql = format!("SELECT DISTINCT run_id::int4 FROM {} WHERE {condition}", self.table);
        let runs: Vec<(i32,)> = self.groups(&sql)?;
        Ok(runs.into_iter().map(|(run,)| RunId(run)).collect())
    }

    /// The known runs that have another number of rows now.
    fn counted(&self, place: usize) -> Result<BTreeSet<RunId>> {
        tracing::debug!(table = self.table, "counting the rows of every run");
        let sql = format!("SELECT run_id::int4 AS key, count(*) AS rows, 0::int8 AS fresh FROM {} GROUP BY run_id", self.table);
        Ok(self.differing(&self.groups(&sql)?, place))
    }

    fn differing(&self, groups: &[Group<i32>], place: usize) -> BTreeSet<RunId> {
        let there: BTreeMap<i32, &Group<i32>> = groups.iter().map(|group| (group.key, group)).collect();
        let changed = self.known.runs.iter().filter(|(run, rows)| {
            let now = there.get(&run.0);
            now.map_or(0, |now| now.rows.unwrap_or(0) as u64) != rows[place] || now.is_some_and(|now| now.fresh > 0)
        });
        changed.map(|(run, _)| *run).collect()
    }

    fn groups<T: for<'r> FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin>(&self, sql: &str) -> Result<Vec<T>> {
        let mut reader = self.source.readers.take()?;
        let what = format!("looking for changes in {}", self.table);
        let rows = self.source.wait(&mut reader, async |reader| {
            sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_all(reader).await.map_err(|e| failed(what, e))
        })?;
        reader.give_back();
        Ok(rows)
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Conditions that cut a table into so many parts. What was appended after its size was asked for belongs to the last one.
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

fn grouped(table: &str, group: &str, fresh: &str) -> String {
    format!("SELECT {group} AS key, count(*) AS rows, count(*) FILTER (WHERE {fresh}) AS fresh FROM {table} GROUP BY 1")
}

/// `rows`: those above the last known id; `fresh`: those of transactions that had not ended then.
fn above(table: &str, from: i64, known: i64, fresh: &str) -> String {
    format!(
        "SELECT run_id::int4 AS key, count(*) FILTER (WHERE id > {known}) AS rows, count(*) AS fresh FROM {table} \
         WHERE id > {from} AND {fresh} GROUP BY run_id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_a_snapshot() {
        assert_eq!(bounds("731:745:731,740").unwrap(), (731, 745));
        assert_eq!(bounds("5000000000:5000000000:").unwrap(), (5_000_000_000, 5_000_000_000));
        assert!(bounds("").is_err() && bounds("7").is_err());
        assert_eq!(fresh(5_000_000_000), "age(xmin) <= age('705032704'::xid)");
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
