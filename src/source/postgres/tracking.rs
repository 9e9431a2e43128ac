//! What the triggers of `recount migrate --track-changes` have recorded, and whether they can have missed something.
//!
//! A stamp names a transaction and a run, or a unit, that it wrote to. Nothing escapes a trigger that is in force: so what a
//! position keeps of the triggers, their functions and the tables of the stamps must not have changed since.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;

use super::Postgres;
use super::connect::failed;
use crate::error::Result;
use crate::model::changes::{Changed, Position, Tracking};
use crate::model::ids::RunId;

/// The tables of the stamps: what each is, where there is one, and through which transaction stamps were removed.
const STAMPS_SQL: &str = "
SELECT to_regclass('recount_tracking') IS NOT NULL,
       (SELECT string_agg(concat_ws(' ', c.oid, pg_relation_filenode(c.oid), has_table_privilege(c.oid, 'SELECT')), ', ' ORDER BY c.oid)
        FROM pg_class c
        WHERE c.oid IN (to_regclass('recount_tracking'), to_regclass('recount_touched_runs'), to_regclass('recount_touched_units')))";

const PRUNED_SQL: &str = "SELECT max(pruned_through::text::int8) FROM recount_tracking";

/// By table: how many triggers are in force, whatever would be different had one been disabled or made anew, and whether rows
/// come in past all triggers for statements, as those of a subscription do.
const TRIGGERS_SQL: &str = "
SELECT t.name, count(g.oid) FILTER (WHERE g.tgenabled = 'A'),
       coalesce(string_agg(concat_ws(' ', g.tgname, g.oid, g.xmin, g.tgenabled, g.tgtype, f.oid, f.xmin), ', ' ORDER BY g.tgname), ''),
       EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid)
FROM unnest($1::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(t.name)
LEFT JOIN (pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid AND f.proname IN ('recount_stamp_runs', 'recount_stamp_units'))
       ON g.tgrelid = c.oid AND g.tgname IN ('recount_track_insert', 'recount_track_update', 'recount_track_delete')
GROUP BY t.name, c.oid ORDER BY t.name";

/// Insertions, updates and deletions.
const TRIGGERS: i64 = 3;

/// Whether changes of these tables are tracked.
pub(super) async fn read(connection: &mut PgConnection, tables: &[&str]) -> Result<Tracking> {
    let cannot = |e| failed("reading whether changes are tracked", e);
    let (there, stamps): (bool, Option<String>) = sqlx::query_as(STAMPS_SQL).fetch_one(&mut *connection).await.map_err(cannot)?;
    let stamps = stamps.unwrap_or_default();
    if !there {
        return Ok(Tracking::Off);
    }
    if stamps.matches(" t").count() != 3 {
        return Ok(Tracking::Broken("the tables of tracked changes are not all there, or may not be read".to_owned()));
    }
    let triggers: Vec<(String, i64, String, bool)> =
        sqlx::query_as(TRIGGERS_SQL).bind(tables).fetch_all(&mut *connection).await.map_err(cannot)?;
    for (table, in_force, _, subscribed) in &triggers {
        if *in_force != TRIGGERS {
            let why = format!("{table} has no triggers in force that track its changes: run `recount migrate --track-changes`");
            return Ok(Tracking::Broken(why));
        }
        if *subscribed {
            return Ok(Tracking::Broken(format!("{table} is filled by a subscription, past the triggers that track changes")));
        }
    }
    let pruned: Option<i64> = sqlx::query_scalar(PRUNED_SQL).fetch_one(connection).await.map_err(cannot)?;
    let Some(pruned_through) = pruned.and_then(|xid| u64::try_from(xid).ok()) else {
        return Ok(Tracking::Broken(
            "recount_tracking is empty: run `recount migrate --no-track-changes`, then track anew".to_owned(),
        ));
    };
    let triggers = triggers.into_iter().map(|(table, _, triggers, _)| format!("{table}: {triggers}"));
    Ok(Tracking::On { triggers: triggers.chain([stamps]).collect::<Vec<_>>().join("\n"), pruned_through })
}

impl Postgres {
    /// What transactions that the earlier snapshot did not see wrote to.
    pub(super) fn stamped(&self, earlier: &Position) -> Result<Changed> {
        let stamps = |column: &str, table: &str| {
            let sql = format!("SELECT DISTINCT {column} FROM {table} WHERE xid >= '{}'::xid8", earlier.xmin);
            (sql, format!("reading the stamps in {table}"))
        };
        let (sql, what) = stamps("run_id", "recount_touched_runs");
        let runs: Vec<(i64,)> = self.asked(&sql, what)?;
        let (sql, what) = stamps("forecast_run_id", "recount_touched_units");
        let units: Vec<(String,)> = self.asked(&sql, what)?;
        let runs: BTreeSet<RunId> = runs.into_iter().filter_map(|(run,)| i32::try_from(run).ok().map(RunId)).collect();
        Ok(Changed { runs, units: units.into_iter().map(|(unit,)| unit).collect(), tracked: true, ..Changed::default() })
    }
}
