//! The command lines of what an operator sets up around the jobs.

use std::path::PathBuf;

use clap::Args;

/// Whom a job tells how it went.
#[derive(Debug, Args)]
#[command(next_help_heading = "Watching")]
pub struct Afterwards {
    /// Write metrics of the job to FILE, as node exporter's textfile collector reads them: /var/lib/node_exporter/recount.prom
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}
