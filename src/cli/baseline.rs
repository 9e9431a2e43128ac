//! `recount baseline write`, and the file it writes: what an operator has looked at and accepts as it is stored.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::path::{is_refusal, read_regular};
use crate::files::replace::replace;
use crate::model::baseline::{Accepted, Baseline};
use crate::model::difference::{Class, RowKey};
use crate::model::filter::STORED_TABLES;
use crate::model::value::canonical_json;
use crate::pipeline;

use super::args::{Global, Reading};
use super::report::counted;
use super::{Status, prepare, print};

pub const BASELINE_EXAMPLES: &str = "\
Examples:
  recount baseline write data/sample --out baseline.json --reason \"before the fix of 12 May\"
  recount reconcile data/sample --baseline baseline.json

The file has an entry a line, each with its reason: it can be kept under version control, and edited by hand.
Exit status: 0 written, 2 error or bad usage, 130 interrupted.";

/// Raised when the form of the file changes.
const VERSION: u32 = 1;
/// The largest file that is read or written: nobody has looked at a hundred thousand differences.
const BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct BaselineArgs {
    #[command(subcommand)]
    pub action: BaselineAction,
}

impl BaselineArgs {
    pub fn reading(&self) -> &Reading {
        let BaselineAction::Write { reading, .. } = &self.action;
        reading
    }
}

#[derive(Debug, Subcommand)]
pub enum BaselineAction {
    /// Accept every difference that there is now; entries that are in FILE already keep their reasons, and those that are gone leave it
    #[command(after_help = BASELINE_EXAMPLES)]
    Write {
        #[command(flatten)]
        reading: Box<Reading>,
        /// File to write, or to bring up to date
        #[arg(long, value_name = "FILE", help_heading = "Baselines")]
        out: PathBuf,
        /// Why they are accepted
        #[arg(long, value_name = "TEXT", help_heading = "Baselines")]
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    table: String,
    key: Key,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    /// `missing` or `extra` of a whole row.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    /// Absent of a whole row.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    stored: Option<Json>,
    reason: String,
}

/// A stored NULL is there; only what is not written is absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    miner_uid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast_run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    accepted: Vec<Entry>,
}

pub fn run(args: &BaselineArgs, global: &Global) -> Result<Status> {
    let BaselineAction::Write { reading, out, reason } = &args.action;
    if reason.trim().is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            "reading the command line",
            "--reason is empty; expected why they are accepted",
        ));
    }
    let (settings, monitor) = prepare(global, reading)?;
    let before = if out.exists() { load(&out.to_string_lossy())?.accepted.clone() } else { BTreeMap::new() };
    let job = settings.job();
    if job.narrowing.is_narrow() || job.filter.is_narrow() {
        return Err(Error::new(
            ErrorKind::Usage,
            "writing a baseline",
            "only a part would be compared, and the rest seem to be gone",
        )
        .hint("leave --runs, --since, --miner, --no-lifetime, --columns and --ignore out"));
    }
    let outcome = pipeline::reconcile("reconcile", &job, &settings.open()?, &monitor)?;
    let wrong = outcome.differences.iter().filter(|found| found.is_wrong());
    let accepted: BTreeMap<Accepted, String> = wrong
        .map(Accepted::of)
        .map(|entry| {
            let reason = before.get(&entry).unwrap_or(reason).clone();
            (entry, reason)
        })
        .collect();
    let new = accepted.keys().filter(|entry| !before.contains_key(entry)).count() as u64;
    let gone = before.keys().filter(|entry| !accepted.contains_key(entry)).count() as u64;
    let text = text_of(&accepted).doing(ErrorKind::Data, || "writing a baseline".to_owned())?;
    if text.len() as u64 > BYTES_MAX {
        let detail = format!(
            "{} make {} bytes; a baseline has at most {BYTES_MAX}",
            counted(accepted.len() as u64, "difference"),
            text.len()
        );
        return Err(Error::new(ErrorKind::Usage, "writing a baseline", detail)
            .hint("correct what can be corrected first (`recount reconcile --apply`), and name a --profile for what the validator stores by habit"));
    }
    replace(out, &text)?;
    let all = counted(accepted.len() as u64, "difference");
    let out = out.display();
    print(&format!("{out}: {all} accepted as stored; {new} new in it, {gone} gone from it.\n"), monitor)?;
    Ok(Status::Done)
}

/// An entry a line, in order, so that two versions of the file can be compared line by line.
fn text_of(accepted: &BTreeMap<Accepted, String>) -> serde_json::Result<String> {
    let mut text = format!("{{\"version\": {VERSION}, \"accepted\": [");
    for (at, (entry, reason)) in accepted.iter().enumerate() {
        let whole = matches!(entry.class, Class::Missing | Class::Extra);
        let line = serde_json::to_string(&Entry {
            table: entry.table.to_owned(),
            key: Key::of(&entry.key),
            column: entry.column.clone(),
            row: whole.then(|| entry.class.name().to_owned()),
            stored: if whole { None } else { Some(serde_json::from_str(&entry.stored)?) },
            reason: reason.clone(),
        })?;
        let _ = write!(text, "{}\n{line}", if at > 0 { "," } else { "" });
    }
    Ok(text + "\n]}\n")
}

/// Reads a baseline.
///
/// # Errors
/// [`ErrorKind::Usage`] for a file that is none; [`ErrorKind::Io`] where it cannot be read.
pub fn load(name: &str) -> Result<Arc<Baseline>> {
    let doing = || format!("reading the baseline {name}");
    match read_regular(Path::new(name), BYTES_MAX) {
        Err(error) if is_refusal(&error) => {
            let detail = format!("expected a regular file of at most {BYTES_MAX} bytes");
            Err(Error::new(ErrorKind::Usage, doing(), detail).about(&["baseline"]))
        }
        read => parse(name, &read.doing(ErrorKind::Io, doing)?),
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<Arc<Baseline>> {
    let refuse = |detail: String| {
        Error::new(ErrorKind::Usage, format!("reading the baseline {name}"), detail)
            .about(&["baseline"])
            .hint("`recount baseline write SOURCE --out FILE --reason TEXT` writes one")
    };
    let file: File = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
    if file.version != VERSION {
        return Err(refuse(format!("it is of version {}; this program reads version {VERSION}", file.version)));
    }
    let mut accepted = BTreeMap::new();
    for (at, entry) in file.accepted.into_iter().enumerate() {
        let (entry, reason) = accepted_of(entry).map_err(|what| refuse(format!("entry {}: {what}", at + 1)))?;
        accepted.insert(entry, reason);
    }
    Ok(Arc::new(Baseline { name: name.to_owned(), accepted }))
}

fn accepted_of(entry: Entry) -> std::result::Result<(Accepted, String), &'static str> {
    let table = STORED_TABLES.iter().find(|(known, _)| *known == entry.table).ok_or("table is none of the rollup tables")?.0;
    let class = match (entry.row.as_deref(), &entry.column, &entry.stored) {
        (None, Some(_), Some(_)) => Class::Drift,
        (Some("missing"), None, None) => Class::Missing,
        (Some("extra"), None, None) => Class::Extra,
        _ => return Err("expected a column and its stored value, or row: missing or extra"),
    };
    let stored = canonical_json(&entry.stored.unwrap_or(Json::Null));
    Ok((Accepted { table, key: entry.key.into(), column: entry.column, class, stored }, entry.reason))
}

impl Key {
    fn of(key: &RowKey) -> Key {
        let RowKey { miner_uid, forecast_run_id, scope, run_id } = key.clone();
        Key { miner_uid, forecast_run_id, scope, run_id }
    }
}

impl From<Key> for RowKey {
    fn from(key: Key) -> RowKey {
        let Key { miner_uid, forecast_run_id, scope, run_id } = key;
        RowKey { miner_uid, forecast_run_id, scope, run_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted() -> BTreeMap<Accepted, String> {
        let run = |miner| RowKey {
            miner_uid: Some(miner),
            forecast_run_id: Some("f".to_owned()),
            run_id: Some(7),
            ..RowKey::default()
        };
        let cell = |miner, stored: &str| Accepted {
            table: "weather_forecast_stats",
            key: run(miner),
            column: Some("overall_forecast_score".to_owned()),
            class: Class::Drift,
            stored: stored.to_owned(),
        };
        let lone = Accepted {
            table: "miner_stats",
            key: RowKey { miner_uid: Some(3), ..RowKey::default() },
            column: None,
            class: Class::Extra,
            stored: "null".to_owned(),
        };
        let stored = ["0.1", "null", "\"NaN\"", "{\"a\":[1,0.30000000000000004]}"];
        let cells = stored.iter().enumerate().map(|(miner, stored)| cell(miner as i32, stored));
        cells.chain([lone]).map(|entry| (entry, "seen".to_owned())).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = text_of(&accepted()).unwrap();
        assert_eq!(parse("b.json", text.as_bytes()).unwrap().accepted, accepted());
        insta::assert_snapshot!(text.lines().take(3).collect::<Vec<_>>().join("\n"), @r#"
        {"version": 1, "accepted": [
        {"table":"miner_stats","key":{"miner_uid":3},"row":"extra","reason":"seen"},
        {"table":"weather_forecast_stats","key":{"miner_uid":0,"forecast_run_id":"f","run_id":7},"column":"overall_forecast_score","stored":0.1,"reason":"seen"},
        "#);
        assert_eq!(text.lines().count(), accepted().len() + 2, "an entry a line");
        let none = text_of(&BTreeMap::new()).unwrap();
        assert!(parse("b.json", none.as_bytes()).unwrap().accepted.is_empty());
    }

    #[test]
    fn what_is_no_baseline_is_refused_by_name() {
        let told = |text: &str| parse("b.json", text.as_bytes()).unwrap_err().to_string();
        insta::assert_snapshot!(told(r#"{"version": 2, "accepted": []}"#), @"reading the baseline b.json: it is of version 2; this program reads version 1");
        insta::assert_snapshot!(told(r#"{"version": 1, "accepted": [{"table": "node_table", "key": {}, "row": "extra", "reason": ""}]}"#), @"reading the baseline b.json: entry 1: table is none of the rollup tables");
        insta::assert_snapshot!(told(r#"{"version": 1, "accepted": [{"table": "miner_stats", "key": {}, "column": "miner_rank", "reason": ""}]}"#), @"reading the baseline b.json: entry 1: expected a column and its stored value, or row: missing or extra");
        assert!(told("[]").contains("reading the baseline b.json"));
    }
}
