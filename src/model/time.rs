//! Times: UTC, whole microseconds since 1970.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC. PostgreSQL's `-infinity` and `infinity` are [`Micros::MIN`] and [`Micros::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Micros(pub i64);

impl Micros {
    pub const MIN: Micros = Micros(i64::MIN);
    pub const MAX: Micros = Micros(i64::MAX);

    /// The calendar time, where it is one (not infinite, within chrono's years).
    pub fn utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    /// ISO 8601 with six digits, `2025-01-31T06:00:00.123456Z`; `infinity` and `-infinity` as PostgreSQL writes them.
    pub fn iso(self) -> String {
        match self {
            Micros::MAX => "infinity".to_owned(),
            Micros::MIN => "-infinity".to_owned(),
            _ => match self.utc() {
                Some(t) => t.to_rfc3339_opts(SecondsFormat::Micros, true),
                None => format!("{} µs", self.0),
            },
        }
    }

    /// `20250131_06`, as R1 writes a time; what is not a calendar time as [`Micros::iso`] has it.
    pub fn hour_stamp(self) -> String {
        match self.utc() {
            Some(t) if self != Micros::MAX && self != Micros::MIN => t.format("%Y%m%d_%H").to_string(),
            _ => self.iso(),
        }
    }

    /// Reads ISO 8601 with a zone (`2025-01-17T00:00:00Z`, `2025-06-19T00:00:00+00:00`).
    pub fn parse(text: &str) -> Option<Micros> {
        DateTime::parse_from_rfc3339(text).ok().map(|t| Micros(t.timestamp_micros()))
    }
}
