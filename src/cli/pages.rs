//! `recount completions` and `recount man`: what a package brings beside the program, made from the one description of the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::{Context, ErrorKind, Result};
use crate::files::staging::Staging;

use super::args::Cli;
use super::operator_args::{Completions, Man};
use super::{Status, output};

const NAME: &str = "recount";

/// Prints the completions of one shell.
pub fn completions(args: &Completions) -> Result<Status> {
    output::print(&script(args.shell)?)?;
    Ok(Status::Done)
}

fn script(shell: Shell) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    String::from_utf8(script).doing(ErrorKind::Io, || "writing completions".to_owned())
}

/// Writes a page for the program and one for each command, into a folder that is there whole or not at all.
pub fn man(args: &Man) -> Result<Status> {
    let staging = Staging::create(&args.out)?;
    let doing = || "writing the man pages".to_owned();
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), staging.path("")).doing(ErrorKind::Io, doing)?;
    staging.commit()?;
    output::print(&format!("Written to {}: see `man -l {}/{NAME}.1`.\n", args.out.display(), args.out.display()))?;
    Ok(Status::Done)
}
