//! Where a comparison is told besides stdout, and what of it decides the exit status.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::model::cause::Cause;
use crate::model::columns::Group;
use crate::model::difference::{Class, Difference};
use crate::model::filter::stored_column;
use crate::model::finding::Code;
use crate::model::outcome::Outcome;

use super::report::{self, Report};

/// The flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub struct Telling {
    /// Write the report to FILE as well: .txt, .md, .json or .html; may be given several times
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
    /// Keep the report of each night in DIR in every form, and the last one as latest
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// What makes the exit status 1: drift, missing, extra, unproven, habit, within, a group (scores, …), a cause (stale, …), a finding's code
    /// or severity [default: drift,missing,extra]
    #[arg(long, value_name = "WHAT,…")]
    pub fail_on: Option<String>,
    /// Count what the validator's own code stores by habit apart from drift: gaia-2.9, or a .toml file
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
    /// Report only what is not in FILE, which `recount baseline write` wrote, and what of it is gone
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<String>,
}

impl Telling {
    /// What was typed, by the names of its settings.
    pub fn flags(&self) -> impl Iterator<Item = (&'static str, String)> {
        let profile = self.profile.clone().map(|profile| ("profile", profile));
        let baseline = self.baseline.clone().map(|file| ("baseline", file));
        self.fail_on.clone().map(|what| ("fail-on", what)).into_iter().chain(profile).chain(baseline)
    }

    /// Refuses, before anything is read, what could not be written.
    pub fn check(&self) -> Result<()> {
        self.report.iter().try_for_each(|path| report::check_file(path))
    }

    /// Writes the files that are asked for.
    pub(crate) fn write(&self, report: &Report<'_>) -> Result<()> {
        self.report.iter().try_for_each(|path| report.save(path))?;
        self.reports.iter().try_for_each(|folder| report.keep(folder))
    }
}

/// What makes a comparison end with status 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailOn(Vec<String>);

impl Default for FailOn {
    fn default() -> Self {
        FailOn(["drift", "missing", "extra"].map(str::to_owned).to_vec())
    }
}

const CLASSES: [Class; 6] = [Class::Drift, Class::Missing, Class::Extra, Class::Unproven, Class::Habit, Class::Within];

impl FailOn {
    /// `None` where a word means nothing.
    pub fn of(words: Vec<String>) -> Option<FailOn> {
        let known = |word: &String| {
            CLASSES.iter().any(|class| class.name() == word)
                || Group::NAMED.iter().any(|(name, _)| name == word)
                || Cause::NAMES.contains(&word.as_str())
                || Code::ALL.iter().any(|code| code.name() == word || code.severity().name() == word)
        };
        words.iter().all(known).then_some(FailOn(words))
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether anything of it was found.
    pub fn is_met(&self, outcome: &Outcome) -> bool {
        self.0.iter().any(|word| found(word, outcome))
    }
}

fn found(word: &str, outcome: &Outcome) -> bool {
    let tables = || outcome.tables.values();
    let wrong = || outcome.differences.iter().filter(|found| found.is_wrong());
    let of_group = |found: &Difference| {
        let column = found.column.as_deref().and_then(|name| stored_column(found.table, name));
        column.is_some_and(|column| Group::NAMED.iter().any(|(name, group)| *name == word && *group == column.group))
    };
    match word {
        "drift" => tables().any(|table| table.rows.drift > 0),
        "missing" => tables().any(|table| table.rows.missing > 0),
        "extra" => tables().any(|table| table.rows.extra > 0),
        "unproven" => tables().any(|table| table.cells.unproven > 0),
        "habit" => tables().any(|table| table.cells.habit > 0),
        "within" => tables().any(|table| table.cells.within > 0),
        _ => {
            outcome.findings.keys().any(|code| code.name() == word || code.severity().name() == word)
                || wrong().any(|found| of_group(found) || found.cause.is_some_and(|cause| cause.name() == word))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_nothing_are_refused() {
        let words = |text: &str| FailOn::of(text.split(',').map(str::to_owned).collect());
        assert!(words("drift,unproven,scores,stale,orphan_score,error").is_some());
        assert!(words("drifts").is_none());
    }
}
