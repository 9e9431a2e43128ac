//! Findings (F): suspicious rows, reported and never silently dropped.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::ids::{LeadHours, MinerUid, RunId};
use super::serial::{self, TableName};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($code:ident $name:literal $severity:ident,)*) => {
        /// The codes of section 8, in order of their names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($code,)*
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$code,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Code::$code => $name,)*
                }
            }

            pub fn severity(self) -> Severity {
                match self {
                    $(Code::$code => Severity::$severity,)*
                }
            }
        }
    };
}

codes! {
    DuplicateScore "duplicate_score" Info,
    DuplicateStep "duplicate_step" Info,
    ForecastRunIdCollision "forecast_run_id_collision" Error,
    HotkeyChanged "hotkey_changed" Warning,
    InvalidScore "invalid_score" Warning,
    LeadMismatch "lead_mismatch" Warning,
    NegativeDuration "negative_duration" Warning,
    OrphanScore "orphan_score" Error,
    OutOfRangeScore "out_of_range_score" Info,
    PartialLead "partial_lead" Warning,
    ScoreWithoutStep "score_without_step" Info,
    StaleInProgress "stale_in_progress" Warning,
    StepWithoutScore "step_without_score" Warning,
    UnexpectedLead "unexpected_lead" Info,
    UnexpectedVariable "unexpected_variable" Info,
    UnknownScoreType "unknown_score_type" Warning,
    UnregisteredMiner "unregistered_miner" Warning,
    UnsanitizedError "unsanitized_error" Warning,
    WideWithoutNarrow "wide_without_narrow" Error,
}

/// One finding. `detail` is free text, sanitized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: Code,
    pub run: Option<RunId>,
    pub miner: Option<MinerUid>,
    pub lead: Option<LeadHours>,
    #[serde(with = "serial::table")]
    pub table: TableName,
    pub row_id: Option<i64>,
    pub detail: String,
}

impl Finding {
    /// The order of section 8: code, run, miner, lead, row id (NULLs last), table.
    pub fn order(&self, other: &Finding) -> Ordering {
        fn nulls_last<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
            (a.is_none(), a).cmp(&(b.is_none(), b))
        }
        self.code
            .cmp(&other.code)
            .then_with(|| nulls_last(self.run, other.run))
            .then_with(|| nulls_last(self.miner, other.miner))
            .then_with(|| nulls_last(self.lead, other.lead))
            .then_with(|| nulls_last(self.row_id, other.row_id))
            .then_with(|| self.table.cmp(other.table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_of_their_names() {
        assert!(Code::ALL.is_sorted_by_key(|code| code.name()));
    }
}
