//! The result of a job, for people or for programs.

use crate::error::{Context, ErrorKind, Result};
use crate::model::outcome::Outcome;

use super::output::Look;
use super::values::Format;

mod headline;
mod json;
mod patterns;
mod shape;
pub(crate) mod table;
mod terminal;
mod text;

pub(crate) use text::elapsed;

/// The whole text for stdout.
pub(crate) fn render(outcome: &Outcome, format: Format, quiet: bool, look: Look) -> Result<String> {
    if format == Format::Terminal && quiet {
        return Ok(terminal::headline(outcome, look));
    }
    let patterns = patterns::patterns(&outcome.differences)?;
    match format {
        Format::Json => json::render(outcome, &patterns).doing(ErrorKind::Data, || "writing the report as JSON".to_owned()),
        Format::Terminal => Ok(terminal::render(outcome, &patterns, look)),
    }
}

#[cfg(test)]
mod tests;
