//! The command lines of what an operator sets up around the jobs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::Shell;

use super::args::Flags;
use super::values::parse_duration;

pub const DOCTOR_EXAMPLES: &str = "\
Examples:
  recount doctor                                             (the database is DATABASE_URL)
  recount doctor postgres://corrector@db.example/validator --apply
  recount doctor --state state --archive archive --metrics /var/lib/node_exporter/recount.prom --format json

Exit status: 0 all is well, or there are only notes; 1 a fault was found; 2 bad usage, nothing could be looked at.";

pub const INIT_EXAMPLES: &str = "\
Examples:
  recount init --dir /var/lib/recount --env-file /home/validator/.env
  recount init --yes --database-url postgres://owner@db.example/validator     (PGPASSWORD has the password)

It changes nothing in the database. Files that are there already are never written over.
Exit status: 0 written, 2 an error, bad usage, or a file is there already; 3 refused, since nobody said yes.";

pub const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  recount completions bash > ~/.local/share/bash-completion/completions/recount
  recount completions zsh > /usr/local/share/zsh/site-functions/_recount
  recount completions fish > ~/.config/fish/completions/recount.fish";

pub const MAN_EXAMPLES: &str = "\
Examples:
  recount man --out man1
  man -l man1/recount-reconcile.1";

/// Whom a job tells how it went.
#[derive(Debug, Args)]
#[command(next_help_heading = "Watching")]
pub struct Afterwards {
    /// Write metrics of the job to FILE, as node exporter's textfile collector reads them: /var/lib/node_exporter/recount.prom
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// Then run CMD by the shell, with RECOUNT_STATUS and RECOUNT_HEADLINE in its environment
    #[arg(long, value_name = "CMD")]
    pub on_result: Option<String>,
}

/// Check everything that a job needs.
#[derive(Debug, Args)]
pub struct Doctor {
    /// PostgreSQL URL, snapshot folder or archive; without it, DATABASE_URL is taken
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,
    /// Check what `reconcile --apply` needs too
    #[arg(long)]
    pub apply: bool,
    /// Folder for the state of incremental jobs
    #[arg(long, value_name = "DIR")]
    pub state: Option<String>,
    /// Folder or bucket of the archive
    #[arg(long, value_name = "DEST")]
    pub archive: Option<String>,
    /// Folder that reports, exports and other output will be written to
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Metrics that the nightly job writes
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// Age from which the last good night is reported as too old: 36h, 2d
    #[arg(long, value_name = "TIME", default_value = "36h", value_parser = parse_duration)]
    pub max_age: Duration,
    #[command(flatten)]
    pub flags: Flags<false>,
}

/// Write what a nightly job needs.
#[derive(Debug, Args)]
pub struct Init {
    /// Folder for the files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Take settings and the database over from FILE, the validator's environment; without it, from the environment as it is
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// The validator's database
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Write without asking
    #[arg(long)]
    pub yes: bool,
}

/// Print the completions of a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Write the man pages.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write; it must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}
