//! The steps of a job, in the order that makes it safe. Pure: the same steps run here and stand in SQL for psql.

use super::load::{Staged, literal, quoted};
use super::plan::{Record, TablePlan, Work};
use super::sql;
use crate::model::correction::EvidenceOf;
use crate::model::time::Micros;
use crate::model::value::Value;

/// A run is under way where one of its unfinished steps is younger than this; older ones are left-overs, as in the finding
/// `stale_in_progress`.
const IN_FLIGHT_HOURS: u32 = 24;

/// One statement, and what it is for.
#[derive(Debug)]
pub enum Step<'w> {
    Run {
        doing: String,
        sql: String,
    },
    /// Creates a temporary table and fills it.
    Load {
        staged: &'w Staged,
        extra: &'static str,
    },
    /// Writes rows of the table; [`sql::RANGE`] narrows it down to the one that the server rejects.
    Write {
        table: &'static str,
        change: &'static str,
        sql: String,
    },
    /// Finds something wrong, in words, and then everything is rolled back.
    Check {
        doing: String,
        sql: String,
    },
}

/// The settings of the transaction: texts that come back to the bit, no long waits, a commit that lasts, and names that mean what
/// they meant when the job was planned, whatever the server, the database or the role has set.
pub fn settings(work: &Work) -> Vec<String> {
    let fixed = [
        "SET LOCAL TimeZone = 'UTC'",
        "SET LOCAL DateStyle = 'ISO, YMD'",
        "SET LOCAL IntervalStyle = 'postgres'",
        "SET LOCAL extra_float_digits = 1",
        "SET LOCAL bytea_output = 'hex'",
        "SET LOCAL row_security = off",
        "SET LOCAL synchronous_commit = on",
        "SET LOCAL jit = off",
        "SET LOCAL standard_conforming_strings = on",
        "SET LOCAL quote_all_identifiers = off",
        "SET LOCAL transform_null_equals = off",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        // Others look for a deadlock after waiting deadlock_timeout for us. Long before that, we have stopped waiting.
        "SELECT set_config('lock_timeout', greatest(10, least(250, setting::int / 4))::text, true)
         FROM pg_settings WHERE name = 'deadlock_timeout'",
    ];
    let path = format!("SET LOCAL search_path = {}", work.search_path);
    std::iter::once(path).chain(fixed.map(str::to_owned)).collect()
}

/// Where the role or the database is read-only by default, somebody wants it so: that is not overruled.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// All steps between BEGIN and COMMIT, once the job has its lock. Without `inserts`, missing rows stay missing.
pub fn steps(work: &Work, inserts: bool) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    load(work, &mut steps);
    for plan in &work.tables {
        steps.extend(sql::mark(plan).map(|sql| run(format!("looking at {}", plan.table), sql)));
        steps.extend(sql::versions(plan).map(|sql| run(format!("looking at {}", plan.table), sql)));
    }
    if !work.is_undo() {
        let held = sql::hold_runs(&work.runs, IN_FLIGHT_HOURS, work.min_age_seconds);
        steps.extend(held.map(|sql| run("looking for runs that are under way", sql)));
        steps.push(run("counting the evidence", sql::evidence_now(work.runs.contains(&EvidenceOf::ALL))));
        steps.push(analyze("pg_temp.recount_now"));
        steps.extend(sql::compare_evidence().map(|sql| run("comparing the evidence", sql)));
    }
    insert(work, inserts, &mut steps);
    work.tables.iter().filter(|plan| plan.updates).for_each(|plan| update(plan, &work.record.id, &mut steps));
    work.tables.iter().filter(|plan| plan.deletes).for_each(|plan| delete(plan, work, &mut steps));
    steps.push(run("checking deferred constraints", "SET CONSTRAINTS ALL IMMEDIATE".to_owned()));
    for plan in &work.tables {
        let doing = format!("reading back {}", plan.table);
        if plan.inserts {
            steps.push(Step::Check { doing: doing.clone(), sql: sql::verify_inserts(plan, "done") });
        }
        if plan.updates {
            steps.push(Step::Check { doing: doing.clone(), sql: sql::verify_update(plan) });
        }
        steps.extend(sql::compare_mark(plan).map(|sql| run(doing, sql)));
        let doing = "reading back rollup_corrections".to_owned();
        steps.push(Step::Check { doing, sql: sql::verify_audit(plan, &work.record.id) });
    }
    steps.push(run("writing down the job", record(&work.record)));
    steps.push(Step::Check { doing: "reading back rollup_jobs".to_owned(), sql: sql::verify_job(&work.record.id) });
    steps
}

fn run<'w>(doing: impl Into<String>, sql: String) -> Step<'w> {
    Step::Run { doing: doing.into(), sql }
}

fn load<'w>(work: &'w Work, steps: &mut Vec<Step<'w>>) {
    for staged in &work.staged {
        let extra = if staged.table == "pg_temp.recount_rows" { sql::EXTRA_OF_ROWS } else { "" };
        steps.push(Step::Load { staged, extra });
    }
    steps.push(run("creating a temporary table", sql::CREATE_LEFT.to_owned()));
    steps.extend(work.fill.iter().map(|sql| run("reading rollup_corrections", sql.clone())));
    steps.extend(work.staged.iter().map(|staged| analyze(&staged.table)));
}

/// Before any row is locked: see the order in the module above.
fn insert<'w>(work: &Work, inserts: bool, steps: &mut Vec<Step<'w>>) {
    let plans = || work.tables.iter().filter(|plan| plan.inserts);
    if !inserts {
        let sql = "UPDATE pg_temp.recount_rows SET state = 'busy' WHERE change = 'insert' AND state IS NULL";
        steps.push(run("leaving missing rows", sql.to_owned()));
    } else if plans().next().is_some() {
        let tables = plans().map(|plan| plan.table).collect::<Vec<_>>().join(", ");
        steps.push(run(format!("locking {tables}"), format!("LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")));
    }
    steps.push(run("locking miners and runs", sql::lock_parents(&work.tables)));
    steps.push(analyze("pg_temp.recount_parents"));
    for plan in plans().filter(|_| inserts) {
        steps.extend(sql::check_inserts(plan).map(|sql| run(format!("looking at {}", plan.table), sql)));
        let sql = sql::insert(plan, &work.record.id);
        steps.push(Step::Write { table: plan.table, change: "insert", sql });
        steps.push(Step::Check { doing: format!("reading back {}", plan.table), sql: sql::verify_inserts(plan, "") });
        let sql = format!(
            "UPDATE pg_temp.recount_rows SET state = 'done' WHERE target = '{}' AND change = 'insert' AND state IS NULL",
            plan.table
        );
        steps.push(run("counting inserted rows", sql));
        steps.push(analyze("pg_temp.recount_rows"));
    }
}

/// What the planner knows of a temporary table is what the last ANALYZE saw. Without this, it takes thousands of rows for one, and
/// meets each with a look through all others.
fn analyze<'w>(table: &str) -> Step<'w> {
    run("analyzing a temporary table", format!("ANALYZE {table}"))
}

fn update<'w>(plan: &TablePlan, job: &str, steps: &mut Vec<Step<'w>>) {
    steps.push(run(format!("locking rows of {}", plan.table), sql::lock(plan)));
    steps.push(analyze(&plan.ok_table()));
    steps.extend(sql::states(plan).map(|sql| run(format!("looking at {}", plan.table), sql)));
    steps.push(analyze("pg_temp.recount_rows"));
    if let Some(sql) = sql::times(plan) {
        steps.push(run(format!("looking for the newest rows of {}", plan.table), sql));
        steps.push(analyze(&plan.times_table()));
    }
    steps.push(run("writing down what was before", sql::audit(plan, job)));
    steps.push(Step::Write { table: plan.table, change: "update", sql: sql::update(plan) });
}

fn delete<'w>(plan: &TablePlan, work: &Work, steps: &mut Vec<Step<'w>>) {
    let snapshot = (!work.is_undo()).then(|| time(work.record.taken_at));
    let [lock, audit, states, delete, verify] = sql::delete(plan, &work.record.id, snapshot.as_deref());
    steps.push(run(format!("locking rows of {}", plan.table), lock));
    steps.push(analyze(&plan.gone_table()));
    steps.push(run("writing down what was before", audit));
    steps.push(run(format!("looking at {}", plan.table), states));
    steps.push(analyze("pg_temp.recount_rows"));
    steps.push(Step::Write { table: plan.table, change: "delete", sql: delete });
    steps.push(Step::Check { doing: format!("reading back {}", plan.table), sql: verify });
}

/// The job's row, written once, when all is known: who writes it needs no right to change it afterwards.
fn record(record: &Record) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or("NULL".to_owned(), quoted);
    let undoes = text(&record.undoes);
    let Record { id, .. } = record;
    let count = |change: &str| format!("count(*) FILTER (WHERE r.change = '{change}' AND r.state = 'done')");
    format!(
        "INSERT INTO rollup_jobs (id, command, started_at, source, snapshot_at, digest, settings, undoes, finished_at, counts, outcome)
         SELECT '{id}', {}, now(), {}, {}, {}, {}::jsonb, {undoes}::uuid, clock_timestamp(), (
             SELECT coalesce(jsonb_object_agg(s.target, s.counts), '{{}}') FROM (
                 SELECT r.target, jsonb_build_object(
                     'updated', {}, 'inserted', {}, 'deleted', {},
                     'skipped', count(*) FILTER (WHERE r.state IS DISTINCT FROM 'done'),
                     'cells', (SELECT count(*) FROM rollup_corrections k WHERE k.job_id = '{id}' AND k.table_name = r.target
                               AND k.column_name IS NOT NULL AND k.column_name <> 'updated_at'),
                     'skipped_cells', (SELECT count(*) FROM pg_temp.recount_left l WHERE l.target = r.target),
                     'picked_up', count(*) FILTER (WHERE r.later), 'not_picked_up', count(*) FILTER (WHERE NOT r.later)) AS counts
                 FROM pg_temp.recount_rows r GROUP BY r.target) s),
             CASE WHEN EXISTS (SELECT FROM pg_temp.recount_left)
                 OR EXISTS (SELECT FROM pg_temp.recount_rows r WHERE r.state IS DISTINCT FROM 'done') THEN 'partial' ELSE 'complete' END",
        quoted(&record.command),
        quoted(&record.source),
        time(record.taken_at),
        text(&record.digest),
        quoted(&record.settings.to_string()),
        count("update"),
        count("insert"),
        count("delete")
    )
}

fn time(micros: Option<i64>) -> String {
    micros.map_or("NULL".to_owned(), |micros| format!("{}::timestamptz", literal(&Value::Time(Micros(micros)))))
}

impl Step<'_> {
    /// What the step is for, in words.
    pub fn doing(&self) -> String {
        match self {
            Step::Run { doing, .. } | Step::Check { doing, .. } => doing.clone(),
            Step::Load { staged, .. } => format!("loading {}", staged.table),
            Step::Write { table, change, .. } => format!("{change} of rows of {table}"),
        }
    }
}
