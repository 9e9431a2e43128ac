//! The command line as it is typed. What it means together with environment and file is decided in `settings`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, Command as ClapCommand, FromArgMatches, Parser, Subcommand};

use crate::model::ids::MinerUid;
use crate::model::job::{Narrowing, RunRange, parse_since};
use crate::model::time::Micros;

use super::baseline::BaselineArgs;
use super::keys::{KEYS, Key, KeyScope};
use super::operator_args::{
    Afterwards, COMPLETIONS_EXAMPLES, Completions, DOCTOR_EXAMPLES, Doctor, INIT_EXAMPLES, Init, MAN_EXAMPLES, Man,
};
use super::schema_args::{MIGRATE_EXAMPLES, Migrate, PHASE2_EXAMPLES, Phase2, Phase3, STEPS_EXAMPLES, Steps};
use super::settings::Settings;
use super::show::Show;
use super::telling::Telling;
use super::writing::{APPLY_EXAMPLES, Apply, JOBS_EXAMPLES, Jobs, Reconcile, UNDO_EXAMPLES, Undo};

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

SOURCE is a PostgreSQL URL, a snapshot folder or an archive; without it, DATABASE_URL is taken.
Flags win over the environment (RECOUNT_THREADS for --threads), that over recount.toml, and that
over defaults; `recount config` shows what is in force and where it came from.";

const RECONCILE_EXAMPLES: &str = "\
Examples:
  recount reconcile postgres://reader@db.example/validator
  recount reconcile data/sample --format json
  recount reconcile data/sample --columns scores,ranks --ignore weather_subnet_stats.top_miners
  recount reconcile data/sample --runs 120..140 --miner 17 --no-lifetime
  recount reconcile data/sample --report tonight.json --report tonight.md --fail-on scores,ranks
  recount reconcile postgres://corrector@db.example/validator --apply --max-rows 500
  recount reconcile postgres://reader@db.example/validator --incremental --state state     (each night)
  recount reconcile postgres://reader@db.example/validator --full --state state            (each week)
  recount reconcile --quiet --metrics /var/lib/node_exporter/recount.prom                  (for Prometheus)

Exit status: 0 in sync, 1 differences, 2 error or bad usage, 3 refused, 130 interrupted.
With --apply: 0 all corrected, 1 something was left.";

const DIFF_EXAMPLES: &str = "\
Examples:
  recount diff data/sample
  recount diff postgres://reader@db.example/validator --out tonight

Exit status: 0 in sync, 1 differences, 2 error or bad usage, 3 refused, 130 interrupted.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  recount explain data/sample --run 3 --miner 5
  recount explain data/sample --run 3 --miner 5 --column era5_combined_score --depth 2
  recount explain postgres://reader@db.example/validator --run 812 --miner 17 --column overall_forecast_score --format json
  recount explain data/sample --miner 5 --lifetime --column avg_forecast_score
  recount explain data/sample --run 3 --subnet --depth 2
  recount explain data/sample --subnet --lifetime

Exit status: 0 the row is explained, whether it is in sync or not; 2 error or bad usage, 130 interrupted.";

const SHOW_EXAMPLES: &str = "\
Examples:
  recount show tonight --miner 7
  recount show tonight --column overall_forecast_score --cause stale --format json
  recount show reports/latest.json --findings orphan_score

Exit status: 0 whatever is listed, 2 error or bad usage.";

const RECOMPUTE_EXAMPLES: &str = "\
Examples:
  recount recompute data/sample --out recomputed
  recount recompute data/sample --out recomputed --expected-leads 24,48,72 --rank-method dense";

const EXPORT_EXAMPLES: &str = "\
Examples:
  recount export postgres://reader@db.example/validator --out snapshots/2025-01-31
  recount export --out snapshots/tonight --connections 4     (the source is DATABASE_URL)";

const ARCHIVE_EXAMPLES: &str = "\
Examples:
  recount archive postgres://reader@db.example/validator --to archive
  recount archive --to s3://bucket/validator                    (the source is DATABASE_URL)
  recount archive ls archive

Credentials of buckets come from each cloud's usual environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME, …). What was archived before stays in force until all is in place.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  recount verify archive
  recount verify s3://bucket/validator --format json

Exit status: 0 nothing is wrong, 1 something is, 2 error or bad usage.";

const QUERY_EXAMPLES: &str = "\
Examples:
  recount query archive \"SELECT lead_hours, AVG(skill) FROM lead_scores GROUP BY lead_hours ORDER BY lead_hours\"
  recount query archive \"SELECT * FROM miner_stats\" --out miners.csv";

const GENERATE_EXAMPLES: &str = "\
Examples:
  recount generate --runs 10 --miners 16 --seed 1 --drift 12 --out data/sample
  recount generate --runs 99 --miners 256 --seed 7 --messy --database-url postgres://localhost/try

DATABASE_URL is not taken here, so that a real database is never filled by accident.";

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
    /// Say on stderr what is being done; -vv says more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Form of messages on stderr: for people, or one JSON object a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        env = "RECOUNT_LOG_FORMAT",
        help_heading = "Global options"
    )]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub flags: Flags<true>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Recompute everything and compare it with what is stored, in one pass; read-only without --apply
    #[command(after_help = RECONCILE_EXAMPLES)]
    Reconcile(Box<Reconcile>),
    /// Compare as reconcile does, and write differences.parquet
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Diff),
    /// Explain a row of the rollups rule by rule, down to the rows behind each value
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Accept differences as they are stored, so that later nights report only what is new
    Baseline(BaselineArgs),
    /// List what a diff folder or a saved report holds, row by row
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Write the recomputed rollups and the findings as Parquet files
    #[command(after_help = RECOMPUTE_EXAMPLES)]
    Recompute(WithOut),
    /// Write a snapshot folder, which every command takes as SOURCE
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(WithOut),
    /// Archive results and evidence as Parquet files that need no database any more
    #[command(after_help = ARCHIVE_EXAMPLES)]
    Archive(Archive),
    /// Check every file of an archive, and recompute every rollup in it
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Query an archive with SQL
    #[command(after_help = QUERY_EXAMPLES)]
    Query(Query),
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
    /// Correct a database by a diff that was made earlier
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(Apply),
    /// Put back what a job changed, where nobody else has changed it since
    #[command(after_help = UNDO_EXAMPLES)]
    Undo(Undo),
    /// List the jobs that wrote to a database
    #[command(after_help = JOBS_EXAMPLES)]
    Jobs(Jobs),
    /// Write what a nightly job needs: settings, roles, a script, a timer
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Check all that a job needs, and say what is missing or wrong
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Show the settings in force and where each came from
    #[command(after_help = CONFIG_EXAMPLES)]
    Config(Reading),
    /// Print the completions of a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Write the man pages
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),
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
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Archive {
    #[command(subcommand)]
    pub action: Option<ArchiveAction>,
    #[command(flatten)]
    pub reading: Reading,
    /// Folder or bucket of the archive: a path, file://, s3://, gs:// or az://
    #[arg(long, value_name = "DEST", required = true, help_heading = "Archives")]
    pub to: Option<String>,
    /// Archive only these tables; without evidence, nothing can be recomputed from it
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Archives")]
    pub tables: Option<Vec<String>>,
    /// Remove what only the archive still has of these runs: 7, 7..12, 7.. or ..12
    #[arg(long, value_name = "A..B", help_heading = "Archives")]
    pub forget: Option<RunRange>,
    /// Rewrite the days that only the archive still has, in the newest format and with --encoding
    #[arg(long, help_heading = "Archives")]
    pub rewrite: bool,
    #[command(flatten)]
    pub afterwards: Afterwards,
}

#[derive(Debug, Subcommand)]
pub enum ArchiveAction {
    /// Show what an archive holds
    Ls {
        /// Folder or bucket of the archive
        #[arg(value_name = "DEST")]
        dest: String,
    },
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Folder or bucket of the archive
    #[arg(value_name = "DEST")]
    pub dest: String,
    #[command(flatten)]
    pub afterwards: Afterwards,
}

#[derive(Debug, Args)]
pub struct Query {
    /// Folder or bucket of an archive, a snapshot folder, or a folder that recompute or diff has written
    #[arg(value_name = "SOURCE")]
    pub dest: String,
    /// One statement: SELECT, EXPLAIN, DESCRIBE or SHOW TABLES; tables go by their names
    #[arg(value_name = "SQL")]
    pub sql: String,
    /// Form of the result [default: what the ending of FILE says, else table]
    #[arg(long, alias = "as", value_name = "FORM", value_enum)]
    pub format: Option<QueryForm>,
    /// Write the result to FILE instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Megabytes for sorts, joins and groups; what needs more goes to the temporary folder (TMPDIR)
    #[arg(long, value_name = "MB", default_value_t = 512)]
    pub memory: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum QueryForm {
    Table,
    Csv,
    Jsonl,
    Json,
    Parquet,
}

#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    pub reading: Reading,
    #[command(flatten)]
    pub telling: Telling,
    /// Folder for differences.parquet
    #[arg(long, value_name = "DIR", help_heading = "Reports")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// PostgreSQL URL, snapshot folder or archive; without it, DATABASE_URL is taken
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,
    /// The run
    #[arg(long, value_name = "ID", allow_negative_numbers = true, required_unless_present = "lifetime")]
    pub run: Option<i32>,
    /// The miner
    #[arg(long, value_name = "UID", allow_negative_numbers = true, required_unless_present = "subnet")]
    pub miner: Option<i32>,
    /// The row of the miner in miner_stats, or with --subnet that of the subnet over everything
    #[arg(long, conflicts_with = "run")]
    pub lifetime: bool,
    /// The row of the subnet in weather_subnet_stats
    #[arg(long, conflicts_with = "miner")]
    pub subnet: bool,
    /// Only this column, and those that it rests on
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Levels of the tree to show: 1 values, 2 what they are made of, 3 rows of scores [default: all of a column, 1 of a row]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub depth: Option<u32>,
    #[command(flatten)]
    pub flags: Flags<false>,
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
    /// Let scores drift as those of faulty writers do: stale, rounded, counted twice, of another miner, …
    #[arg(long, requires = "drift")]
    pub causes: bool,
    /// Add what production has: duplicates, orphans, unknown types, invalid scores
    #[arg(long)]
    pub messy: bool,
    /// Every miner answers and every run is over: each score that a rule uses once, no others
    #[arg(long, conflicts_with = "messy")]
    pub complete: bool,
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

/// The flags that follow from the table of keys, by flag name: the global ones, or those of reading commands.
#[derive(Debug, Default)]
pub struct Flags<const GLOBAL: bool>(pub BTreeMap<&'static str, String>);

impl<const GLOBAL: bool> Flags<GLOBAL> {
    fn heading(scope: KeyScope) -> Option<&'static str> {
        match scope {
            KeyScope::Global if GLOBAL => Some("Global options"),
            KeyScope::Reading if !GLOBAL => Some("Settings"),
            KeyScope::Scoring if !GLOBAL => Some("Scoring"),
            _ => None,
        }
    }
}

/// The defaults by flag, made once: every command shows them.
static DEFAULTS: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
    let mut settings = Settings::default();
    KEYS.iter().map(|key| (key.flag, super::config::plain(&(key.slot)(&mut settings).show()))).collect()
});

/// The help of a key with its default.
fn help(key: &Key) -> String {
    match DEFAULTS[key.flag].as_str() {
        "-" => key.help.to_owned(),
        // One machine has more cores than the next.
        _ if key.flag == "threads" => format!("{} [default: one for each core]", key.help),
        default => format!("{} [default: {default}]", key.help),
    }
}

impl<const GLOBAL: bool> Args for Flags<GLOBAL> {
    fn augment_args(command: ClapCommand) -> ClapCommand {
        KEYS.iter().fold(command, |command, key| match Self::heading(key.scope) {
            Some(heading) => {
                let arg = Arg::new(key.flag).long(key.flag).value_name(key.value_name).help(help(key)).help_heading(heading);
                // A yes needs no value.
                let arg = match key.value_name {
                    "BOOL" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                    _ => arg,
                };
                command.arg(arg.allow_negative_numbers(true).global(GLOBAL))
            }
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
        for key in KEYS.iter().filter(|key| Self::heading(key.scope).is_some()) {
            // `query` has a `--format` of its own, with forms of its own.
            if let Ok(Some(text)) = matches.try_get_one::<String>(key.flag) {
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
