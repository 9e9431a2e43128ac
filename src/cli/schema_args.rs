//! The command lines of what carries the schema on: `migrate`, `phase2`, `phase3`, `steps`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::args::Flags;
use super::values::parse_duration;

pub const MIGRATE_EXAMPLES: &str = "\
Examples:
  recount migrate status --database-url postgres://owner@db.example/validator
  recount migrate                                            (the database is DATABASE_URL)
  recount migrate --standalone --database-url postgres://localhost/try

Only Phase 1 is applied: it adds, and drops or renames nothing. The validator's own migrations come first: an empty database, or one
that they have not carried to the event log yet, is refused (status 3).";

pub const PHASE2_EXAMPLES: &str = "\
Examples:
  recount phase2 status                                      (the database is DATABASE_URL)
  recount phase2 watch
  recount phase2 check
  recount phase2 plan --option view
  recount phase2 check --keep-wide-in s3://bucket/archive
  recount phase2 apply --option table --keep-wide-in TABLE
  recount phase2 revert                                      (until `recount phase2 finish`)
  recount phase2 finish --min-age 7d

Exit status: 0 ready or done, 1 not ready, 2 error or bad usage, 3 refused, 130 interrupted.";

pub const STEPS_EXAMPLES: &str = "\
Examples:
  recount steps due                                          (the database is DATABASE_URL)
  recount steps recover
  recount steps recover --apply --era5-delay 5d
  recount steps backfill --apply

Exit status: 0 nothing to do, or done; 1 found and not applied; 2 error or bad usage, 3 refused, 130 interrupted.";

#[derive(Debug, Args)]
pub struct Migrate {
    #[command(subcommand)]
    pub action: Option<MigrateAction>,
    /// The database is empty and no validator will use it: create the validator's tables too
    #[arg(long)]
    pub standalone: bool,
    /// Record by triggers which runs are written to, so that incremental jobs miss nothing; again: remove old records
    #[arg(long)]
    pub track_changes: bool,
    /// Remove these triggers and their records
    #[arg(long, conflicts_with = "track_changes")]
    pub no_track_changes: bool,
    /// Hold the validator's pause lock meanwhile, so that its workers start nothing
    #[arg(long)]
    pub pause_validator: bool,
    /// The database; without it, DATABASE_URL is taken
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum MigrateAction {
    /// Show what is applied and what is pending, phase by phase
    Status,
}

/// Change the schema to its narrow form.
#[derive(Debug, Args)]
pub struct Phase2 {
    #[command(subcommand)]
    pub action: Phase2Action,
    /// The database; without it, DATABASE_URL is taken
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Phase2Action {
    /// Show what was changed, since when writers are watched, and the latest proofs
    Status,
    /// Record by triggers who writes weather_forecast_stats, and list who did
    Watch {
        /// Remove the triggers
        #[arg(long)]
        stop: bool,
    },
    /// Prove that dropping the wide columns loses nothing, and list what stands in the way
    Check {
        #[command(flatten)]
        way: WayArgs,
        /// How long nobody may have written what goes, and for how long `phase2 watch` must have looked: 90m, 24h, 7d
        #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_duration)]
        quiet_for: Duration,
        /// Writers that do without the wide columns by now, by role or application_name; without a name all, watched or not
        #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, value_delimiter = ',', default_missing_value = "")]
        writers_moved: Option<Vec<String>>,
        #[command(flatten)]
        flags: Flags<false>,
    },
    /// Print the statements, their locks and about how long they take
    Plan {
        #[command(flatten)]
        way: WayArgs,
    },
    /// Change the schema; demands a proof that still holds
    Apply {
        #[command(flatten)]
        way: WayArgs,
        /// How old the proof may be: 90m, 24h, 2d
        #[arg(long, value_name = "AGE", default_value = "24h", value_parser = parse_duration)]
        proof_max_age: Duration,
        /// Hold the validator's pause lock meanwhile, so that its workers start nothing
        #[arg(long)]
        pause_validator: bool,
    },
    /// Put the wide columns back, with their values
    Revert,
    /// Drop what was kept aside for a revert, for good
    Finish {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// How long the change must have been in force: 24h, 7d
        #[arg(long, value_name = "AGE", default_value = "24h", value_parser = parse_duration)]
        min_age: Duration,
    },
}

#[derive(Debug, Clone, Args)]
pub struct WayArgs {
    /// What weather_forecast_stats becomes
    #[arg(long, value_enum, default_value_t = WayArg::Table)]
    pub option: WayArg,
    /// Keep wide values without narrow scores: in the table weather_legacy_lead_scores (TABLE), or in an archive, by its path or URL
    #[arg(long, value_name = "TABLE|ARCHIVE")]
    pub keep_wide_in: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WayArg {
    /// A table without the wide columns (option B)
    Table,
    /// A materialized view over scores and steps (option A)
    View,
}

#[derive(Debug, Args)]
pub struct Phase3 {
    #[command(subcommand)]
    pub action: Phase3Action,
    /// The database; without it, DATABASE_URL is taken
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Phase3Action {
    /// Create the retry policies, the timeline and the subnet's statistics
    Apply {
        #[command(flatten)]
        flags: Flags<false>,
    },
    /// Refresh the materialized views, concurrently
    Refresh,
}

#[derive(Debug, Args)]
pub struct Steps {
    #[command(subcommand)]
    pub action: StepsAction,
    /// The database; without it, DATABASE_URL is taken
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum StepsAction {
    /// List the retries whose time has come
    Due {
        #[command(flatten)]
        flags: Flags<false>,
    },
    /// Find steps left in progress and ERA5 steps that are missing, and put them right with --apply
    Recover {
        #[command(flatten)]
        flags: Flags<false>,
        /// Write what was found
        #[arg(long)]
        apply: bool,
        /// How long after its time the truth of a lead is published
        #[arg(long, value_name = "AGE", default_value = "5d", value_parser = parse_duration)]
        era5_delay: Duration,
        /// How long to wait on top of that
        #[arg(long, value_name = "AGE", default_value = "6h", value_parser = parse_duration)]
        era5_buffer: Duration,
    },
    /// Derive the steps of older runs from responses and scores, and write them with --apply
    Backfill {
        #[command(flatten)]
        flags: Flags<false>,
        /// Write what was found
        #[arg(long)]
        apply: bool,
    },
    /// Undo a job of recover or backfill
    Undo {
        /// The job's id, as it was printed
        job: String,
    },
}
