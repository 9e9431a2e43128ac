//! The result of a job, for people or for programs, on stdout and in files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::replace::replace;
use crate::model::cause::Cause;
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;

use super::correct;
use super::output::Look;
use super::values::Format;
use patterns::Patterns;

mod headline;
mod impact;
mod json;
mod page;
mod patterns;
pub(crate) mod table;
mod terminal;
pub mod text;
mod why;

pub(crate) use text::{counted, elapsed};

/// Columns of a report for people in a file.
const FILE_LOOK: Look = Look { color: false, width: 120 };

/// The first line, plain.
pub(crate) fn headline(outcome: &Outcome) -> String {
    headline::headline(outcome).1
}

/// Drifted cells and whole rows that follow from no other, by group of columns; every group is there.
pub(crate) fn roots_by_group(outcome: &Outcome) -> BTreeMap<&'static str, u64> {
    let groups = json::groups(&outcome.differences);
    why::Topic::ALL.iter().map(|topic| (topic.name(), groups.get(topic.name()).map_or(0, |group| group.roots))).collect()
}

/// Drifted cells by cause; every cause is there.
pub(crate) fn by_cause(outcome: &Outcome) -> BTreeMap<&'static str, u64> {
    let causes = json::causes(&outcome.differences);
    Cause::NAMES.iter().map(|name| (*name, causes.get(name).copied().unwrap_or_default())).collect()
}

/// All that is told of a job.
pub(crate) struct Report<'a> {
    pub outcome: &'a Outcome,
    /// What the rules took.
    pub settings: Json,
    /// What was done about it; `true`: it was only written down.
    pub applied: Option<(&'a Applied, bool)>,
    /// Why a guard stopped the corrections.
    pub refused: Option<String>,
}

impl Report<'_> {
    /// The whole text for stdout.
    pub fn render(&self, format: Format, quiet: bool, look: Look) -> Result<String> {
        match format {
            Format::Json => self.as_json(),
            Format::Terminal if quiet => Ok(self.done(look, true) + &terminal::headline(self.outcome, look)),
            Format::Terminal => Ok(self.as_text(look)),
        }
    }

    fn as_json(&self) -> Result<String> {
        let corrected = |(applied, planned)| json::Corrected { planned, corrections: correct::as_json(applied) };
        let told = json::ReportContext {
            settings: &self.settings,
            corrected: self.applied.map(corrected),
            refused: self.refused.as_deref(),
        };
        json::render(self.outcome, &Patterns::of(&self.outcome.differences), told)
            .doing(ErrorKind::Data, || "writing the report as JSON".to_owned())
    }

    /// What was done stands first; what was found is told as of before it.
    fn as_text(&self, look: Look) -> String {
        let doing = match (&self.applied, &self.refused) {
            (Some(_), _) => "as it was before the corrections above",
            (None, Some(_)) => "a guard stopped the corrections",
            (None, None) => "nothing was changed",
        };
        let found = Patterns::of(&self.outcome.differences);
        self.done(look, false) + &terminal::render(self.outcome, &found, doing, look)
    }

    /// What was done about it, and how to take it back.
    fn done(&self, look: Look, quiet: bool) -> String {
        let refused = self.refused.iter().map(|why| format!("REFUSED: {why}. Nothing was written.\n"));
        let applied = self.applied.iter().map(|(applied, planned)| {
            let told = correct::as_text(applied, *planned, look);
            if quiet { told } else { told + "\n" }
        });
        refused.chain(applied).collect()
    }

    /// Writes the report to a file, whose ending says in which form. What was there before is there until all is written.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for another ending; [`ErrorKind::Io`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = match form(path)? {
            Form::Json => self.as_json()?,
            Form::Text => self.as_text(FILE_LOOK),
            Form::Page => page::render(self),
            Form::Markdown => format!("# recount {}\n\n```text\n{}```\n", self.outcome.command, self.as_text(FILE_LOOK)),
        };
        replace(path, &text)
    }

    /// A set of all forms in a folder, named by the time of the snapshot, and the same as `latest`.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).doing(ErrorKind::Io, || format!("creating the folder {}", folder.display()))?;
        let night = self.outcome.taken_at.iso().replace(':', "-");
        for ending in ENDINGS {
            for name in [night.as_str(), "latest"] {
                self.save(&folder.join(format!("{name}.{ending}")))?;
            }
        }
        Ok(())
    }
}

enum Form {
    Text,
    Json,
    Markdown,
    Page,
}

const ENDINGS: [&str; 4] = ["txt", "json", "md", "html"];

fn form(path: &Path) -> Result<Form> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("txt") => Ok(Form::Text),
        Some("json") => Ok(Form::Json),
        Some("md") => Ok(Form::Markdown),
        Some("html") => Ok(Form::Page),
        _ => {
            let detail = format!("--report {} ends in none of .{}", path.display(), ENDINGS.join(", ."));
            Err(Error::new(ErrorKind::Usage, "reading the command line", detail))
        }
    }
}

/// Refuses a report file that could not be written, before anything is read.
pub(crate) fn check_file(path: &Path) -> Result<()> {
    form(path).map(|_| ())
}

#[cfg(test)]
mod tests;
