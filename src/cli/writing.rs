//! The command line of the commands that write, as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::model::filter::{STORED_TABLES, stored_column};
use crate::model::writing::MaxAbsDiff;

use super::args::Reading;
use super::operator_args::Afterwards;
use super::telling::Telling;
use super::values::parse_duration;

pub const APPLY_EXAMPLES: &str = "\
Examples:
  recount diff snapshots/tonight --out tonight
  recount apply tonight --database-url postgres://corrector@db.example/validator
  recount apply tonight --sql tonight.sql                       (the database is DATABASE_URL)

Exit status: 0 all corrected, 1 something was left or only written down, 2 error or bad usage, 3 refused, 130 interrupted.";

pub const UNDO_EXAMPLES: &str = "\
Examples:
  recount undo 01234567-89ab-cdef-0123-456789abcdef
  recount undo 01234567                                         (the beginning of an id, where one job has it)
  recount undo --last
  recount jobs                                                  (lists the ids)

An undo is a job like any other: it can be undone. Exit status as for apply.";

pub const JOBS_EXAMPLES: &str = "\
Examples:
  recount jobs
  recount jobs show 01234567-89ab-cdef-0123-456789abcdef
  recount jobs prune --keep 90d";

#[derive(Debug, Args)]
pub struct Reconcile {
    #[command(flatten)]
    pub reading: Reading,
    /// Correct what drifted and what is missing; without it, nothing can be written
    #[arg(long, help_heading = "Correcting")]
    pub apply: bool,
    #[command(flatten)]
    pub correcting: Limits,
    #[command(flatten)]
    pub keeping: StateArgs,
    #[command(flatten)]
    pub telling: Telling,
    /// Count runs that the database has deleted from this archive, so that lifetime rollups don't shrink
    #[arg(long, value_name = "DEST", help_heading = "Archives")]
    pub history: Option<String>,
    /// Then archive the source there, as `recount archive` does
    #[arg(long, value_name = "DEST", help_heading = "Archives")]
    pub archive: Option<String>,
    #[command(flatten)]
    pub afterwards: Afterwards,
}

impl Reconcile {
    /// Whether any correction is wanted, applied or written down.
    pub fn corrects(&self) -> bool {
        self.apply || self.correcting.sql.is_some()
    }
}

/// What is kept from one job to the next, so that it reads only what has changed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading only what has changed")]
pub struct StateArgs {
    /// Read only runs that are open or have changed since the last job with this state
    #[arg(long, conflicts_with = "full")]
    pub incremental: bool,
    /// Read everything, and renew the state
    #[arg(long)]
    pub full: bool,
    /// Folder for the state
    #[arg(long, value_name = "DIR")]
    pub state: Option<String>,
}

impl StateArgs {
    /// What was typed, by the names of its settings.
    pub fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        let incremental = self.incremental.then(|| ("incremental", "true".to_owned()));
        incremental.into_iter().chain(self.state.clone().map(|state| ("state", state)))
    }
}

/// What a command that writes does beside the validator.
#[derive(Debug, Args)]
#[command(next_help_heading = "Beside the validator")]
pub struct Beside {
    /// What becomes of updated_at, by which the validator orders rows: ordered (only the newest row of a miner moves, and stays the
    /// newest), now (every changed row moves) or keep (none does) [default: ordered]
    #[arg(long, value_name = "ordered|now|keep")]
    pub updated_at: Option<String>,
    /// Hold the validator's pause lock while writing, so that its workers start nothing
    #[arg(long)]
    pub pause_validator: bool,
}

impl Beside {
    /// What was typed, by the names of its settings.
    pub fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.updated_at.clone().map(|value| ("updated-at", value)).into_iter()
    }
}

/// How much may change, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Correcting")]
pub struct Limits {
    /// Write the corrections to FILE, which must not exist yet, as SQL for psql, instead of applying them
    #[arg(long, value_name = "FILE")]
    pub sql: Option<PathBuf>,
    /// Correct cells within tolerance too
    #[arg(long)]
    pub exact: bool,
    /// Delete stored rows that have no evidence left
    #[arg(long)]
    pub prune_extra: bool,
    /// Overwrite cells whose evidence is gone, mostly with NULL: the stored value is the last copy
    #[arg(long)]
    pub clear_unproven: bool,
    /// Correct cells too that the validator stores so by habit (--profile): it will store them so again
    #[arg(long)]
    pub correct_habits: bool,
    /// Leave alone runs initialised less than this ago: 6h, 2d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub min_age: Option<Duration>,
    /// Refuse to change more than N rows
    #[arg(long, value_name = "N")]
    pub max_rows: Option<u64>,
    /// Refuse to change more than this share of a table of more than 100 rows [default: 0.2]
    #[arg(long, value_name = "X", value_parser = parse_fraction)]
    pub max_fraction: Option<f64>,
    /// Refuse to move a value of this column by more than X; may be repeated
    #[arg(long, value_name = "COLUMN=X", value_parser = parse_max_abs_diff)]
    pub max_abs_diff: Vec<MaxAbsDiff>,
    #[command(flatten)]
    pub beside: Beside,
}

impl Limits {
    /// A flag that means nothing to a command that only reads.
    pub fn stray_flag(&self) -> Option<&'static str> {
        let typed = [
            (self.exact, "--exact"),
            (self.prune_extra, "--prune-extra"),
            (self.clear_unproven, "--clear-unproven"),
            (self.correct_habits, "--correct-habits"),
            (self.min_age.is_some(), "--min-age"),
            (self.max_rows.is_some(), "--max-rows"),
            (self.max_fraction.is_some(), "--max-fraction"),
            (!self.max_abs_diff.is_empty(), "--max-abs-diff"),
            (self.beside.updated_at.is_some(), "--updated-at"),
            (self.beside.pause_validator, "--pause-validator"),
        ];
        typed.into_iter().find(|(typed, _)| *typed).map(|(_, flag)| flag)
    }
}

#[derive(Debug, Args)]
pub struct Apply {
    /// Folder that `recount diff --out` wrote
    #[arg(value_name = "DIFF_FOLDER")]
    pub diff: PathBuf,
    #[command(flatten)]
    pub target: WrittenDatabase,
    #[command(flatten)]
    pub correcting: Limits,
    /// validator_hotkey of inserted rows; without it, that of the newest stored row
    #[arg(long, value_name = "HOTKEY")]
    pub validator_hotkey: Option<String>,
}

#[derive(Debug, Args)]
pub struct Undo {
    /// Id of the job, or its beginning
    #[arg(value_name = "JOB", required_unless_present = "last", conflicts_with = "last")]
    pub job: Option<String>,
    /// The newest job that corrected rollups and was not undone
    #[arg(long)]
    pub last: bool,
    #[command(flatten)]
    pub target: WrittenDatabase,
    #[command(flatten)]
    pub beside: Beside,
}

#[derive(Debug, Args)]
pub struct Jobs {
    #[command(subcommand)]
    pub action: Option<JobsAction>,
    #[command(flatten)]
    pub target: WrittenDatabase,
}

#[derive(Debug, Clone, Subcommand)]
pub enum JobsAction {
    /// Show one job, and what it changed by column
    Show {
        /// Id of the job, or its beginning
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Delete old jobs, which then can no longer be undone
    Prune {
        /// Keep jobs that ended less than this ago: 90d
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        keep: Duration,
        /// Delete them without being asked, jobs of the last 24 hours too
        #[arg(long)]
        yes: bool,
    },
}

/// The database of a command that has no SOURCE.
#[derive(Debug, Args)]
pub struct WrittenDatabase {
    /// The database; without it, DATABASE_URL is taken
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

/// A share between 0 and 1.
fn parse_fraction(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share between 0 and 1, such as 0.2".to_owned())
}

/// `COLUMN=X` or `TABLE.COLUMN=X`.
fn parse_max_abs_diff(text: &str) -> Result<MaxAbsDiff, String> {
    let expected = || "expected COLUMN=X or TABLE.COLUMN=X, such as overall_forecast_score=0.5".to_owned();
    let (name, limit) = text.split_once('=').ok_or_else(expected)?;
    let limit = limit.parse::<f64>().ok().filter(|limit| *limit >= 0.0).ok_or_else(expected)?;
    let (table, column) = match name.split_once('.') {
        Some((table, column)) => (Some(table.to_owned()), column),
        None => (None, name),
    };
    let mut known = STORED_TABLES.iter().filter(|(known, _)| table.as_deref().is_none_or(|table| table == *known));
    if known.all(|(known, _)| stored_column(known, column).is_none()) {
        return Err(format!("no rollup table has a column {name}"));
    }
    Ok(MaxAbsDiff { table, column: column.to_owned(), limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_limits() {
        assert_eq!(parse_fraction("0.5"), Ok(0.5));
        assert!(parse_fraction("20").is_err() && parse_fraction("NaN").is_err());
        let max = parse_max_abs_diff("miner_stats.avg_era5_score=0.5").unwrap();
        assert_eq!((max.table.as_deref(), max.column.as_str(), max.limit), (Some("miner_stats"), "avg_era5_score", 0.5));
        assert!(parse_max_abs_diff("era5_score_24h=0.1").is_ok());
        for bad in ["avg_rmse", "avg_rmse=x", "avg_rmse=-1", "no_such=1", "miner_stats.avg_rmse=1"] {
            assert!(parse_max_abs_diff(bad).is_err(), "{bad}");
        }
    }
}
