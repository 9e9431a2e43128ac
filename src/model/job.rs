//! What a job is asked to do: where to read, what to compare, how many threads to use, and whom to tell.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveTime};

use crate::error::{Error, ErrorKind, Result};

use super::baseline::Baseline;
use super::difference::Tolerance;
use super::filter::ColumnFilter;
use super::habit::Profile;
use super::settings::Scoring;
use super::time::Micros;

pub use super::narrowing::{Narrowing, RunRange};

/// What a pass over an opened source is asked to do, validated. How the source is opened is not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub scoring: Scoring,
    pub tolerance: Tolerance,
    pub threads: usize,
    pub filter: ColumnFilter,
    pub narrowing: Narrowing,
    /// What is no news.
    pub profile: Option<Arc<Profile>>,
    /// What is accepted as it is stored.
    pub baseline: Option<Arc<Baseline>>,
    /// Of what the pass writes as Parquet.
    pub encoding: Encoding,
}

/// How doubles are stored in Parquet files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As they are, compressed: every reader can.
    #[default]
    Plain,
    /// Their bytes split into streams, then compressed: about a tenth smaller, and unreadable for Spark and fastparquet.
    Compact,
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
            profile: None,
            baseline: None,
            encoding: Encoding::default(),
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
    ///
    /// # Errors
    /// What the text is, where it is none of these.
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
            Location::Postgres(url) | Location::Archive(url) => f.write_str(&redact(url)),
            Location::Folder(path) => f.write_str(path),
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
    ///
    /// # Errors
    /// Whatever is to end the job: it becomes the error of the job.
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
    fn since_is_a_date_or_a_time() {
        assert_eq!(parse_since("2025-01-31"), Ok(Micros::parse("2025-01-31T00:00:00Z").unwrap()));
        assert_eq!(parse_since("2025-01-31T02:00:00+02:00"), parse_since("2025-01-31"));
        assert!(parse_since("yesterday").is_err());
    }
}
