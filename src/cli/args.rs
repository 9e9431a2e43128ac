//! The command line as it is typed. What it means together with environment and file is decided in `settings`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command as ClapCommand, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::model::ids::MinerUid;
use crate::model::job::{Narrowing, RunRange, parse_since};
use crate::model::time::Micros;

use super::keys::{KEYS, Key, Place};
use super::settings::Settings;

const ABOUT: &str = "\
Recomputes the weather-scoring rollups of a subnet validator from the scores behind them,
and tells which stored numbers are wrong and by how much. Nothing is ever changed by reading.";

const EXIT_STATUSES: &str = "\
Exit status:
  0    done; where tables are compared: in sync
  1    differences were found
  2    an error, or bad usage
  3    refused: a guard stopped the job before it wrote anything
  130  interrupted

SOURCE is a PostgreSQL URL or a snapshot folder; without it, DATABASE_URL is taken.
Flags win over the environment (RECOUNT_THREADS for --threads), that over recount.toml, and that
over defaults; `recount config` shows what is in force and where it came from.";

const RECONCILE_EXAMPLES: &str = "\
Examples:
  recount reconcile postgres://reader@db.example/validator
  recount reconcile data/sample --format json
  recount reconcile data/sample --columns scores,ranks --ignore weather_subnet_stats.top_miners
  recount reconcile data/sample --runs 120..140 --miner 17 --no-lifetime

Exit status: 0 in sync, 1 differences, 2 error or bad usage, 3 refused, 130 interrupted.";

const DIFF_EXAMPLES: &str = "\
Examples:
  recount diff data/sample
  recount diff postgres://reader@db.example/validator --out tonight

Exit status: 0 in sync, 1 differences, 2 error or bad usage, 3 refused, 130 interrupted.";

const RECOMPUTE_EXAMPLES: &str = "\
Examples:
  recount recompute data/sample --out recomputed
  recount recompute data/sample --out recomputed --expected-leads 24,48,72 --rank-method dense";

const EXPORT_EXAMPLES: &str = "\
Examples:
  recount export postgres://reader@db.example/validator --out snapshots/2025-01-31
  recount export --out snapshots/tonight --connections 4     (the source is DATABASE_URL)";

const GENERATE_EXAMPLES: &str = "\
Examples:
  recount generate --runs 10 --miners 16 --seed 1 --drift 12 --out data/sample
  recount generate --runs 99 --miners 256 --seed 7 --messy --database-url postgres://localhost/try

DATABASE_URL is not taken here, so that a real database is never filled by accident.";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  recount migrate status --database-url postgres://owner@db.example/validator
  recount migrate                                            (the database is DATABASE_URL)

Only Phase 1 is applied: it adds, and drops or renames nothing.";

const PHASE2_EXAMPLES: &str = "\
Examples:
  recount phase2 check                                       (the database is DATABASE_URL)
  recount phase2 plan --option view
  recount phase2 apply --option table --keep-wide-in TABLE
  recount phase2 revert                                      (until `recount phase2 finish`)

Exit status: 0 ready or done, 1 not ready, 2 error or bad usage, 3 refused, 130 interrupted.";

const STEPS_EXAMPLES: &str = "\
Examples:
  recount steps due                                          (the database is DATABASE_URL)
  recount steps recover
  recount steps recover --apply --era5-delay 5d
  recount steps backfill --apply

Exit status: 0 nothing to do, or done; 1 found and not applied; 2 error or bad usage, 3 refused, 130 interrupted.";

const CONFIG_EXAMPLES: &str = "\
Examples:
  recount config
  RECOUNT_THREADS=4 recount config --rank-method dense --format json";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "recount", version, about = ABOUT, after_help = EXIT_STATUSES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Read settings from FILE instead of recount.toml in the current folder
    #[arg(long, global = true, value_name = "FILE", env = "RECOUNT_CONFIG", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// No progress and no warnings; the terminal report is its headline only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Tell on stderr what is being done; -vv tells more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    #[command(flatten)]
    pub flags: Flags<true>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Recompute everything and compare it with what is stored, in one pass; read-only
    #[command(after_help = RECONCILE_EXAMPLES)]
    Reconcile(Reading),
    /// Compare as reconcile does, and write differences.parquet
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Diff),
    /// Write the recomputed rollups and the findings as Parquet files
    #[command(after_help = RECOMPUTE_EXAMPLES)]
    Recompute(WithOut),
    /// Write a snapshot folder, which every command takes as SOURCE
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(WithOut),
    /// Make a plausible validator to try things on
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Bring the schema of a database to Phase 1
    #[command(after_help = MIGRATE_EXAMPLES)]
    Migrate(Migrate),
    /// Drop the wide columns, behind a proof that nothing is lost
    #[command(after_help = PHASE2_EXAMPLES)]
    Phase2(Phase2),
    /// Add retry policies, timelines and the subnet's statistics
    Phase3(Phase3),
    /// Retry, recover and backfill steps
    #[command(after_help = STEPS_EXAMPLES)]
    Steps(Steps),
    /// Show the settings in force and where each came from
    #[command(after_help = CONFIG_EXAMPLES)]
    Config(Reading),
}

/// What the commands that read have in common.
#[derive(Debug, Args)]
pub struct Reading {
    /// PostgreSQL URL or snapshot folder; without it, DATABASE_URL is taken
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,
    #[command(flatten)]
    pub narrow: Narrow,
    #[command(flatten)]
    pub flags: Flags<false>,
}

/// Compare only a part. Lifetime rollups are computed over all runs all the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Narrowing")]
pub struct Narrow {
    /// Compare only these runs, both ends included: 7, 7..12, 7.. or ..12
    #[arg(long, value_name = "A..B")]
    pub runs: Option<RunRange>,
    /// Compare only runs initialised on this date or later (UTC)
    #[arg(long, value_name = "DATE", value_parser = parse_since)]
    pub since: Option<Micros>,
    /// Compare only this miner
    #[arg(long, value_name = "UID")]
    pub miner: Option<i32>,
    /// Leave out the rollups over all runs
    #[arg(long)]
    pub no_lifetime: bool,
}

impl Narrow {
    pub fn narrowing(&self) -> Narrowing {
        Narrowing {
            runs: self.runs.unwrap_or_default(),
            since: self.since,
            miner: self.miner.map(MinerUid),
            lifetime: !self.no_lifetime,
        }
    }
}

#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    pub reading: Reading,
    /// Folder for differences.parquet
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A reading command that writes a folder.
#[derive(Debug, Args)]
pub struct WithOut {
    #[command(flatten)]
    pub reading: Reading,
    /// Folder to write; it must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Generate {
    /// Forecast runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Miners
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    pub miners: u32,
    /// The same seed makes the same validator
    #[arg(long, value_name = "S")]
    pub seed: u64,
    /// Lead times in hours, ascending
    #[arg(long, value_name = "HOURS,…", value_delimiter = ',')]
    pub leads: Option<Vec<i32>>,
    /// Plant this many differences in the stored rollups
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub drift: u32,
    /// Add what production has: duplicates, orphans, unknown types, invalid scores
    #[arg(long)]
    pub messy: bool,
    /// List the planted differences in FILE
    #[arg(long, value_name = "FILE", requires = "drift")]
    pub planted: Option<PathBuf>,
    /// Make component scores (the default)
    #[arg(long, overrides_with = "no_components")]
    pub components: bool,
    /// Make no component scores
    #[arg(long)]
    pub no_components: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Where a generated validator goes: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// Write a snapshot folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Fill this database, which must not hold runs yet
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

#[derive(Debug, Args)]
pub struct Migrate {
    #[command(subcommand)]
    pub action: Option<MigrateAction>,
    /// The database; without it, DATABASE_URL is taken
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
}

/// Carry the schema to its narrow form.
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
    /// Prove that dropping the wide columns loses nothing, and list what stands in the way
    Check {
        #[command(flatten)]
        way: WayArgs,
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
        #[arg(long, value_name = "AGE", default_value = "24h", value_parser = parse_age)]
        proof_max_age: Duration,
    },
    /// Put the wide columns back, with their values
    Revert,
    /// Drop what was kept aside for a revert
    Finish,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct WayArgs {
    /// What weather_forecast_stats becomes
    #[arg(long, value_enum, default_value_t = WayArg::Table)]
    pub option: WayArg,
    /// Keep wide values without narrow scores in weather_legacy_lead_scores
    #[arg(long, value_enum, value_name = "TABLE")]
    pub keep_wide_in: Option<KeepIn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WayArg {
    /// A table without the wide columns (option B)
    Table,
    /// A materialized view over scores and steps (option A)
    View,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeepIn {
    /// The table weather_legacy_lead_scores
    #[value(name = "TABLE", alias = "table")]
    Table,
}

/// A number with its unit: `90m`, `24h`, `2d`.
fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = "expected a number and its unit: 90m, 24h or 2d";
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(expected.to_owned()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| expected.to_owned())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
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
        #[arg(long, value_name = "AGE", default_value = "5d", value_parser = parse_age)]
        era5_delay: Duration,
        /// How long to wait on top of that
        #[arg(long, value_name = "AGE", default_value = "6h", value_parser = parse_age)]
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
    /// Take a job of recover or backfill back
    Undo {
        /// The job, as it was told
        job: String,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum MigrateAction {
    /// Show what is applied and what is pending, phase by phase
    Status,
}

/// The flags that follow from the table of keys, by flag name: the global ones, or those of reading commands.
#[derive(Debug, Default)]
pub struct Flags<const GLOBAL: bool>(pub BTreeMap<&'static str, String>);

impl<const GLOBAL: bool> Flags<GLOBAL> {
    fn heading(place: Place) -> Option<&'static str> {
        match place {
            Place::Global if GLOBAL => Some("Global options"),
            Place::Reading if !GLOBAL => Some("Settings"),
            Place::Scoring if !GLOBAL => Some("Scoring"),
            _ => None,
        }
    }
}

/// The help of a key with its default.
fn help(key: &Key) -> String {
    let default = (key.slot)(&mut Settings::default()).show();
    match super::config::plain(&default).as_str() {
        "-" => key.help.to_owned(),
        // One machine has more cores than the next.
        _ if key.flag == "threads" => format!("{} [default: one for each core]", key.help),
        default => format!("{} [default: {default}]", key.help),
    }
}

impl<const GLOBAL: bool> Args for Flags<GLOBAL> {
    fn augment_args(command: ClapCommand) -> ClapCommand {
        KEYS.iter().fold(command, |command, key| match Self::heading(key.place) {
            Some(heading) => command.arg(
                Arg::new(key.flag)
                    .long(key.flag)
                    .value_name(key.value_name)
                    .help(help(key))
                    .help_heading(heading)
                    .allow_negative_numbers(true)
                    .global(GLOBAL),
            ),
            None => command,
        })
    }

    fn augment_args_for_update(command: ClapCommand) -> ClapCommand {
        Self::augment_args(command)
    }
}

impl<const GLOBAL: bool> FromArgMatches for Flags<GLOBAL> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS.iter().filter(|key| Self::heading(key.place).is_some()) {
            if let Some(text) = matches.get_one::<String>(key.flag) {
                self.0.insert(key.flag, text.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
