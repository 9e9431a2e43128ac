//! Where a snapshot of a database stands, and which runs have changed since an earlier one.
//!
//! Where triggers record what is written (`recount migrate --track-changes`), their stamps tell: see [`super::tracking`].
//! Else the tables are searched for rows that the earlier snapshot did not see: see [`super::search`].

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::connect::failed;
use super::contract::{Contract, Selection};
use super::search::{Probe, Search};
use super::{Exported, Postgres, plan, tracking};
use crate::error::{Error, ErrorKind, Result};
use crate::model::changes::{Changed, Changes, Counters, Known, Position, Server, TableMark, Tracking};
use crate::model::evidence::{COMPONENTS, RESPONSES, SCORES, STEPS};
use crate::model::rollups::{ForecastStat, Rollup};
use crate::model::time::Micros;

/// The tables whose rows make a unit, by their place in the rows of a run; the stored ones have none.
const SEARCHES: [(&str, Option<usize>, Search); 5] = [
    (RESPONSES.name, Some(0), Search::Whole { group: "run_id::int4" }),
    (SCORES.name, Some(1), Search::Ids { time: "calculation_time" }),
    (COMPONENTS.name, Some(2), Search::Ids { time: "calculated_at" }),
    // Two million rows a year: counting them all takes longer than finding the new ones.
    (STEPS.name, Some(3), Search::Fresh),
    (ForecastStat::TABLE, None, Search::Whole { group: "forecast_run_id::text" }),
];

/// What is asked before the snapshot is taken.
#[derive(Debug)]
pub struct Before {
    server: Server,
    counters: BTreeMap<String, Counters>,
}

// The first statement of its kind that fails would take the transaction with it, hence its place before that.
// A crash of one of the server's processes sets its statistics to zero, but not the time at which it was started.
const SERVER_SQL: &str = "
SELECT (SELECT system_identifier FROM pg_control_system()), d.oid::int8,
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8,
       (extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::int8,
       (extract(epoch FROM pg_stat_get_db_stat_reset_time(d.oid)) * 1000000)::int8,
       current_setting('track_counts')::bool AND NOT pg_is_in_recovery()
       AND NOT EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) AS c(setting)
                       WHERE s.setdatabase IN (0, d.oid) AND c.setting ~* '^track_counts=')
FROM pg_database d WHERE d.datname = current_database()";

const COUNTERS_SQL: &str = "
SELECT t.name, pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)
FROM unnest($1::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(t.name)";

const MARKS_SQL: &str = "
SELECT t.name, c.oid::int8, coalesce(pg_relation_filenode(c.oid), 0)::int8,
       c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid),
       EXISTS (SELECT FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               JOIN pg_class x ON x.oid = i.indexrelid
               JOIN pg_am m ON m.oid = x.relam
               WHERE i.indrelid = c.oid AND a.attname = t.time AND m.amname = 'btree'
                 AND i.indisvalid AND i.indisready AND i.indpred IS NULL),
       (SELECT string_agg(concat_ws(' ', a.attname, a.attnum, a.atttypid, a.atttypmod, a.attcollation, e.generation), ', '
                          ORDER BY a.attnum)
        FROM pg_attribute a
        LEFT JOIN LATERAL (SELECT pg_get_expr(d.adbin, d.adrelid) AS generation FROM pg_attrdef d
                           WHERE a.attgenerated <> '' AND d.adrelid = a.attrelid AND d.adnum = a.attnum) e ON true
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM unnest($1::text[], $2::text[]) AS t(name, time) JOIN pg_class c ON c.oid = to_regclass(t.name)";

/// Which server it is, and how far its counters are. All that they have counted is in a snapshot that is taken afterwards.
pub async fn before(connection: &mut PgConnection) -> Result<Before> {
    let cannot = |e| failed("asking which server this is", e);
    type Row = (i64, i64, i64, Option<i64>, Option<i64>, bool);
    let row: Row = sqlx::query_as(SERVER_SQL).fetch_one(&mut *connection).await.map_err(cannot)?;
    let (system, database, started, recovered, stats_reset, counting) = row;
    let names: Vec<&str> = SEARCHES.iter().map(|(table, ..)| *table).collect();
    let rows: Vec<(String, i64, i64, i64)> =
        sqlx::query_as(COUNTERS_SQL).bind(&names).fetch_all(connection).await.map_err(cannot)?;
    let counters = rows.into_iter().filter(|_| counting);
    Ok(Before {
        server: Server {
            system,
            database,
            started: Micros(started),
            recovered: recovered.map(Micros),
            stats_reset: stats_reset.map(Micros),
        },
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
    let found: Vec<(String, i64, i64, bool, bool, String)> = sqlx::query_as(MARKS_SQL)
        .bind(&names)
        .bind(&times)
        .fetch_all(&mut *connection)
        .await
        .map_err(|e| failed("reading the catalogue", e))?;
    let mut tables = BTreeMap::new();
    for (name, oid, filenode, plain, time_index, columns) in found {
        let counters = before.counters.get(&name).copied();
        let ids = SEARCHES.iter().any(|(table, _, search)| *table == name && search.time().is_some());
        let max_id = if ids { max_id(connection, &name).await? } else { None };
        tables.insert(name, TableMark { oid, filenode, plain, columns, counters, max_id, time_index, known_before: xmin });
    }
    let tracking = tracking::read(connection, &names).await?;
    let schema = selections(contract).map(plan::whole).collect::<Vec<_>>().join("\n");
    Ok(Position { server: before.server, schema, taken_at: exported.taken_at, xmin, xmax, tables, anchor: None, tracking })
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
        match (&position.tracking, &earlier.tracking) {
            (Tracking::Broken(why), _) => Ok(Changes::Unknown(why.clone())),
            (Tracking::On { triggers: now, .. }, Tracking::On { triggers: then, .. }) if now != then => {
                Ok(Changes::Unknown("the triggers that track changes were disabled or made anew since".to_owned()))
            }
            (Tracking::On { pruned_through, .. }, Tracking::On { .. }) if *pruned_through >= earlier.xmin => {
                Ok(Changes::Unknown("what the triggers recorded since was removed in the meantime".to_owned()))
            }
            (Tracking::On { .. }, Tracking::On { .. }) => Ok(Changes::Known(self.stamped(earlier)?)),
            (Tracking::On { .. }, _) => Ok(Changes::Unknown("changes are tracked since then".to_owned())),
            (Tracking::Off, _) => Ok(Changes::Known(self.searched(position, earlier, known)?)),
        }
    }

    /// Looks through the tables.
    fn searched(&self, position: &Position, earlier: &Position, known: &Known<'_>) -> Result<Changed> {
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
            all.known_before.extend(changed.known_before);
        }
        Ok(all)
    }
}

pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_a_snapshot() {
        assert_eq!(bounds("731:745:731,740").unwrap(), (731, 745));
        assert_eq!(bounds("5000000000:5000000000:").unwrap(), (5_000_000_000, 5_000_000_000));
        assert!(bounds("").is_err() && bounds("7").is_err());
    }
}
