//! The result of a job, for people or for programs.

use crate::error::Result;
use crate::model::outcome::Outcome;

use super::output::Look;
use super::values::Format;

pub(crate) mod table;

/// The whole text for stdout.
pub(crate) fn render(outcome: &Outcome, format: Format, quiet: bool, look: Look) -> Result<String> {
    todo!("{outcome:?} {format:?} {quiet} {look:?}")
}
