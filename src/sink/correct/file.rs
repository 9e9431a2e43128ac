//! The steps of a job as SQL for psql: to be read first, and then to do the same.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use crate::error::{Context, ErrorKind, Result};
use crate::model::time::Micros;
use crate::model::value::Value;
use crate::model::writing::{Applied, TableCounts};

use super::load::{Staged, literal};
use super::plan::Work;
use super::script::{BEGIN, SETTINGS, Step, steps};
use super::session::Session;
use super::transaction::LOCK_KEY;

/// Rows of one INSERT.
const ROWS_PER_STATEMENT: usize = 500;

/// Writes the file; gives what it plans.
pub async fn write(session: &mut Session<'_>, work: &Work, path: &Path) -> Result<Applied> {
    session.check()?;
    let text = if work.is_empty() { "-- There is nothing to correct.\n".to_owned() } else { script(work) };
    std::fs::write(path, text).doing(ErrorKind::Io, || format!("writing {}", path.display()))?;
    Ok(planned(work))
}

fn planned(work: &Work) -> Applied {
    let mut applied = Applied { notes: work.notes.clone(), incomplete: !work.notes.is_empty(), ..Applied::default() };
    let Some(rows) = work.staged.first() else { return applied };
    for row in &rows.rows {
        let (Value::Text(table), Value::Text(change)) = (&row[1], &row[2]) else { continue };
        let counts: &mut TableCounts = applied.tables.entry(table.to_string()).or_default();
        match change.as_ref() {
            "update" => counts.updated += 1,
            "insert" => counts.inserted += 1,
            _ => counts.deleted += 1,
        }
    }
    for plan in &work.tables {
        let cells = work.staged.iter().filter(|staged| staged.table == plan.cells_table());
        let set = cells.flat_map(|staged| &staged.rows).flatten().filter(|value| **value == Value::Bool(true)).count();
        applied.tables.entry(plan.table.to_owned()).or_default().cells = set as u64;
    }
    applied
}

/// The whole file.
fn script(work: &Work) -> String {
    let mut out = header(work);
    let _ = writeln!(out, "\\set ON_ERROR_STOP on\n{BEGIN};");
    SETTINGS.iter().for_each(|setting| statement(&mut out, setting));
    statement(
        &mut out,
        &format!(
            "DO $$ BEGIN IF NOT pg_try_advisory_xact_lock({LOCK_KEY}) THEN RAISE 'another recount job is at work'; END IF; END $$"
        ),
    );
    let keys = keys(work);
    let mut last = String::new();
    for step in steps(work, true) {
        if step.doing() != last {
            last = step.doing();
            let _ = writeln!(out, "\n-- {last}");
        }
        match step {
            Step::Load { staged, extra } => load(&mut out, staged, extra, &keys),
            Step::Run { sql, .. } | Step::Write { sql, .. } => statement(&mut out, &sql),
            Step::Check { sql, .. } => statement(&mut out, &checked(&sql)),
        }
    }
    let _ = writeln!(out, "\nSELECT outcome, jsonb_pretty(counts) FROM rollup_jobs WHERE id = '{}';", work.record.id);
    out + "COMMIT;\n"
}

fn header(work: &Work) -> String {
    let taken_at = work.record.taken_at.map(|at| Micros(at).iso()).unwrap_or_default();
    let mut out = format!(
        "-- Corrections of stored rollups, written by recount {}: run this with psql, once.\n-- source:   {}\n-- snapshot: {taken_at}\n-- digest:   {}\n-- job:      {}\n",
        env!("CARGO_PKG_VERSION"),
        comment(&work.record.source),
        work.record.digest.as_deref().unwrap_or_default(),
        work.record.id
    );
    for (table, counts) in planned(work).tables {
        let TableCounts { updated, inserted, deleted, cells, .. } = counts;
        let _ = writeln!(out, "-- {table}: {cells} cells in {updated} rows, {inserted} rows inserted, {deleted} deleted");
    }
    out + "-- A cell changes only where it still holds its old value, a row only where its evidence is as it was; all or nothing.\n\n"
}

/// The key of each row in words, by its number.
fn keys(work: &Work) -> HashMap<i64, String> {
    let rows = work.staged.first().map(|staged| staged.rows.as_slice()).unwrap_or_default();
    let key = |row: &Vec<Value<'static>>| {
        let Value::Int(n) = row[0] else { return None };
        let parts = row[3..7].iter().filter_map(Value::to_text).collect::<Vec<_>>();
        Some((n, comment(&parts.join(" "))))
    };
    rows.iter().filter_map(key).collect()
}

/// A text in a comment stays on its line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn statement(out: &mut String, sql: &str) {
    let lines: Vec<&str> = sql.trim().lines().map(str::trim).collect();
    let _ = writeln!(out, "{};", lines.join("\n    "));
}

fn load(out: &mut String, staged: &Staged, extra: &str, keys: &HashMap<i64, String>) {
    statement(out, &staged.create(extra));
    for rows in staged.rows.chunks(ROWS_PER_STATEMENT) {
        let _ = writeln!(out, "INSERT INTO {} ({}) VALUES", staged.table, staged.names());
        for (index, row) in rows.iter().enumerate() {
            let values = row.iter().map(literal).collect::<Vec<_>>().join(", ");
            let end = if index + 1 == rows.len() { ";" } else { "," };
            let key = match (&row[0], staged.columns[0].0.as_str()) {
                (Value::Int(n), "n") if staged.table != "recount_rows" => keys.get(n).map(|key| format!(" -- {key}")),
                _ => None,
            };
            let _ = writeln!(out, "({values}){end}{}", key.unwrap_or_default());
        }
    }
}

/// Any row that the statement finds ends the transaction.
fn checked(sql: &str) -> String {
    format!(
        "DO $check$ DECLARE wrong text; BEGIN
         {sql} INTO wrong;
         IF wrong IS NOT NULL THEN RAISE '% does not hold what was written to it', wrong; END IF;
         END $check$"
    )
}
