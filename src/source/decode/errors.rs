//! Errors on their way out of the database: nothing is kept of them but what is sanitized (E, D5).

use std::collections::HashMap;

use arrow_array::ArrayRef;
use serde_json::Value as Json;

use super::column::{Mismatch, OptionalTexts};
use crate::model::sanitize::{SanitizedError, error_of};

/// The same few errors come again and again, and sanitizing is slow. At most this many are remembered, so the memory is bounded.
const REMEMBERED_MAX: usize = 1024;
/// A longer error is seldom repeated to the letter.
const REMEMBERED_BYTES_MAX: usize = 4096;

/// Type and message (E2) of each row's error.
#[derive(Debug, Default)]
pub struct ErrorCells {
    kinds: OptionalTexts,
    messages: OptionalTexts,
    remembered: HashMap<Box<str>, Option<SanitizedError>>,
}

impl ErrorCells {
    /// An error as JSON text, as the database projects it (E2).
    pub fn push(&mut self, text: &str) -> Result<(), Mismatch> {
        if let Some(error) = self.remembered.get(text) {
            return append(&mut self.kinds, &mut self.messages, error.as_ref());
        }
        // What is not JSON to us is an error all the same: one without type and message, like an array.
        let error = error_of(&serde_json::from_str(text).unwrap_or_else(|_| Json::Array(Vec::new())));
        append(&mut self.kinds, &mut self.messages, error.as_ref())?;
        if self.remembered.len() < REMEMBERED_MAX && text.len() <= REMEMBERED_BYTES_MAX {
            self.remembered.insert(text.into(), error);
        }
        Ok(())
    }

    pub fn push_none(&mut self) {
        append(&mut self.kinds, &mut self.messages, None).expect("no text, so none too long");
    }

    pub fn len(&self) -> usize {
        self.kinds.len().min(self.messages.len())
    }

    pub fn truncate(&mut self, rows: usize) {
        self.kinds.truncate(rows);
        self.messages.truncate(rows);
    }

    pub fn finish(self) -> Vec<ArrayRef> {
        vec![self.kinds.finish(), self.messages.finish()]
    }
}

fn append(kinds: &mut OptionalTexts, messages: &mut OptionalTexts, error: Option<&SanitizedError>) -> Result<(), Mismatch> {
    kinds.push(error.map(|error| error.kind.as_str()))?;
    messages.push(error.and_then(|error| error.message.as_deref()))
}
