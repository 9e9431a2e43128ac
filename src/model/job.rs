//! What a job is asked to do: where to read, what to compare, how many threads to use, and whom to tell.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDate, NaiveTime};

use crate::error::{Error, ErrorKind, Result};

use super::difference::Tolerance;
use super::evidence::Run;
use super::filter::ColumnFilter;
use super::ids::{MinerUid, RunId};
use super::settings::Scoring;
use super::time::Micros;

/// What a pass over an opened source is asked to do, validated. How the source is opened is not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub scoring: Scoring,
    pub tolerance: Tolerance,
    pub threads: usize,
    pub filter: ColumnFilter,
    pub narrowing: Narrowing,
}

impl Default for Job {
    /// All runs and columns, the settings of scoring as the specification has them, a thread for each core.
    fn default() -> Self {
        Job {
            scoring: Scoring::default(),
            tolerance: Tolerance::default(),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            filter: ColumnFilter::default(),
            narrowing: Narrowing::default(),
        }
    }
}

/// Where the data is. Shown and debugged without the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A connection URL.
    Postgres(String),
    /// The path of a snapshot folder or of an archive.
    Folder(String),
    /// The URL of an archive.
    Archive(String),
}

impl Location {
    /// A `postgres://` URL, the URL of an archive, or else the path of a folder. The error never repeats the text, which may hold a password.
    pub fn parse(text: &str) -> std::result::Result<Location, &'static str> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("postgres" | "postgresql") => Ok(Location::Postgres(text.to_owned())),
            Some("file" | "s3" | "gs" | "az") => Ok(Location::Archive(text.to_owned())),
            Some(_) => Err("a URL of another scheme"),
            None if text.trim().is_empty() => Err("an empty text"),
            None if text.contains("host=") || text.contains("dbname=") => Err("a key=value connection string"),
            None if redact(text) != text => Err("a URL without its postgres://"),
            None => Ok(Location::Folder(text.to_owned())),
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Location> {
        Location::parse(text).map_err(|what| {
            Error::new(ErrorKind::Usage, "choosing a source", format!("found {what}; expected a URL or a folder"))
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Postgres(url) => f.write_str(&redact(url)),
            Location::Folder(path) | Location::Archive(path) => f.write_str(path),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// A connection URL without its secrets: `postgres://user:***@host/db?password=***`.
///
/// Passwords are often pasted in unescaped, so everything up to the last `@` is taken for user and password: rather too
/// much hidden than too little.
pub fn redact(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let shown = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    format!("{scheme}{}", redact_parameters(&shown))
}

/// Hides the value of every parameter whose name ends in `password`.
fn redact_parameters(text: &str) -> String {
    let Some((head, query)) = text.split_once('?') else { return text.to_owned() };
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().ends_with("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    format!("{head}?{}", query.split('&').map(hide).collect::<Vec<_>>().join("&"))
}

/// What part of the rollups is compared. Evidence is read whole all the same where lifetime rollups need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowing {
    pub runs: RunRange,
    /// Only runs initialised at this time or later.
    pub since: Option<Micros>,
    pub miner: Option<MinerUid>,
    /// False: `miner_stats` and `weather_subnet_stats` over everything are left out.
    pub lifetime: bool,
}

impl Default for Narrowing {
    fn default() -> Self {
        Narrowing { runs: RunRange::default(), since: None, miner: None, lifetime: true }
    }
}

impl Narrowing {
    /// Whether rollups of this run are compared.
    pub fn includes_run(&self, run: &Run) -> bool {
        self.runs.contains(run.id) && self.since.is_none_or(|since| run.gfs_init >= since)
    }

    /// Whether rollups of this miner are compared.
    pub fn includes_miner(&self, miner: MinerUid) -> bool {
        self.miner.is_none_or(|only| only == miner)
    }

    /// True where anything is left out.
    pub fn is_narrow(&self) -> bool {
        *self != Narrowing::default()
    }

    /// Whether runs are chosen.
    pub fn names_runs(&self) -> bool {
        self.runs != RunRange::default() || self.since.is_some()
    }
}

/// What is compared, in words: `runs 7..12, miner 3, without lifetime rollups`.
impl fmt::Display for Narrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = (self.runs != RunRange::default()).then(|| format!("runs {}", self.runs));
        let since = self.since.map(|since| format!("runs initialised since {}", since.iso()));
        let miner = self.miner.map(|miner| format!("miner {miner}"));
        let lifetime = (!self.lifetime).then(|| "no lifetime rollups".to_owned());
        f.write_str(&[runs, since, miner, lifetime].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Runs by id, both ends included: `7`, `7..12`, `7..`, `..12`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunRange {
    pub first: Option<RunId>,
    pub last: Option<RunId>,
}

impl RunRange {
    pub fn contains(&self, run: RunId) -> bool {
        self.first.is_none_or(|first| first <= run) && self.last.is_none_or(|last| run <= last)
    }
}

impl fmt::Display for RunRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |run: Option<RunId>| run.map(|run| run.to_string()).unwrap_or_default();
        match (self.first, self.last) {
            (first, last) if first == last => f.write_str(&end(first)),
            (first, last) => write!(f, "{}..{}", end(first), end(last)),
        }
    }
}

impl FromStr for RunRange {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = "expected a run or a range of runs, both ends included: 7, 7..12, 7.. or ..12";
        let end = |text: &str| match text.trim() {
            "" => Ok(None),
            id => id.parse().map(|id| Some(RunId(id))).map_err(|_| expected.to_owned()),
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (end(first)?, end(last)?),
            None => (end(text)?, end(text)?),
        };
        match (first, last) {
            (None, None) => Err(expected.to_owned()),
            (Some(first), Some(last)) if first > last => Err(format!("starts at {first} and ends before it, at {last}")),
            _ => Ok(RunRange { first, last }),
        }
    }
}

/// A date (its midnight, UTC) or a time with a zone, as the user writes it.
pub fn parse_since(text: &str) -> std::result::Result<Micros, String> {
    let midnight = |date: NaiveDate| Micros(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    Micros::parse(text)
        .or_else(|| text.parse::<NaiveDate>().ok().map(midnight))
        .ok_or_else(|| "expected a date or a time with a zone: 2025-01-31 or 2025-01-31T06:00:00Z".to_owned())
}

/// Whom a job tells how far it is, and asks whether to go on. `()` listens to nothing and never stops.
pub trait Watch: Sync {
    /// `done` of `total` units of a stage are through. May be called from any thread, in any order.
    fn progress(&self, stage: &'static str, done: u64, total: u64);

    /// An error of kind [`crate::error::ErrorKind::Interrupted`] once the user asked to stop.
    fn check(&self) -> Result<()>;
}

impl Watch for () {
    fn progress(&self, _stage: &'static str, _done: u64, _total: u64) {}

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_url_shows_its_password() {
        for (url, shown) in [
            ("postgres://user:pw@host/db", "postgres://user:***@host/db"),
            ("postgresql://user:p@ss:w/rd@host:5432/db", "postgresql://user:***@host:5432/db"),
            ("postgres://user@host/db", "postgres://user@host/db"),
            ("postgres://host/db?user=u&password=pw", "postgres://host/db?user=u&password=***"),
            ("postgres://host/db?sslpassword=pw&sslmode=require", "postgres://host/db?sslpassword=***&sslmode=require"),
            ("postgres://user:p?q@host/db", "postgres://user:***@host/db"),
            ("postgres:/user:pw@host", "postgres:***@host"),
            ("postgres:///db?host=/run/pg", "postgres:///db?host=/run/pg"),
        ] {
            assert_eq!(redact(url), shown);
        }
        let location = Location::parse("Postgres://user:pw@host/db").unwrap();
        assert_eq!(location.to_string(), "Postgres://user:***@host/db");
        assert_eq!(format!("{location:?}"), "Location(Postgres://user:***@host/db)");
    }

    #[test]
    fn a_location_is_a_url_or_a_folder() {
        assert_eq!(Location::parse("data/sample"), Ok(Location::Folder("data/sample".into())));
        assert_eq!(Location::parse("mysql://h/db"), Err("a URL of another scheme"));
        assert_eq!(Location::parse("host=h password=pw"), Err("a key=value connection string"));
        assert_eq!(Location::parse("user:pw@host/db"), Err("a URL without its postgres://"));
        assert_eq!(Location::parse("postgres:/user:pw@host"), Err("a URL without its postgres://"));
        assert_eq!(Location::parse(" "), Err("an empty text"));
    }

    #[test]
    fn a_range_of_runs_includes_both_ends() {
        let range: RunRange = "7..12".parse().unwrap();
        assert!(range.contains(RunId(7)) && range.contains(RunId(12)) && !range.contains(RunId(13)));
        assert!("..12".parse::<RunRange>().unwrap().contains(RunId(-1)));
        assert!(!"7..".parse::<RunRange>().unwrap().contains(RunId(6)));
        assert_eq!("7".parse::<RunRange>(), "7..7".parse());
        for bad in ["", "..", "a..b", "12..7", "1...3"] {
            assert!(bad.parse::<RunRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_date_or_a_time() {
        assert_eq!(parse_since("2025-01-31"), Ok(Micros::parse("2025-01-31T00:00:00Z").unwrap()));
        assert_eq!(parse_since("2025-01-31T02:00:00+02:00"), parse_since("2025-01-31"));
        assert!(parse_since("yesterday").is_err());
    }
}
