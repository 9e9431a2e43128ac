//! The result of a job, for people or for programs.

use crate::error::{Context, ErrorKind, Result};
use crate::model::outcome::Outcome;
use crate::model::writing::Applied;

use super::correct;
use super::output::Look;
use super::values::Format;
use patterns::Found;

mod headline;
mod impact;
mod json;
mod patterns;
mod shape;
pub(crate) mod table;
mod terminal;
pub mod text;
mod why;

pub(crate) use text::{counted, elapsed};

/// The whole text for stdout.
pub(crate) fn render(outcome: &Outcome, format: Format, quiet: bool, look: Look) -> Result<String> {
    if format == Format::Terminal && quiet {
        return Ok(terminal::headline(outcome, look));
    }
    let found = Found::of(&outcome.differences);
    match format {
        Format::Json => as_json(outcome, &found, None),
        Format::Terminal => Ok(terminal::render(outcome, &found, "nothing was changed", look)),
    }
}

/// The report of a job that corrected what it found. What was found is told as of before the corrections.
pub(crate) fn render_corrected(
    outcome: &Outcome,
    applied: &Applied,
    planned: bool,
    format: Format,
    quiet: bool,
    look: Look,
) -> Result<String> {
    let found = Found::of(&outcome.differences);
    if format == Format::Json {
        return as_json(outcome, &found, Some(json::Corrected { planned, corrections: correct::as_json(applied) }));
    }
    let report = match quiet {
        true => terminal::headline(outcome, look),
        false => terminal::render(outcome, &found, "the corrections are below", look),
    };
    Ok(report + "\n" + &correct::as_text(applied, planned, look))
}

fn as_json(outcome: &Outcome, found: &Found<'_>, corrected: Option<json::Corrected>) -> Result<String> {
    json::render(outcome, found, corrected).doing(ErrorKind::Data, || "writing the report as JSON".to_owned())
}

#[cfg(test)]
mod tests;
