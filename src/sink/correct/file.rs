//! The steps of a job as SQL for psql: to be read first, and then to do the same.
//!
//! Every text in it is a literal or stands in a comment of one line without control characters: what a diff folder says, anyone
//! could have written.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::correction::{Change, Corrections, Origin, type_of};
use crate::model::difference::RowKey;
use crate::model::time::Micros;
use crate::model::visible;
use crate::model::writing::{Applied, TableCounts};
use crate::postgres::try_pause_lock;

use super::load::{Staged, StagedType, literal};
use super::plan::{Record, Work};
use super::rows::{Inserted, Lines, Row, fingerprints, rows_of, staged_rows};
use super::script::{BEGIN, Step, settings, steps};
use super::session::Session;
use super::transaction::LOCK_KEY;

/// Rows of one INSERT.
const ROWS_PER_STATEMENT: usize = 500;

/// The settings of psql itself that change what a file means: its encoding before the first text, whole statements instead of
/// lines, an end at the first error.
const PSQL: &str = "\\encoding UTF8
\\set ON_ERROR_STOP on
\\set ON_ERROR_ROLLBACK off
\\set SINGLELINE off
\\set SINGLESTEP off
\\set AUTOCOMMIT on
";

/// Writes the file, which must not be there yet; gives what it plans.
pub async fn write(session: &mut Session<'_>, work: &Work, path: &Path) -> Result<Applied> {
    session.check()?;
    let text = if work.is_empty() { "-- There is nothing to correct.\n".to_owned() } else { script(work) };
    let doing = || format!("writing {}", path.display());
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Error::new(ErrorKind::Io, doing(), &e).caused_by(e),
    })?;
    Ok(planned(work))
}

/// The error for a file that is there already.
pub fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Usage, format!("writing {}", path.display()), "the file exists")
        .hint("corrections are never written over a file: name another one, or remove it first")
}

fn rows(work: &Work) -> &[Row] {
    match work.staged.first().map(|staged| &staged.lines) {
        Some(Lines::Rows(rows)) => rows,
        _ => &[],
    }
}

fn planned(work: &Work) -> Applied {
    // What is written down is not yet corrected.
    let incomplete = !work.notes.is_empty() || !work.is_empty();
    let mut applied = Applied { notes: work.notes.clone(), incomplete, ..Applied::default() };
    for row in rows(work) {
        let counts: &mut TableCounts = applied.tables.entry(row.table.to_owned()).or_default();
        match row.change {
            "update" => counts.updated += 1,
            "insert" => counts.inserted += 1,
            _ => counts.deleted += 1,
        }
    }
    for plan in &work.tables {
        let cells = work.staged.iter().filter(|staged| staged.table == plan.cells_table());
        let cells = cells.filter_map(|staged| if let Lines::Cells(lines) = &staged.lines { Some(lines) } else { None });
        let set = cells.flatten().flat_map(|line| &line.cells).flatten().count();
        applied.tables.entry(plan.table.to_owned()).or_default().cells = set as u64;
    }
    applied
}

/// The whole file.
fn script(work: &Work) -> String {
    let mut out = PSQL.to_owned() + &header(work);
    let _ = writeln!(out, "{BEGIN};");
    settings(work).iter().for_each(|setting| statement(&mut out, setting));
    refuse_unless(&mut out, &try_pause_lock(work.pause_validator), "the validator is paused: its pause lock is held");
    refuse_unless(&mut out, &format!("SELECT pg_try_advisory_xact_lock({LOCK_KEY})"), "another recount job is at work");
    let once = format!("SELECT NOT EXISTS (SELECT FROM rollup_jobs WHERE id = '{}')", work.record.id);
    refuse_unless(&mut out, &once, "this file was run already");
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

/// What of the file comes from the corrections, made without a server: for who holds it against hostile ones.
pub fn script_of(corrections: &Corrections) -> String {
    let Origin { source, taken_at, digest, settings, diff } = corrections.origin.clone();
    let (command, taken_at, digest) = ("apply".to_owned(), Some(taken_at), Some(digest));
    let record = Record { id: String::new(), command, source, taken_at, digest, settings, undoes: None, diff };
    let mut staged = vec![staged_rows(rows_of(&corrections.rows)), fingerprints(corrections)];
    for (n, row) in (1..).zip(&corrections.rows) {
        let cells = match &row.change {
            Change::Update(cells) => cells.iter().map(|cell| (&cell.column, &cell.recomputed)).collect(),
            Change::Insert(cells) => cells.iter().map(|(column, value)| (column, value)).collect(),
            Change::Delete => Vec::new(),
        };
        let columns = cells.iter().map(|(column, _)| ((*column).clone(), StagedType::of(type_of(row.table, column))));
        let columns = std::iter::once(("n".to_owned(), StagedType::Int4)).chain(columns).collect();
        let values = cells.iter().map(|(_, value)| (*value).clone()).collect();
        staged.push(Staged { table: row.table.to_owned(), columns, lines: Lines::Inserts(vec![Inserted { n, values }]) });
    }
    script(&Work { record, staged, ..Work::default() })
}

/// Ends the transaction with a message where the query does not give true.
fn refuse_unless(out: &mut String, query: &str, message: &str) {
    statement(out, &format!("DO $$ BEGIN IF NOT ({query}) THEN RAISE '{message}'; END IF; END $$"));
}

fn header(work: &Work) -> String {
    let taken_at = work.record.taken_at.map(|at| Micros(at).iso()).unwrap_or_default();
    let mut out = format!(
        "-- Corrections of stored rollups, written by recount {}: run this with psql, once.\n-- source:   {}\n-- snapshot: {}\n-- digest:   {}\n-- job:      {}\n",
        env!("CARGO_PKG_VERSION"),
        visible::line(&work.record.source),
        visible::line(&taken_at),
        visible::line(work.record.digest.as_deref().unwrap_or_default()),
        work.record.id
    );
    for (table, counts) in planned(work).tables {
        let TableCounts { updated, inserted, deleted, cells, .. } = counts;
        let _ = writeln!(out, "-- {table}: {cells} cells in {updated} rows, {inserted} rows inserted, {deleted} deleted");
    }
    out + "-- A cell changes only where it still holds its old value, a row only where its evidence is as it was; all or nothing.\n\n"
}

/// The key of each row in words, by its number.
fn keys(work: &Work) -> HashMap<i32, String> {
    let words = |key: &RowKey| {
        let number = |x: Option<i32>| x.map(|x| x.to_string());
        let parts = [number(key.miner_uid), key.forecast_run_id.clone(), key.scope.clone(), number(key.run_id)];
        visible::line(&parts.into_iter().flatten().collect::<Vec<_>>().join(" ")).into_owned()
    };
    rows(work).iter().map(|row| (row.n, words(&row.key))).collect()
}

fn statement(out: &mut String, sql: &str) {
    let lines: Vec<&str> = sql.trim().lines().map(str::trim).collect();
    let _ = writeln!(out, "{};", lines.join("\n    "));
}

fn load(out: &mut String, staged: &Staged, extra: &str, keys: &HashMap<i32, String>) {
    statement(out, &staged.create(extra));
    let lines = staged.lines.len();
    for at in 0..lines {
        if at % ROWS_PER_STATEMENT == 0 {
            let _ = writeln!(out, "INSERT INTO {} ({}) VALUES", staged.table, staged.names());
        }
        let values = staged.lines.values(at).iter().map(literal).collect::<Vec<_>>().join(", ");
        let end = if at + 1 == lines || (at + 1) % ROWS_PER_STATEMENT == 0 { ";" } else { "," };
        let key = staged.lines.number(at).and_then(|n| keys.get(&n)).map(|key| format!(" -- {key}"));
        let _ = writeln!(out, "({values}){end}{}", key.unwrap_or_default());
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
