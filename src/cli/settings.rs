//! From what was typed, the environment and `recount.toml`, over the defaults, to settings that are whole and make sense.
//!
//! Each key remembers where its value came from, so that errors and `recount config` can say so.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::difference::Tolerance;
use crate::model::filter::ColumnFilter;
use crate::model::habit::Profile;
use crate::model::job::{Encoding, Job, Location, Narrowing, redact};
use crate::model::settings::Scoring;
use crate::model::writing::UpdatedAt;
use crate::pipeline::{self, Source, SourceOptions};

use super::baseline;
use super::keys::{KEYS, Key, KeyScope};
use super::profile;
use super::telling::FailOn;
use super::values::{Color, Format};

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "recount.toml";
/// Threads and connections for each core, and in all.
const PER_CORE_MAX: NonZeroUsize = NonZeroUsize::new(4).unwrap();
const THREADS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Environment variables with our prefix that are read elsewhere.
const OTHER_ENV: [&str; 4] = ["RECOUNT_CONFIG", "RECOUNT_LOG_FORMAT", "RECOUNT_STATUS", "RECOUNT_HEADLINE"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Env(String),
    /// As the user types it: `--threads`, or `SOURCE`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Env(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// What is in force.
#[derive(Debug, Clone)]
pub struct Settings {
    pub source: Option<Location>,
    pub format: Format,
    pub color: Color,
    /// A password may be sent in a form that can be read on the network.
    pub allow_cleartext_password: bool,
    pub password_file: Option<String>,
    pub connections: NonZeroUsize,
    /// Seconds.
    pub statement_timeout: NonZeroUsize,
    pub threads: NonZeroUsize,
    pub tolerance: Tolerance,
    pub columns: Vec<String>,
    pub ignore: Vec<String>,
    /// For rows that are inserted.
    pub validator_hotkey: Option<String>,
    /// What a correction makes of `updated_at`.
    pub updated_at: UpdatedAt,
    /// Of doubles in Parquet files.
    pub encoding: Encoding,
    /// `reconcile` reads only what has changed since the state in this folder.
    pub incremental: bool,
    pub state: Option<String>,
    /// What the validator stores by habit.
    pub profile: Option<String>,
    /// What is accepted as it is stored.
    pub baseline: Option<String>,
    /// What makes the exit status of a comparison 1.
    pub fail_on: FailOn,
    pub scoring: Scoring,
    /// Made from `profile`.
    pub habits: Option<Arc<Profile>>,
    /// Made from `columns` and `ignore`.
    pub filter: ColumnFilter,
    /// Only ever typed: in a file, it would quietly hide drift.
    pub narrowing: Narrowing,
    /// What the user should hear about the settings themselves.
    pub warnings: Vec<String>,
    /// By flag name; what is not here is a default.
    origins: BTreeMap<&'static str, Origin>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            source: None,
            format: Format::Terminal,
            color: Color::Auto,
            allow_cleartext_password: false,
            password_file: None,
            connections: NonZeroUsize::MIN.saturating_add(1),
            statement_timeout: NonZeroUsize::MIN.saturating_add(3599),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            tolerance: Tolerance::default(),
            columns: Vec::new(),
            ignore: Vec::new(),
            validator_hotkey: None,
            updated_at: UpdatedAt::default(),
            encoding: Encoding::default(),
            incremental: false,
            state: None,
            profile: None,
            baseline: None,
            fail_on: FailOn::default(),
            scoring: Scoring::default(),
            habits: None,
            filter: ColumnFilter::default(),
            narrowing: Narrowing::default(),
            warnings: Vec::new(),
            origins: BTreeMap::new(),
        }
    }
}

/// What the settings are made from, weakest first.
#[derive(Debug, Default)]
pub struct Layers {
    pub file: Option<(PathBuf, toml::Table)>,
    pub env: BTreeMap<String, String>,
    /// By flag name.
    pub flags: BTreeMap<&'static str, String>,
    pub narrowing: Narrowing,
}

impl Settings {
    /// Lays the layers over the defaults and holds the result against its rules.
    pub fn resolve(layers: &Layers) -> Result<Settings> {
        let mut settings = Settings { narrowing: layers.narrowing.clone(), ..Settings::default() };
        if let Some((path, table)) = &layers.file {
            check_names(path, table)?;
        }
        for key in KEYS {
            settings.apply(key, layers)?;
        }
        settings.warnings = unknown_env(&layers.env);
        settings.bound();
        settings.validate()?;
        settings.filter = ColumnFilter::parse(&settings.columns, &settings.ignore).map_err(|e| settings.blame(e))?;
        settings.habits = settings.profile.as_deref().map(profile::load).transpose().map_err(|e| settings.blame(e))?;
        Ok(settings)
    }

    /// Takes the key's value from the strongest layer that has it; weaker ones are checked all the same.
    fn apply(&mut self, key: &Key, layers: &Layers) -> Result<()> {
        if let Some((path, table)) = &layers.file {
            let table = key.section().map_or(Some(table), |section| table.get(section)?.as_table());
            if let Some(value) = table.and_then(|table| table.get(&key.name())) {
                self.set(key, Origin::File(path.clone()), Input::Toml(value))?;
            }
        }
        // An empty variable is how one unsets it for a single command.
        if let Some(text) = layers.env.get(&key.env()).filter(|text| !text.is_empty()) {
            self.set(key, Origin::Env(key.env()), Input::Text(text))?;
        }
        if let Some(text) = layers.flags.get(key.flag) {
            let typed = if key.scope == KeyScope::Argument { key.value_name.to_owned() } else { format!("--{}", key.flag) };
            self.set(key, Origin::Flag(typed), Input::Text(text))?;
        }
        Ok(())
    }

    fn set(&mut self, key: &Key, origin: Origin, input: Input<'_>) -> Result<()> {
        let slot = (key.slot)(self);
        let taken = match input {
            Input::Text(text) => slot.set_text(text),
            Input::Toml(value) => slot.set_toml(value),
        };
        if taken {
            self.origins.insert(key.flag, origin);
            return Ok(());
        }
        let found = match input {
            Input::Text(text) => slot.quote(text),
            Input::Toml(toml::Value::String(text)) => format!("the string {}", slot.quote(text)),
            Input::Toml(value) => format!("the {} {}", value.type_str(), redact(&value.to_string())),
        };
        let place = match &origin {
            Origin::File(path) => format!("{}, key {}", path.display(), key.path()),
            origin => origin.to_string(),
        };
        Err(Error::new(ErrorKind::Usage, place, format!("found {found}; expected {}", slot.expected())))
    }

    /// More threads or connections than a machine has use for only cost memory, and thousands of them bring it down.
    fn bound(&mut self) {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let most = cores.saturating_mul(PER_CORE_MAX).min(THREADS_MAX);
        for (name, number) in [("threads", &mut self.threads), ("connections", &mut self.connections)] {
            if *number > most {
                self.warnings.push(format!(
                    "{name}: {number} is more than this machine has use for; {most} are taken (four for each core, at most {THREADS_MAX})"
                ));
                *number = most;
            }
        }
    }

    fn validate(&self) -> Result<()> {
        for (name, value) in [(&["atol"], self.tolerance.atol), (&["rtol"], self.tolerance.rtol)] {
            if !(value >= 0.0 && value.is_finite()) {
                let detail = format!("is {value}; expected a finite number that is not negative");
                return Err(self.blame(Error::new(ErrorKind::Usage, format!("setting {}", name[0]), detail).about(name)));
            }
        }
        self.scoring.validate().map_err(|error| self.blame(error))
    }

    /// Adds to an error about settings where the settings that it names come from.
    fn blame(&self, error: Error) -> Error {
        let named = KEYS.iter().filter(|key| error.settings().contains(&key.name().as_str()));
        let origins: Vec<_> = named
            .filter_map(|key| Some(format!("{} is set by {}", key.name(), self.origins.get(key.flag)?)))
            .chain(error.hint_text().map(str::to_owned))
            .collect();
        if origins.is_empty() { error } else { error.hint(origins.join("\n")) }
    }

    pub fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(key.flag).unwrap_or(&Origin::Default)
    }

    /// What a pass over the source is asked to do.
    pub fn job(&self) -> Job {
        Job {
            scoring: self.scoring.clone(),
            tolerance: self.tolerance,
            threads: self.threads.get(),
            filter: self.filter.clone(),
            narrowing: self.narrowing.clone(),
            profile: self.habits.clone(),
            baseline: None,
            encoding: self.encoding,
        }
    }

    /// The same for a comparison whose report leaves out what is accepted.
    pub fn job_against_baseline(&self) -> Result<Job> {
        let baseline = self.baseline.as_deref().map(baseline::load).transpose().map_err(|error| self.blame(error))?;
        Ok(Job { baseline, ..self.job() })
    }

    /// Opens the source that is named.
    pub fn open(&self) -> Result<Source> {
        self.open_with(SourceOptions::default())
    }

    /// The same for a comparison that is reported. `position`: the command asks later what has changed since an earlier snapshot.
    pub fn open_to_compare(&self, position: bool) -> Result<Source> {
        self.open_with(SourceOptions { position, weights: true, ..SourceOptions::default() })
    }

    fn open_with(&self, options: SourceOptions) -> Result<Source> {
        let options = SourceOptions {
            connections: self.connections.get(),
            statement_timeout: Duration::from_secs(self.statement_timeout.get() as u64),
            ..options
        };
        pipeline::open(self.source()?, &options)
    }

    /// The source, or an error that tells how to name one.
    pub fn source(&self) -> Result<&Location> {
        self.source.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Usage, "choosing a source", "no SOURCE is given and DATABASE_URL is not set")
                .hint("name a PostgreSQL URL or a snapshot folder, for example: recount reconcile data/sample")
        })
    }
}

/// A value as a layer has it.
#[derive(Clone, Copy)]
enum Input<'a> {
    Text(&'a str),
    Toml(&'a toml::Value),
}

/// Reads the named file, or `recount.toml` of the current folder where there is one.
pub fn read_file(named: Option<&Path>) -> Result<Option<(PathBuf, toml::Table)>> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    if named.is_none() && !path.exists() {
        return Ok(None);
    }
    let doing = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).doing(ErrorKind::Usage, doing)?;
    parse_file(path, &text).map(Some)
}

/// The same of a text that was read.
pub fn parse_file(path: &Path, text: &str) -> Result<(PathBuf, toml::Table)> {
    let table = text.parse::<toml::Table>().map_err(|e| {
        // Not the error's own text: that repeats the line, which may hold a password.
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.lines().count().max(1);
        Error::new(ErrorKind::Usage, format!("reading {}", path.display()), format!("line {line}: {}", e.message()))
    })?;
    Ok((path.to_owned(), table))
}

/// Refuses a key that does not exist, or stands in the wrong table.
fn check_names(path: &Path, table: &toml::Table) -> Result<()> {
    let refuse = |key: &str, detail: &str| {
        let error = Error::new(ErrorKind::Usage, path.display().to_string(), detail);
        let known = KEYS.iter().flat_map(|known| [Some(known.path()), known.section().map(str::to_owned)]).flatten();
        match known.min_by_key(|known| strsim::levenshtein(last(key), last(known))) {
            Some(known) => Err(error.hint(format!("the nearest known key is {known}"))),
            None => Err(error),
        }
    };
    for (name, value) in table {
        let top = KEYS.iter().any(|key| key.path() == *name);
        match value.as_table().filter(|_| name == "scoring") {
            Some(scoring) => {
                for name in scoring.keys().map(|name| format!("scoring.{name}")) {
                    if !KEYS.iter().any(|key| key.path() == name) {
                        return refuse(&name, &format!("unknown key {name}"));
                    }
                }
            }
            None if name == "scoring" => {
                let detail = format!("key scoring: found the {} {value}; expected a table", value.type_str());
                return Err(Error::new(ErrorKind::Usage, path.display().to_string(), detail));
            }
            None if !top => return refuse(name, &format!("unknown key {name}")),
            None => {}
        }
    }
    Ok(())
}

/// A variable with our prefix that no key has: most likely a slip.
fn unknown_env(env: &BTreeMap<String, String>) -> Vec<String> {
    env.keys()
        .filter(|name| name.starts_with("RECOUNT_") && !OTHER_ENV.contains(&name.as_str()))
        .filter(|name| !KEYS.iter().any(|key| key.env() == **name))
        .map(|name| format!("{name} is set, but there is no such setting"))
        .collect()
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
