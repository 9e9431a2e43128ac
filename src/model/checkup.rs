//! What an examination of the surroundings of a job found.

use crate::error::Error;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Ok,
    /// A job works, and somebody should know.
    Note,
    /// A job would fail, or say what is not so.
    Fault,
}

impl Standing {
    pub fn name(self) -> &'static str {
        match self {
            Standing::Ok => "ok",
            Standing::Note => "note",
            Standing::Fault => "fault",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable: programs know checks by it.
    pub name: &'static str,
    pub standing: Standing,
    pub seen: String,
    /// What to do; none where all is well.
    pub remedy: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, seen: impl Into<String>) -> Check {
        Check { name, standing: Standing::Ok, seen: seen.into(), remedy: None }
    }

    pub fn note(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name, standing: Standing::Note, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    pub fn fault(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name, standing: Standing::Fault, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    /// A fault where it matters to what is asked for, else a note.
    pub fn fault_if(matters: bool, name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Check {
        let standing = if matters { Standing::Fault } else { Standing::Note };
        Check { name, standing, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    /// What could not be looked at, for the reason that a job would meet.
    pub fn failed(name: &'static str, error: &Error) -> Check {
        Check { name, standing: Standing::Fault, seen: error.to_string(), remedy: error.hint_text().map(str::to_owned) }
    }
}

/// Bytes for the eye.
pub fn megabytes(bytes: u64) -> String {
    match bytes >> 20 {
        megabytes if megabytes >= 10_240 => format!("{} GB", megabytes >> 10),
        megabytes => format!("{megabytes} MB"),
    }
}

/// A time that has passed, for the eye.
pub fn age(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{:.0} s", seconds.max(0.0)),
        seconds if seconds < 7_200.0 => format!("{:.0} minutes", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} hours", seconds / 3_600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}
