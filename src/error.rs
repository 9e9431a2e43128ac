//! The one error of recount: what kind, what we were doing, what went wrong, what to do about it.
//!
//! The kind decides the exit status. No text in here may carry a credential or a miner's address.

use std::fmt;

/// What went wrong, as far as a caller has to tell one case from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line, the environment or `recount.toml` asks for something that makes no sense.
    Usage,
    /// A value in a table or file breaks its contract.
    Data,
    /// The catalogue of the database does not match the model.
    Contract,
    /// The server cannot be reached, went away, or refused a statement.
    Database,
    /// The server asks for the whole transaction to be tried again.
    Retry,
    /// A file or folder cannot be read or written.
    Io,
    /// A snapshot folder is damaged, incomplete, edited or of a newer format.
    Snapshot,
    /// A guard stopped the job before it wrote anything.
    Refused,
    /// The user asked to stop.
    Interrupted,
}

pub type Result<T> = std::result::Result<T, Error>;

/// An error with its context; the parts are boxed so that `Result` stays small.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    doing: String,
    detail: String,
    hint: Option<String>,
    settings: &'static [&'static str],
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// `doing` is what was attempted ("reading weather_miner_scores of run 7"), `detail` what stood in its way.
    pub fn new(kind: ErrorKind, doing: impl Into<String>, detail: impl fmt::Display) -> Self {
        Error(Box::new(Parts { kind, doing: doing.into(), detail: detail.to_string(), hint: None, settings: &[], source: None }))
    }

    /// What the reader can do about it, printed on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The keys of the settings that the error is about, as `recount.toml` has them.
    #[must_use]
    pub fn about(mut self, settings: &'static [&'static str]) -> Self {
        self.0.settings = settings;
        self
    }

    /// Changes what stood in its way, as where a server's message must not be told as it is.
    #[must_use]
    pub fn map_detail(mut self, change: impl FnOnce(&str) -> String) -> Self {
        self.0.detail = change(&self.0.detail);
        self
    }

    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same without what caused it, for where a library only lends the error that it was given.
    #[cfg(feature = "query")]
    #[must_use]
    pub fn copied(&self) -> Self {
        let Parts { kind, doing, detail, hint, settings, source: _ } = &*self.0;
        let (doing, detail, hint) = (doing.clone(), detail.clone(), hint.clone());
        Error(Box::new(Parts { kind: *kind, doing, detail, hint, settings, source: None }))
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// See [`Error::about`].
    pub fn settings(&self) -> &'static [&'static str] {
        self.0.settings
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// 2 for errors and bad usage, 3 where a guard refused, 130 where the user interrupted.
    pub fn exit_status(&self) -> u8 {
        match self.0.kind {
            ErrorKind::Refused => 3,
            ErrorKind::Interrupted => 130,
            _ => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.doing, self.0.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e.as_ref() as _)
    }
}

/// `result.doing(kind, || "reading …")`: gives a foreign error its context.
pub trait Context<T> {
    fn doing(self, kind: ErrorKind, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn doing(self, kind: ErrorKind, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::new(kind, doing(), &e).caused_by(e))
    }
}
