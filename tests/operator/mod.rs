//! What an operator sets up around the jobs: the files of a nightly job, what is looked at before it, metrics.

mod doctor;
mod init;
mod metrics;
mod nightly;
mod pages;
mod told;

use std::path::Path;

use crate::support::command::Run;
use crate::support::recount;

/// Runs `recount init` into a folder.
pub fn init(folder: &Path, args: &[&str]) -> Run {
    recount([&["init", "--yes", "--dir", folder.to_str().expect("a path in UTF-8")][..], args].concat()).run()
}

/// What an environment file of `recount init` sets.
pub fn url_of(folder: &Path, file: &str) -> String {
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let line = text.lines().find_map(|line| line.strip_prefix("DATABASE_URL='")).expect("a URL");
    line.trim_end_matches('\'').to_owned()
}
