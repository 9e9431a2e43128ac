//! The one table of everything that can be set.
//!
//! A key is written once here; its flag, its environment variable, its place in `recount.toml`, its help and its line in
//! `recount config` follow from that.

use super::settings::Settings;
use super::values::Setting;

/// Which commands take the key as a flag, and where it stands in `recount.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyScope {
    /// The positional argument SOURCE; top level of the file.
    Argument,
    /// Every command; top level of the file.
    Global,
    /// Commands that read; top level of the file.
    Reading,
    /// `reconcile` (and what else lists the flag itself); top level of the file.
    Reconcile,
    /// Commands that read; `[scoring]` in the file.
    Scoring,
}

/// One thing that can be set.
pub struct Key {
    /// As a flag without its dashes; see [`Key::name`] for the other spellings.
    pub flag: &'static str,
    pub scope: KeyScope,
    pub value_name: &'static str,
    pub help: &'static str,
    /// Where its value lives.
    pub slot: fn(&mut Settings) -> &mut dyn Setting,
}

const fn key(
    flag: &'static str,
    scope: KeyScope,
    value_name: &'static str,
    help: &'static str,
    slot: fn(&mut Settings) -> &mut dyn Setting,
) -> Key {
    Key { flag, scope, value_name, help, slot }
}

use KeyScope::{Argument, Global, Reading, Reconcile, Scoring};

#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("source", Argument, "SOURCE", "PostgreSQL URL or snapshot folder to read", |s| &mut s.source),
    key("format", Global, "FORMAT", "Form of the result on stdout: terminal or json", |s| &mut s.format),
    key("color", Global, "WHEN", "Colours: auto, always or never; auto heeds NO_COLOR", |s| &mut s.color),
    key("allow-cleartext-password", Global, "BOOL", "Send a password in clear text or as an MD5 hash over a connection without TLS, where the server asks so", |s| &mut s.allow_cleartext_password),
    key("password-file", Global, "FILE", "Take the password of the database from FILE, which others must not be able to read", |s| &mut s.password_file),
    key("connections", Reading, "N", "Database connections that read at once; at most four for each core, and 256", |s| &mut s.connections),
    key("statement-timeout", Reading, "SECONDS", "Seconds that one statement may take on the server", |s| &mut s.statement_timeout),
    key("threads", Reading, "N", "Threads that recompute; at most four for each core, and 256", |s| &mut s.threads),
    key("atol", Reading, "X", "Numbers this close are within tolerance, whatever their size", |s| &mut s.tolerance.atol),
    key("rtol", Reading, "X", "Numbers this close are within tolerance, as a share of the larger one", |s| &mut s.tolerance.rtol),
    key("columns", Reading, "GROUP|NAME,…", "Compare only these: scores, ranks, status, errors, hosting, activity, a column, or table.column", |s| &mut s.columns),
    key("ignore", Reading, "GROUP|NAME,…", "Do not compare these, named as for --columns", |s| &mut s.ignore),
    key("validator-hotkey", Reading, "HOTKEY", "validator_hotkey of rows that --apply inserts; without it, that of the newest stored row", |s| &mut s.validator_hotkey),
    key("encoding", Reading, "plain|compact", "How Parquet files store doubles: plain (for every reader) or compact (a tenth smaller; Spark and fastparquet cannot read it)", |s| &mut s.encoding),
    key("updated-at", Reconcile, "ordered|now|keep", "What a correction makes of updated_at: ordered keeps who is newest of a miner, now moves it in every row, keep in none", |s| &mut s.updated_at),
    key("incremental", Reconcile, "BOOL", "reconcile reads only runs that are open or have changed", |s| &mut s.incremental),
    key("state", Reconcile, "DIR", "Folder for what reconcile keeps from job to job", |s| &mut s.state),
    key("profile", Reconcile, "NAME|FILE", "What the validator's own code stores by habit, counted apart from drift: gaia-2.9, or a .toml file", |s| &mut s.profile),
    key("baseline", Reconcile, "FILE", "What was looked at and is accepted as it is stored, counted apart from drift: a file of `recount baseline write`", |s| &mut s.baseline),
    key("fail-on", Reconcile, "WHAT,…", "What makes the exit status 1: drift, missing, extra, unproven, habit, within, a group, a cause, a finding's code or severity", |s| &mut s.fail_on),
    key("expected-leads", Scoring, "HOURS,…", "Lead times that a complete forecast has, ascending", |s| &mut s.scoring.expected_leads),
    key("expected-variables", Scoring, "NAME,…", "Variables that a scored lead has", |s| &mut s.scoring.expected_variables),
    key("era5-weight", Scoring, "X", "Weight of the ERA5 score; divided by the sum of both weights", |s| &mut s.scoring.era5_weight),
    key("day1-weight", Scoring, "X", "Weight of the passed Day-1 check; divided by the sum of both weights", |s| &mut s.scoring.day1_weight),
    key("day1-pass-threshold", Scoring, "X", "Day-1 score from which the check is passed", |s| &mut s.scoring.day1_pass_threshold),
    key("max-retries", Scoring, "N|STEP=N,…", "Retries of a step: one number, or default=3,query=5", |s| &mut s.scoring.max_retries),
    key("rank-method", Scoring, "METHOD", "How equal scores rank: competition (1,2,2,4) or dense (1,2,2,3)", |s| &mut s.scoring.rank_method),
    key("failed-response-statuses", Scoring, "NAME,…", "Statuses of a response that count as failed", |s| &mut s.scoring.failed_response_statuses),
    key("run-level-steps", Scoring, "NAME,…", "Steps that describe the run, not a miner", |s| &mut s.scoring.run_level_steps),
    key("forecast-type", Scoring, "NAME", "Name of the forecast in error_rate_by_type", |s| &mut s.scoring.forecast_type),
    key("step-retention-days", Scoring, "DAYS", "Age in days at which the validator deletes finished steps; 0: it never does", |s| &mut s.scoring.step_retention_days),
    key("snapshot-time", Scoring, "TIME", "Take this as the time of the snapshot: 2025-01-31T06:00:00Z", |s| &mut s.scoring.snapshot_time),
];

impl Key {
    /// As it is written in `recount.toml`: `rank_method`.
    pub fn name(&self) -> String {
        self.flag.replace('-', "_")
    }

    /// The name with its section: `scoring.rank_method`.
    pub fn path(&self) -> String {
        match self.section() {
            Some(section) => format!("{section}.{}", self.name()),
            None => self.name(),
        }
    }

    /// The table of `recount.toml` that the key stands in.
    pub fn section(&self) -> Option<&'static str> {
        (self.scope == KeyScope::Scoring).then_some("scoring")
    }

    /// The environment variable: `RECOUNT_RANK_METHOD`. The source has the name that every tool knows.
    pub fn env(&self) -> String {
        match self.scope {
            KeyScope::Argument => "DATABASE_URL".to_owned(),
            _ => format!("RECOUNT_{}", self.name().to_ascii_uppercase()),
        }
    }
}
