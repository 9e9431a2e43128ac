//! stdout: what it looks like, and that a closed pipe is no failure.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::time::Micros;
use crate::model::visible;

use super::args::LogFormat;
use super::values::Color;

/// Where stdout is no window and COLUMNS is not set, whatever reads it breaks lines as it likes, if it does.
const ENDLESS: u16 = u16::MAX;
/// Columns of a window that does not tell its width.
const UNKNOWN_WIDTH: u16 = 100;
/// Wider lines are hard to follow, however wide the window.
const MAX_WIDTH: u16 = 160;
/// Narrower ones break what must stay whole.
const MIN_WIDTH: u16 = 40;

/// Whether anything is painted: else no ESC is ours.
static PAINTS: AtomicBool = AtomicBool::new(false);

/// How a report for people is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub color: bool,
    pub width: u16,
}

impl Look {
    /// For stdout, as it is now.
    pub fn of(color: Color) -> Look {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => io::stdout().is_terminal() && wants_color(),
        };
        PAINTS.fetch_or(color, Ordering::Relaxed);
        Look { color, width: width() }
    }

    pub fn for_stderr() -> Look {
        let color = io::stderr().is_terminal() && wants_color();
        PAINTS.fetch_or(color, Ordering::Relaxed);
        Look { color, width: UNKNOWN_WIDTH }
    }

    /// The text in an ANSI style, for example `1;31`.
    pub fn paint(self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The columns that a line may take: COLUMNS, else those of the window, else as many as it needs.
fn width() -> u16 {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok()).filter(|columns| *columns > 0);
    let window = || match io::stdout().is_terminal() {
        true => comfy_table::Table::new().width().unwrap_or(UNKNOWN_WIDTH).min(MAX_WIDTH),
        false => ENDLESS,
    };
    asked.unwrap_or_else(window).max(MIN_WIDTH)
}

/// https://no-color.org: set and not empty means no colours.
fn wants_color() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && !is_dumb()
}

/// A terminal that neither paints nor moves its cursor.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// What is printed, with nothing of others in it that a terminal would obey.
fn visible(text: &str) -> std::borrow::Cow<'_, str> {
    visible::lines(text, PAINTS.load(Ordering::Relaxed))
}

/// Writes a message to stderr. Where that cannot be written, nobody can be told so, and the work goes on.
pub fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(visible(text).as_bytes());
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Error,
    Warning,
    Note,
    /// What happens right now.
    Event,
}

impl Message {
    /// What stands before it for people, and that of its level in a log.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Message::Error => ("error: ", "ERROR"),
            Message::Warning => ("warning: ", "WARN"),
            Message::Note => ("note: ", "INFO"),
            Message::Event => ("", "INFO"),
        }
    }
}

/// Whether messages are JSON. Set once, before there are any but those about the command line itself.
static JSON: AtomicBool = AtomicBool::new(false);

/// Sets the form of all messages from now on.
pub fn log_as(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// A message on stderr, and on a line of its own what can be done about it.
pub fn tell(message: Message, text: &str, hint: Option<&str>) {
    let (name, level) = message.names();
    if JSON.load(Ordering::Relaxed) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        let mut line = json!({ "timestamp": now.iso(), "level": level, "message": text });
        if let Some(hint) = hint {
            line["hint"] = hint.into();
        }
        return complain(&format!("{line}\n"));
    }
    let hint = hint.map_or(String::new(), |hint| format!("hint: {}\n", hint.replace('\n', "\n      ")));
    complain(&format!("{name}{text}\n{hint}"));
}

/// Tells beside the answer what somebody may have to know.
pub fn note(text: Option<&str>) {
    if let Some(text) = text {
        tell(Message::Note, text, None);
    }
}

/// Asks on the terminal before something is lost for good; without a terminal, or with another answer than yes, it is refused.
pub fn confirmed(doing: &str, loss: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let refused =
        |detail: &str| Err(Error::new(ErrorKind::Refused, doing, detail).hint("nothing was done; --yes does it without asking"));
    complain(&format!("{loss}\n"));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return refused("there is no terminal to ask on");
    }
    complain("Go on? Type yes: ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).doing(ErrorKind::Io, || "reading the answer".to_owned())?;
    if answer.trim() == "yes" { Ok(()) } else { refused("the answer was not yes") }
}

/// stderr for what the program tells of its doings: as [`complain`], it never fails.
#[derive(Debug)]
pub struct Messages;

impl Write for Messages {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        complain(&String::from_utf8_lossy(buffer));
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of `text`. Where the reader has closed the pipe, it has read enough.
pub fn print(text: &str) -> Result<()> {
    write(visible(text).as_bytes())
}

/// Prints what a command has done in a database. Where that cannot be written, the error says what is so: `done`, as in "job … is committed".
pub fn print_done(text: &str, done: &str) -> Result<()> {
    print(text).map_err(|error| {
        let detail = error.to_string();
        let detail = detail.strip_prefix("writing to stdout: ").unwrap_or(&detail).to_owned();
        Error::new(ErrorKind::Io, "writing to stdout", format!("{detail}; {done}, only the report of it was lost"))
    })
}

/// What [`print_done`] says of a job.
pub fn committed(job: Option<&str>) -> String {
    job.map_or_else(|| "nothing was to be changed".to_owned(), |job| format!("job {job} is committed"))
}

/// The same for results that another program may read: they stay as they are, unless they go to a terminal.
#[cfg(feature = "query")]
pub fn print_bytes(content: &[u8]) -> Result<()> {
    match std::str::from_utf8(content) {
        Ok(text) if io::stdout().is_terminal() => print(text),
        _ => write(content),
    }
}

fn write(content: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(content).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::new(ErrorKind::Io, "writing to stdout", &e).caused_by(e)),
        _ => Ok(()),
    }
}
