//! Puts the stored rollups right, in one transaction that any guard can stop.
//!
//! What happens is a [`script`]: a list of steps, each a statement of its own, made without touching anything (`catalogue` → [`plan`]
//! → [`script`]). [`transaction`] runs it, [`file`] writes it down for psql. Its order is what makes it safe:
//!
//! 1. Load what is to change, and note the version (`xmin`) of each stored row. No lock yet.
//! 2. Compare the evidence with its fingerprints. It may take seconds, and nobody waits for us. Rows whose evidence changed are skipped.
//! 3. Insert missing rows under a table lock that is taken while we hold nothing anyone could wait for.
//! 4. Lock the other rows, skipping what is locked; a row with another version than in 1 is skipped. A cell is changed only where it
//!    holds what the diff says.
//! 5. Note before and after, update, read back bit for bit.
//!
//! After step 3 nothing in here ever waits for a lock, so no writer can meet us in a deadlock.

mod already;
mod breaker;
mod catalogue;
mod commit;
mod file;
mod jobs;
mod load;
mod pause;
mod plan;
mod raw;
mod report;
mod rows;
mod script;
mod session;
mod sql;
mod transaction;
mod undo;

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::correction::{Change, Correction, Corrections};
use crate::model::difference::{Class, RowKey};
use crate::model::job::Watch;
use crate::model::writing::{Applied, Correcting, Undoing};

pub use file::exists as sql_file_exists;
pub use file::script_of;
pub use jobs::{jobs, prunable, prune, show};

use session::{Session, run};

/// Applies corrections. Nothing is written unless all is.
///
/// Blocks, and has a runtime of its own: call it from plain threads.
pub fn apply(url: &str, corrections: &Corrections, options: &Correcting, watch: &dyn Watch) -> Result<Applied> {
    let extra = extra(corrections, options);
    let corrections = corrections.clone().select(options.selection);
    run(async {
        let mut session = Session::open(url, options.command, watch).await?;
        session.begin_reading().await?;
        let work = plan::corrections(&mut session, &corrections, options).await?;
        session.close().await;
        let applied = transaction::run(url, &work, options.command, watch).await?;
        Ok(Applied { extra, cleared: cleared(&corrections, &applied), ..applied })
    })
}

/// Writes corrections to `path` as SQL that does the same when psql runs it. Reads the database, and changes nothing in it.
pub fn write_sql(url: &str, corrections: &Corrections, options: &Correcting, path: &Path, watch: &dyn Watch) -> Result<Applied> {
    let extra = extra(corrections, options);
    let corrections = corrections.clone().select(options.selection);
    run(async {
        let mut session = Session::open(url, options.command, watch).await?;
        session.begin_reading().await?;
        let work = plan::corrections(&mut session, &corrections, options).await?;
        if let Some(done_by) = already::done_by(&mut session, &work).await? {
            session.close().await;
            return Ok(Applied { done_by: Some(done_by), ..Applied::default() });
        }
        let planned = file::write(&mut session, &work, path).await?;
        session.close().await;
        Ok(Applied { extra, cleared: cleared(&corrections, &planned), ..planned })
    })
}

/// Unproven cells (D6) that were not left.
fn cleared(corrections: &Corrections, applied: &Applied) -> u64 {
    if applied.done_by.is_some() {
        return 0;
    }
    let left: BTreeSet<(&str, &RowKey, Option<&str>)> =
        applied.left.iter().map(|left| (left.table.as_str(), &left.key, left.column.as_deref())).collect();
    let is_left = |row: &Correction, column: &str| {
        [None, Some(column)].into_iter().any(|column| left.contains(&(row.table, &row.key, column)))
    };
    let unproven = |row: &Correction| {
        row.cells().iter().filter(|cell| cell.class == Class::Unproven && !is_left(row, &cell.column)).count() as u64
    };
    corrections.rows.iter().map(unproven).sum()
}

/// Rows without evidence that nobody asked to delete.
fn extra(corrections: &Corrections, options: &Correcting) -> u64 {
    let deletes = corrections.rows.iter().filter(|row| row.change == Change::Delete).count() as u64;
    if options.selection.prune_extra { 0 } else { deletes }
}

/// Puts back what a job changed: each cell and row that still is as the job left it.
pub fn undo(url: &str, job: &str, options: &Undoing, watch: &dyn Watch) -> Result<Applied> {
    let id = parse_id(job)?;
    run(async {
        let mut session = Session::open(url, "undo", watch).await?;
        session.begin_reading().await?;
        let work = undo::plan(&mut session, &id, options).await?;
        session.close().await;
        transaction::run(url, &work, "undo", watch).await
    })
}

/// An id of a job, as the server writes it. Nothing else may get into a statement.
fn parse_id(text: &str) -> Result<String> {
    let text = text.trim().to_ascii_lowercase();
    let dashes = [8, 13, 18, 23];
    let right = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    if right {
        return Ok(text);
    }
    Err(Error::new(ErrorKind::Usage, "reading the id of a job", "expected an id such as 01234567-89ab-cdef-0123-456789abcdef")
        .hint("`recount jobs` lists them"))
}

#[cfg(test)]
mod tests {
    use super::parse_id;

    #[test]
    fn an_id_is_an_id_and_nothing_else() {
        assert_eq!(parse_id(" 01234567-89AB-cdef-0123-456789abcdef").unwrap(), "01234567-89ab-cdef-0123-456789abcdef");
        for bad in ["", "7", "01234567-89ab-cdef-0123-456789abcde'", "0123456789abcdef0123456789abcdef0123"] {
            assert!(parse_id(bad).is_err(), "{bad}");
        }
    }
}
