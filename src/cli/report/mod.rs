//! The result of a job, for people or for programs.

use crate::error::{Context, ErrorKind, Result};
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;

use super::correct;
use super::output::Look;
use super::values::Format;

mod headline;
mod json;
mod patterns;
mod shape;
pub(crate) mod table;
mod terminal;
pub mod text;

pub(crate) use text::{counted, elapsed, key};

/// The whole text for stdout.
pub(crate) fn render(outcome: &Outcome, format: Format, quiet: bool, look: Look) -> Result<String> {
    if format == Format::Terminal && quiet {
        return Ok(terminal::headline(outcome, look));
    }
    let patterns = patterns::patterns(&outcome.differences);
    match format {
        Format::Json => json::render(outcome, &patterns).doing(ErrorKind::Data, || "writing the report as JSON".to_owned()),
        Format::Terminal => Ok(terminal::render(outcome, &patterns, look)),
    }
}

/// The report of a job that corrected what it found.
pub(crate) fn render_corrected(
    outcome: &Outcome,
    applied: &Applied,
    planned: bool,
    format: Format,
    quiet: bool,
    look: Look,
) -> Result<String> {
    let doing = || "writing the report as JSON".to_owned();
    let report = render(outcome, format, quiet, look)?;
    if format == Format::Terminal {
        // What was found is told as of before the corrections.
        let report = report.replacen("; nothing was changed.", "; the corrections are below.", 1);
        return Ok(report + "\n" + &correct::as_text(applied, planned, look));
    }
    let mut object: serde_json::Value = serde_json::from_str(&report).doing(ErrorKind::Data, doing)?;
    object["planned"] = planned.into();
    object["corrections"] = correct::as_json(applied);
    Ok(format!("{object:#}\n"))
}

#[cfg(test)]
mod tests;
