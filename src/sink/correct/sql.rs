//! The statements about one table: pure text, made from names of the model and the catalogue.
//!
//! `t` is the stored row, `r` the row of `recount_rows`, `c` its cells, `o` which of them are right to change.

use std::collections::BTreeSet;

use crate::model::correction::EvidenceOf;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::writing::UpdatedAt;

use super::load::quoted;
use super::plan::{Cell, Guard, Stamp, TablePlan};

pub use crate::postgres::identifier as name;

/// What stands for the range of rows in a statement that may have to be narrowed down.
pub const RANGE: &str = "/*range*/TRUE";

/// The rows of every table that is corrected. `state` is NULL while nothing stands against the row.
pub const EXTRA_OF_ROWS: &str = ", state text, version xid, ranks_stale bool NOT NULL DEFAULT false, image text, later bool";

/// Cells that stay as they are in a row that changes otherwise.
pub const CREATE_LEFT: &str =
    "CREATE TEMP TABLE pg_temp.recount_left (n int4, target text, column_name text, reason text) ON COMMIT DROP";

/// Locks the miners and runs that new rows and cells will refer to, so that no foreign key ever waits.
pub fn lock_parents(tables: &[TablePlan]) -> String {
    let moved = tables.iter().filter(|plan| plan.cells.iter().any(|cell| cell.name == "run_id"));
    let moved = moved.map(|plan| format!(" UNION ALL SELECT run_id_new::int4 FROM {} WHERE run_id_set", plan.cells_table()));
    format!(
        "CREATE TEMP TABLE pg_temp.recount_parents ON COMMIT DROP AS SELECT uid, run FROM recount_lock_parents(
             ARRAY(SELECT miner_uid FROM pg_temp.recount_rows WHERE change = 'insert' AND state IS NULL AND miner_uid IS NOT NULL),
             ARRAY(SELECT run_id FROM pg_temp.recount_rows WHERE change = 'insert' AND state IS NULL AND run_id IS NOT NULL{}))",
        moved.collect::<String>()
    )
}

/// D1: how two rows of the table have the same key. Texts are cast: an operator of `varchar` could be anyone's. A run that is
/// NULL has a number that no run has, since only `=` can be looked up or hashed.
pub fn same_key(table: &str, a: &str, b: &str) -> String {
    match table {
        ForecastStat::TABLE => format!("{a}.miner_uid = {b}.miner_uid AND {a}.forecast_run_id::text = {b}.forecast_run_id::text"),
        MinerStat::TABLE => format!("{a}.miner_uid = {b}.miner_uid"),
        _ => format!(
            "{a}.scope::text = {b}.scope::text AND coalesce({a}.run_id, {all})::int8 = coalesce({b}.run_id, {all})::int8",
            all = EvidenceOf::ALL
        ),
    }
}

/// Notes how new the newest row is before anything is written.
pub fn mark(plan: &TablePlan) -> Option<String> {
    let TablePlan { table, .. } = plan;
    let mark = plan.mark_table();
    let create = || format!("CREATE TEMP TABLE {mark} ON COMMIT DROP AS SELECT max(t.updated_at) AS newest FROM {table} t");
    plan.stamp_kind.is_some().then(create)
}

/// Tells rows that are now newer than every row was: the validator's web sync takes what is newer than it has seen.
pub fn compare_mark(plan: &TablePlan) -> Option<String> {
    let TablePlan { table, .. } = plan;
    let (mark, key) = (plan.mark_table(), same_key(table, "t", "r"));
    let update = || {
        format!(
            "UPDATE pg_temp.recount_rows r SET later = coalesce(t.updated_at > m.newest, t.updated_at IS NOT NULL)
             FROM {table} t, {mark} m
             WHERE r.target = '{table}' AND r.change <> 'delete' AND r.state = 'done' AND {key}"
        )
    };
    plan.stamp_kind.is_some().then(update)
}

/// Notes each stored row's version; a row that is gone, or that is there though it should be missing, is not for us.
pub fn versions(plan: &TablePlan) -> [String; 2] {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    [
        format!("UPDATE pg_temp.recount_rows r SET version = t.xmin FROM {table} t WHERE r.target = '{table}' AND {key}"),
        format!(
            "UPDATE pg_temp.recount_rows SET state = CASE change WHEN 'insert' THEN 'exists' ELSE 'gone' END
             WHERE target = '{table}' AND state IS NULL AND (change = 'insert') = (version IS NOT NULL)"
        ),
    ]
}

/// Runs whose steps are under way, and runs that are too young, stay as they are.
///
/// The steps are looked at in a statement that names the runs and writes no row that others see, so that the server knows how many
/// steps it will meet and may share them out to several processes.
pub fn hold_runs(runs: &BTreeSet<i32>, in_flight_hours: u32, min_age_seconds: u64) -> [String; 3] {
    let rows = format!("state IS NULL AND target <> '{}' AND ev_run", MinerStat::TABLE);
    let runs = runs.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let runs = format!("ANY ('{{{runs}}}'::int4[])");
    [
        format!(
            "CREATE TEMP TABLE pg_temp.recount_in_flight ON COMMIT DROP AS
             SELECT s.run_id AS run FROM weather_forecast_steps s JOIN weather_forecast_runs f ON f.id = s.run_id
             WHERE s.run_id = {runs} AND s.status::text NOT IN ('succeeded', 'failed')
               AND coalesce(greatest(s.started_at, s.next_retry_time), f.gfs_init_time_utc)
                   > now() - interval '{in_flight_hours} hours'"
        ),
        format!(
            "UPDATE pg_temp.recount_rows SET state = 'in_flight' WHERE {rows} IN (SELECT run FROM pg_temp.recount_in_flight)"
        ),
        format!(
            "UPDATE pg_temp.recount_rows SET state = 'young' WHERE {rows} IN (
                 SELECT f.id FROM weather_forecast_runs f
                 WHERE f.id = {runs} AND f.gfs_init_time_utc > now() - interval '{min_age_seconds} seconds')"
        ),
    ]
}

/// Counts the evidence as it is now, by run and miner, and sums it up as the fingerprints are; with the times that a new row is
/// given (D7). `lifetime`: that of all runs.
///
/// Otherwise only what `recount_then` asks for: whole runs where it is everyone's, and of other runs single miners, to whose rows
/// an index leads.
pub fn evidence_now(lifetime: bool) -> String {
    let all = EvidenceOf::ALL;
    let rows = |table: &str, time: &str, first: &str| {
        let columns = format!("run_id, miner_uid, {time} AS time, {first} AS first");
        if lifetime {
            return format!("(SELECT {columns} FROM {table}) e");
        }
        let whole = format!("ANY (ARRAY(SELECT run FROM pg_temp.recount_then WHERE miner = {all}))");
        let named = "SELECT run AS named_run, miner AS named_miner FROM pg_temp.recount_then";
        format!(
            "(SELECT {columns} FROM {table} WHERE run_id = {whole}
              UNION ALL
              SELECT {columns} FROM {table} JOIN ({named}) n ON run_id = named_run AND miner_uid = named_miner
              WHERE NOT run_id = {whole}) e"
        )
    };
    let responses = rows("weather_miner_responses", "response_time", "response_time");
    let scores = rows("weather_miner_scores", "calculation_time", "NULL::timestamptz");
    let steps = rows("weather_forecast_steps", "coalesce(completed_at, started_at)", "started_at");
    format!(
        "CREATE TEMP TABLE pg_temp.recount_now ON COMMIT DROP AS
         SELECT coalesce(run_id::int4, {all}) AS run, coalesce(miner_uid::int4, {all}) AS miner,
                sum(responses)::int8 AS responses, max(response_time) AS newest_response, min(first_response) AS first_response,
                sum(scores)::int8 AS scores, max(score_time) AS newest_score,
                sum(steps)::int8 AS steps, max(step_time) AS newest_step, min(first_step) AS first_step
         FROM (SELECT run_id, miner_uid, count(*) AS responses, max(time) AS response_time, min(first) AS first_response, 0 AS scores,
                      NULL::timestamptz AS score_time, 0 AS steps, NULL::timestamptz AS step_time, NULL::timestamptz AS first_step
               FROM {responses} GROUP BY 1, 2
               UNION ALL
               SELECT run_id, miner_uid, 0, NULL, NULL, count(*), max(time), 0, NULL, NULL FROM {scores} GROUP BY 1, 2
               UNION ALL
               SELECT run_id, miner_uid, 0, NULL, NULL, 0, NULL, count(*), max(time), min(first) FROM {steps} GROUP BY 1, 2) e
         GROUP BY GROUPING SETS ((run_id, miner_uid), (run_id), (miner_uid), ())"
    )
}

/// Rows whose evidence is another than in the snapshot are for the next night; so are ranks where anyone's is.
pub fn compare_evidence() -> [String; 2] {
    let moved = |miner: &str| {
        format!(
            "EXISTS (SELECT FROM pg_temp.recount_then e LEFT JOIN pg_temp.recount_now w USING (run, miner)
                     WHERE e.run = r.ev_run AND e.miner = {miner}
                       AND (e.responses, e.scores, e.newest_score, e.steps, e.newest_step) IS DISTINCT FROM
                           (coalesce(w.responses, 0), coalesce(w.scores, 0), w.newest_score, coalesce(w.steps, 0), w.newest_step))"
        )
    };
    let (own, all) = (moved("r.ev_miner"), moved(&EvidenceOf::ALL.to_string()));
    [
        format!("UPDATE pg_temp.recount_rows r SET state = 'evidence' WHERE state IS NULL AND {own}"),
        format!("UPDATE pg_temp.recount_rows r SET ranks_stale = true WHERE state IS NULL AND change = 'update' AND {all}"),
    ]
}

/// Missing rows that cannot be inserted now: someone else did, or a miner or run is gone or locked.
pub fn check_inserts(plan: &TablePlan) -> [String; 2] {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    let rows = format!("r.target = '{table}' AND r.change = 'insert' AND r.state IS NULL");
    let held = |id: &str, column: &str| {
        format!("(r.{id} IS NULL OR EXISTS (SELECT FROM pg_temp.recount_parents p WHERE p.{column} = r.{id}))")
    };
    let (miner, run) = (held("miner_uid", "uid"), held("run_id", "run"));
    [
        format!("UPDATE pg_temp.recount_rows r SET state = 'exists' FROM {table} t WHERE {rows} AND {key}"),
        format!(
            "UPDATE pg_temp.recount_rows r SET state = CASE
                 WHEN r.miner_uid IS NOT NULL AND NOT EXISTS (SELECT FROM node_table n WHERE n.uid = r.miner_uid)
                 THEN 'unregistered' ELSE 'busy' END
             WHERE {rows} AND NOT ({miner} AND {run})"
        ),
    ]
}

/// Inserts the missing rows, and writes down what became of them.
pub fn insert(plan: &TablePlan, job: &str) -> String {
    let TablePlan { table, .. } = plan;
    let rows = format!("r.target = '{table}' AND r.change = 'insert' AND r.state IS NULL AND {RANGE}");
    let inserting = if plan.restores() {
        let list =
            |prefix: &str| plan.columns.iter().map(|column| format!("{prefix}{}", name(column))).collect::<Vec<_>>().join(", ");
        format!(
            "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {}
             FROM pg_temp.recount_rows r CROSS JOIN LATERAL json_populate_record(NULL::{table}, r.image::json) i WHERE {rows} ORDER BY r.n",
            list(""),
            list("i.")
        )
    } else {
        let mut columns: Vec<String> = plan.insert.iter().map(|column| name(&column.name)).collect();
        let mut values: Vec<String> =
            plan.insert.iter().map(|column| format!("c.{}::{}", name(&column.name), column.kind)).collect();
        for (column, value) in inserted_times(plan) {
            columns.push(column.to_owned());
            values.push(value);
        }
        if let Some(hotkey) = &plan.hotkey {
            columns.push("validator_hotkey".to_owned());
            values.push(hotkey.clone());
        }
        let (columns, values) = (columns.join(", "), values.join(", "));
        let cells = plan.insert_table();
        format!(
            "INSERT INTO {table} ({columns}) SELECT {values}
             FROM {cells} c JOIN pg_temp.recount_rows r USING (n) {EVIDENCE} WHERE {rows} ORDER BY r.n"
        )
    };
    let key = same_key(table, "d", "r");
    format!(
        "WITH done AS ({inserting} RETURNING *)
         INSERT INTO rollup_corrections (job_id, table_name, miner_uid, forecast_run_id, scope, run_id, after)
         SELECT '{job}', r.target, r.miner_uid, r.forecast_run_id, r.scope, r.run_id, row_to_json(d.*)::text
         FROM done d JOIN pg_temp.recount_rows r ON r.target = '{table}' AND r.change = 'insert' AND {key}"
    )
}

/// The evidence of the row `r`, as `w`.
const EVIDENCE: &str = "LEFT JOIN pg_temp.recount_now w ON w.run = r.ev_run AND w.miner = r.ev_miner";

/// D7: a new row is as old as its evidence: its columns of time, each with its value.
fn inserted_times(plan: &TablePlan) -> Vec<(&'static str, String)> {
    const NEWEST: &str = "coalesce(greatest(w.newest_score, w.newest_step, w.newest_response), now())";
    let value = |(column, kind): (&'static str, Option<&str>)| {
        let time = match column {
            "created_at" => format!("coalesce(w.first_response, w.first_step, {NEWEST})"),
            _ => NEWEST.to_owned(),
        };
        kind.map(|kind| (column, format!("{time}::{kind}")))
    };
    plan.inserted_times().into_iter().filter_map(value).collect()
}

/// One row for a cell of an inserted row that does not hold what it was given. `state` is that of the rows to look at, if any.
pub fn verify_inserts(plan: &TablePlan, state: &str) -> String {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    let rows = format!("r.target = '{table}' AND r.change = 'insert' AND coalesce(r.state, '') = '{state}'");
    let row = row_text("r");
    if plan.restores() {
        return format!(
            "SELECT {} FROM pg_temp.recount_rows r LEFT JOIN {table} t ON {key}
             WHERE {rows} AND row_to_json(t.*)::text IS DISTINCT FROM r.image HAVING count(*) > 0",
            first(&format!("{row} || ' is not as it was'"))
        );
    }
    let differ = |column: &Cell| {
        let (stored, given) = (format!("t.{}", name(&column.name)), format!("c.{}::{}", name(&column.name), column.kind));
        format!("({}, NOT ({}))", quoted(&column.name), same(column, &stored, &given))
    };
    let times =
        inserted_times(plan).into_iter().map(|(column, value)| format!("('{column}', t.{column} IS DISTINCT FROM {value})"));
    let cells = plan.insert.iter().map(differ).chain(times).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT {} FROM pg_temp.recount_rows r JOIN {} c USING (n) {EVIDENCE} LEFT JOIN {table} t ON {key}
         CROSS JOIN LATERAL (VALUES {cells}) v (name, differs) WHERE {rows} AND (v.differs OR t.ctid IS NULL)
         HAVING count(*) > 0",
        first(&format!("'column ' || v.name || ' of ' || {row}")),
        plan.insert_table()
    )
}

/// Locks what is to be updated, as far as nobody else holds it, and finds the cells that still hold what the diff says.
pub fn lock(plan: &TablePlan) -> String {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    let flags = plan.cells.iter().map(|cell| {
        let (set, as_read) = (name(&format!("{}_set", cell.name)), as_in_diff(cell));
        let rank = if cell.rank { " AND NOT r.ranks_stale" } else { "" };
        // A session that deletes the run which a cell is to name must not be waited for.
        let parent = if cell.name == "run_id" {
            " AND (c.run_id_new IS NULL OR EXISTS (SELECT FROM pg_temp.recount_parents p WHERE p.run = c.run_id_new::int4))"
        } else {
            ""
        };
        format!("(coalesce(c.{set}, false) AND {as_read}{rank}{parent}) AS {}", name(&cell.name))
    });
    format!(
        "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT r.n, {}
         FROM pg_temp.recount_rows r JOIN {} c USING (n) JOIN {table} t ON {key}
         WHERE r.target = '{table}' AND r.change = 'update' AND r.state IS NULL AND t.xmin = r.version
         ORDER BY r.n FOR NO KEY UPDATE OF t SKIP LOCKED",
        plan.ok_table(),
        flags.collect::<Vec<_>>().join(", "),
        plan.cells_table()
    )
}

/// Says of each row what became of it, and of each cell that stays why.
pub fn states(plan: &TablePlan) -> [String; 3] {
    let TablePlan { table, .. } = plan;
    let (ok, cells, any, key) = (plan.ok_table(), plan.cells_table(), any(plan), same_key(table, "t", "r"));
    let left = plan.cells.iter().filter(|cell| !plan.is_stamp(cell)).map(|cell| {
        let (text, set, flag) = (quoted(&cell.name), name(&format!("{}_set", cell.name)), name(&cell.name));
        format!("({text}, coalesce(c.{set}, false) AND NOT o.{flag}, {})", if cell.rank { "r.ranks_stale" } else { "false" })
    });
    let left = left.collect::<Vec<_>>().join(", ");
    [
        format!(
            "UPDATE pg_temp.recount_rows r SET state = CASE WHEN EXISTS (SELECT FROM {table} t WHERE {key} AND t.xmin = r.version)
                 THEN 'busy' ELSE 'changed' END
             WHERE r.target = '{table}' AND r.change = 'update' AND r.state IS NULL
               AND NOT EXISTS (SELECT FROM {ok} o WHERE o.n = r.n)"
        ),
        format!(
            "UPDATE pg_temp.recount_rows r SET state = CASE WHEN {any} THEN 'done' ELSE 'changed' END FROM {ok} o WHERE o.n = r.n"
        ),
        format!(
            "INSERT INTO pg_temp.recount_left SELECT r.n, r.target, v.name, CASE WHEN v.stale THEN 'evidence' ELSE 'changed' END
             FROM {ok} o JOIN {cells} c USING (n) JOIN pg_temp.recount_rows r USING (n)
             CROSS JOIN LATERAL (VALUES {left}) v (name, stays, stale) WHERE r.state = 'done' AND v.stays"
        ),
    ]
}

/// D7: what `updated_at` of each row that changes was, and what it becomes. It moves only in rows that have the greatest of their
/// miner and hotkey, NULL lowest; where the hotkey itself changes, of both hotkeys. New rows are there by now, so that one of them
/// that is the newest by its evidence stays the newest.
pub fn times(plan: &TablePlan) -> Option<String> {
    let TablePlan { table, .. } = plan;
    let kind = plan.stamp_kind.as_deref()?;
    let (key, ok, cells) = (same_key(table, "t", "r"), plan.ok_table(), plan.cells_table());
    let ordered = plan.has("miner_uid") && plan.has("miner_hotkey");
    let moved = |mode: UpdatedAt| match mode {
        UpdatedAt::Keep => "t.updated_at".to_owned(),
        UpdatedAt::Ordered if ordered => {
            format!(
                "CASE WHEN t.updated_at IS NOT DISTINCT FROM g.newest{} THEN now()::{kind} ELSE t.updated_at END",
                renamed(plan)
            )
        }
        UpdatedAt::Now | UpdatedAt::Ordered => format!("now()::{kind}"),
    };
    let becomes = match plan.stamp {
        Stamp::None => return None,
        Stamp::Set(_) if plan.undo => "t.updated_at".to_owned(),
        Stamp::Set(mode) => moved(mode),
        Stamp::Restore(mode) => format!(
            "CASE WHEN o.updated_at THEN c.updated_at_new::{kind} WHEN c.updated_at_set THEN {} ELSE t.updated_at END",
            moved(mode)
        ),
    };
    let greatest = format!(
        "LEFT JOIN (SELECT s.miner_uid, s.miner_hotkey::text AS hotkey, max(s.updated_at) AS newest FROM {table} s
                    WHERE s.miner_uid = ANY (ARRAY(SELECT DISTINCT d.miner_uid FROM pg_temp.recount_rows d
                                                   WHERE d.target = '{table}' AND d.change = 'update' AND d.state = 'done'))
                    GROUP BY 1, 2) g ON g.miner_uid = t.miner_uid AND g.hotkey = t.miner_hotkey::text"
    );
    let greatest = if becomes.contains("g.newest") { greatest } else { String::new() };
    Some(format!(
        "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT o.n, t.updated_at AS was, {becomes} AS becomes
         FROM {ok} o JOIN {cells} c USING (n) JOIN pg_temp.recount_rows r USING (n) JOIN {table} t ON {key} {greatest}
         WHERE r.state = 'done'",
        plan.times_table()
    ))
}

/// A row that gets another hotkey must not overtake the rows that have it already.
fn renamed(plan: &TablePlan) -> String {
    let TablePlan { table, .. } = plan;
    if !plan.cells.iter().any(|cell| cell.name == "miner_hotkey") {
        return String::new();
    }
    format!(
        " AND NOT (o.miner_hotkey AND EXISTS (SELECT FROM {table} s WHERE s.miner_uid = t.miner_uid
               AND s.miner_hotkey::text = c.miner_hotkey_new
               AND (s.updated_at > t.updated_at OR s.updated_at IS NOT NULL AND t.updated_at IS NULL)))"
    )
}

/// The join of the times of `updated_at`, as `m`, where the table has that column.
fn join_times(plan: &TablePlan) -> String {
    if plan.stamp == Stamp::None { String::new() } else { format!(" JOIN {} m USING (n)", plan.times_table()) }
}

/// Writes down each cell before and after, while it is as before.
pub fn audit(plan: &TablePlan, job: &str) -> String {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    let mut cells: Vec<String> =
        plan.cells.iter().filter(|cell| !plan.is_stamp(cell)).map(|cell| audited(cell, &flag(cell))).collect();
    if plan.stamp != Stamp::None {
        cells.push("('updated_at', m.becomes IS DISTINCT FROM m.was, m.was::text, m.becomes::text)".to_owned());
    }
    format!(
        "INSERT INTO rollup_corrections (job_id, table_name, miner_uid, forecast_run_id, scope, run_id, column_name, before, after)
         SELECT '{job}', r.target, r.miner_uid, r.forecast_run_id, r.scope, r.run_id, v.name, v.before, v.after
         FROM {} o JOIN {} c USING (n) JOIN pg_temp.recount_rows r USING (n){} JOIN {table} t ON {key}
         CROSS JOIN LATERAL (VALUES {}) v (name, ok, before, after) WHERE r.state = 'done' AND v.ok ORDER BY r.n",
        plan.ok_table(),
        plan.cells_table(),
        join_times(plan),
        cells.join(", ")
    )
}

fn audited(cell: &Cell, flag: &str) -> String {
    format!("({}, {flag}, t.{}::text, {}::text)", quoted(&cell.name), name(&cell.name), new(cell))
}

/// Changes the cells, and `updated_at`.
pub fn update(plan: &TablePlan) -> String {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    let mut sets: Vec<String> = plan
        .cells
        .iter()
        .filter(|cell| !plan.is_stamp(cell))
        .map(|cell| {
            let column = name(&cell.name);
            format!("{column} = CASE WHEN {} THEN {} ELSE t.{column} END", flag(cell), new(cell))
        })
        .collect();
    sets.extend((plan.stamp != Stamp::None).then(|| "updated_at = m.becomes".to_owned()));
    format!(
        "UPDATE {table} t SET {} FROM {} o JOIN {} c USING (n) JOIN pg_temp.recount_rows r USING (n){}
         WHERE {key} AND r.state = 'done' AND {RANGE}",
        sets.join(", "),
        plan.ok_table(),
        plan.cells_table(),
        join_times(plan)
    )
}

/// One row for a changed cell that does not hold what it was given, bit for bit, or whose `updated_at` is another than D7 has it.
pub fn verify_update(plan: &TablePlan) -> String {
    let TablePlan { table, .. } = plan;
    let key = same_key(table, "t", "r");
    let differ = |cell: &Cell| {
        let stored = format!("t.{}", name(&cell.name));
        format!("({}, {} AND NOT ({}))", quoted(&cell.name), flag(cell), same(cell, &stored, &new(cell)))
    };
    let stamp = (plan.stamp != Stamp::None).then(|| "('updated_at', t.updated_at IS DISTINCT FROM m.becomes)".to_owned());
    let cells = plan.cells.iter().filter(|cell| !plan.is_stamp(cell)).map(differ).chain(stamp).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT {} FROM {} o JOIN {} c USING (n) JOIN pg_temp.recount_rows r USING (n){}
         LEFT JOIN {table} t ON {key} CROSS JOIN LATERAL (VALUES {cells}) v (name, differs)
         WHERE r.state = 'done' AND (v.differs OR t.ctid IS NULL) HAVING count(*) > 0",
        first(&format!("'column ' || v.name || ' of ' || {}", row_text("r"))),
        plan.ok_table(),
        plan.cells_table(),
        join_times(plan)
    )
}

/// One row where fewer changes of the table are written down than were made: what is not written down cannot be undone.
pub fn verify_audit(plan: &TablePlan, job: &str) -> String {
    let TablePlan { table, .. } = plan;
    let stamp = (plan.stamp != Stamp::None).then(|| "(m.becomes IS DISTINCT FROM m.was)::int".to_owned());
    let cells = plan.cells.iter().filter(|cell| !plan.is_stamp(cell)).map(|cell| format!("{}::int", flag(cell)));
    let cells = cells.chain(stamp).collect::<Vec<_>>().join(" + ");
    let changed = format!(
        "(SELECT coalesce(sum({cells}), 0) FROM {} o JOIN pg_temp.recount_rows r USING (n){} WHERE r.state = 'done')",
        plan.ok_table(),
        join_times(plan)
    );
    let changed = if plan.updates { changed } else { "0".to_owned() };
    format!(
        "SELECT 'rollup_corrections, with ' || a.written || ' of ' || a.made || ' changes of {table},' FROM (
             SELECT (SELECT count(*) FROM rollup_corrections k WHERE k.job_id = '{job}' AND k.table_name = '{table}') AS written,
                    {changed} + (SELECT count(*) FROM pg_temp.recount_rows r WHERE r.target = '{table}' AND r.change <> 'update'
                                 AND r.state = 'done') AS made) a
         WHERE a.written <> a.made"
    )
}

/// One row where the job itself is not written down.
pub fn verify_job(job: &str) -> String {
    format!("SELECT 'rollup_jobs, without a row of this job,' WHERE NOT EXISTS (SELECT FROM rollup_jobs j WHERE j.id = '{job}')")
}

/// Locks the rows to delete that are as they were, writes them down, deletes them, and says so.
pub fn delete(plan: &TablePlan, job: &str, snapshot: Option<&str>) -> [String; 5] {
    let TablePlan { table, .. } = plan;
    let (key, gone) = (same_key(table, "t", "r"), plan.gone_table());
    let untouched = match snapshot {
        // An extra row that was written since the snapshot may have evidence by now.
        Some(at) if plan.stamp != Stamp::None => format!("(t.updated_at IS NULL OR t.updated_at <= {at})"),
        Some(_) => "true".to_owned(),
        None => "row_to_json(t.*)::text IS NOT DISTINCT FROM r.image".to_owned(),
    };
    let rows = format!("r.target = '{table}' AND r.change = 'delete' AND r.state IS NULL");
    [
        format!(
            "CREATE TEMP TABLE {gone} ON COMMIT DROP AS SELECT r.n, row_to_json(t.*)::text AS image
             FROM pg_temp.recount_rows r JOIN {table} t ON {key} WHERE {rows} AND t.xmin = r.version AND {untouched}
             ORDER BY r.n FOR UPDATE OF t SKIP LOCKED"
        ),
        format!(
            "INSERT INTO rollup_corrections (job_id, table_name, miner_uid, forecast_run_id, scope, run_id, before)
             SELECT '{job}', r.target, r.miner_uid, r.forecast_run_id, r.scope, r.run_id, g.image
             FROM {gone} g JOIN pg_temp.recount_rows r USING (n) ORDER BY r.n"
        ),
        format!(
            "UPDATE pg_temp.recount_rows r SET state = CASE WHEN g.n IS NULL THEN 'changed' ELSE 'done' END
             FROM pg_temp.recount_rows s LEFT JOIN {gone} g USING (n) WHERE s.n = r.n AND {rows}"
        ),
        format!(
            "DELETE FROM {table} t USING pg_temp.recount_rows r WHERE {key} AND r.target = '{table}' AND r.change = 'delete'
                 AND r.state = 'done' AND {RANGE}"
        ),
        format!(
            "SELECT {} FROM pg_temp.recount_rows r JOIN {table} t ON {key}
             WHERE r.target = '{table}' AND r.change = 'delete' AND r.state = 'done' HAVING count(*) > 0",
            first(&format!("{} || ' is still there'", row_text("r")))
        ),
    ]
}

fn flag(cell: &Cell) -> String {
    format!("o.{}", name(&cell.name))
}

/// The new value in the type of its column.
fn new(cell: &Cell) -> String {
    format!("c.{}::{}", name(&format!("{}_new", cell.name)), cell.kind)
}

/// Whether any cell of the row changes; restoring `updated_at` alone is no change.
fn any(plan: &TablePlan) -> String {
    let flags: Vec<String> = plan.cells.iter().filter(|cell| !plan.is_stamp(cell)).map(flag).collect();
    if flags.is_empty() { "false".to_owned() } else { flags.join(" OR ") }
}

/// Whether the stored cell holds what the diff says.
fn as_in_diff(cell: &Cell) -> String {
    let (stored, old) = (format!("t.{}", name(&cell.name)), format!("c.{}", name(&format!("{}_old", cell.name))));
    match cell.guard {
        Guard::Bits => format!("float8send({stored}) IS NOT DISTINCT FROM float8send({old})"),
        Guard::Plain => format!("{stored} IS NOT DISTINCT FROM {old}"),
        Guard::Text => format!("{stored}::text COLLATE \"C\" IS NOT DISTINCT FROM {old} COLLATE \"C\""),
        Guard::Hash => format!("{} IS NOT DISTINCT FROM {old}", hash(&stored)),
    }
}

/// What stands for an error text or JSON, of which the diff knows only the sanitized form.
pub fn hash(stored: &str) -> String {
    format!("encode(sha256(convert_to({stored}::text, 'UTF8')), 'hex')")
}

/// Whether two values of a column are the same to the bit.
fn same(cell: &Cell, a: &str, b: &str) -> String {
    if cell.is_float() {
        format!("float8send({a}) IS NOT DISTINCT FROM float8send({b})")
    } else {
        format!("{a}::text COLLATE \"C\" IS NOT DISTINCT FROM ({b})::text COLLATE \"C\"")
    }
}

/// The words of the first row. Not by LIMIT: looking for one row, the planner takes a way that is cheap where there is one, and here
/// there is none. It met every row with a look through all others, and took four times as long for twice the rows.
fn first(words: &str) -> String {
    format!("(array_agg({words} ORDER BY r.n))[1]")
}

/// The row's key in the words of a message.
fn row_text(r: &str) -> String {
    format!(
        "concat_ws(', ', 'miner_uid ' || {r}.miner_uid, 'forecast_run_id ' || {r}.forecast_run_id, 'scope ' || {r}.scope,
                   'run_id ' || {r}.run_id)"
    )
}

/// The key of row `n` in the words of a message.
pub fn row_of(n: i32) -> String {
    format!("SELECT {} FROM pg_temp.recount_rows r WHERE r.n = {n}", row_text("r"))
}
