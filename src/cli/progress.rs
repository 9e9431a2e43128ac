//! What a user sees and says while a job runs: a bar for each stage on stderr, or a line now and then, and Ctrl-C.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::job::Watch;
use crate::postgres::{guarded, interrupt};

use super::output::{Message, is_dumb, tell};

/// Set by the first Ctrl-C; the second ends the process.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const INTERRUPTED_STATUS: i32 = 130;
const LISTENING: &str = "listening for Ctrl-C";

/// How often a job that has no bar tells how far it is.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How a job tells how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// By a bar that moves: stderr is a terminal.
    Bar,
    /// By a line every ten seconds: it is a file, a pipe, or a terminal that moves nothing.
    Lines,
    Nothing,
}

/// A stage under way. Without a bar that is seen, it keeps the numbers alone.
struct Stage {
    name: &'static str,
    bar: ProgressBar,
    told: Instant,
}

/// Shows how far the job is, and passes Ctrl-C on to it.
pub struct Monitor {
    shown: Shown,
    stage: Mutex<Option<Stage>>,
}

impl Monitor {
    /// Starts to listen for Ctrl-C and for a request to terminate.
    pub fn start(quiet: bool) -> Result<Monitor> {
        listen().doing(ErrorKind::Io, || LISTENING.to_owned())?;
        let shown = match (quiet, io::stderr().is_terminal() && !is_dumb()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar,
            (false, false) => Shown::Lines,
        };
        Ok(Monitor { shown, stage: Mutex::new(None) })
    }

    /// Clears the bar, so that the report starts on a clean line.
    pub fn finish(self) {
        if let Some(stage) = self.stage.into_inner().unwrap_or_else(PoisonError::into_inner) {
            stage.bar.finish_and_clear();
        }
    }
}

impl Watch for Monitor {
    fn progress(&self, stage: &'static str, done: u64, total: u64) {
        if self.shown == Shown::Nothing {
            return;
        }
        let mut current = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|current| current.name != stage) {
            let bar = if self.shown == Shown::Bar { new_bar(stage) } else { ProgressBar::hidden() };
            if let Some(last) = current.replace(Stage { name: stage, bar, told: Instant::now() }) {
                last.bar.finish_and_clear();
            }
        }
        if let Some(current) = current.as_mut() {
            current.bar.set_length(total);
            // Units come from many threads, so a smaller count may arrive late.
            current.bar.set_position(done.max(current.bar.position()));
            if self.shown == Shown::Lines && current.told.elapsed() >= LINE_INTERVAL {
                current.told = Instant::now();
                tell(Message::Event, &line(stage, current.bar.position(), total, current.bar.eta()), None);
            }
        }
    }

    fn check(&self) -> Result<()> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        Ok(())
    }
}

fn line(stage: &str, done: u64, total: u64, left: Duration) -> String {
    format!("{stage}: {done} of {total}, about {} left", HumanDuration(left))
}

fn new_bar(stage: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<12} {bar:30} {human_pos}/{human_len} {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(stage)
}

/// The requests to stop.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone. `None` where the caller wants that to be ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Stops {
    /// Handlers are in place when this returns. Only within a runtime.
    fn install() -> io::Result<Stops> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Stops { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { match &mut self.hangup { Some(hangup) => hangup.recv().await, None => None } } => {}
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A thread of its own waits for the requests.
fn listen() -> io::Result<()> {
    let runtime = runtime()?;
    let mut stops = runtime.block_on(async { Stops::install() })?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                stops.next().await;
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED_STATUS);
                }
                interrupt::ask();
                tell(Message::Event, "stopping; press Ctrl-C again to stop at once", None);
            }
        });
    })?;
    Ok(())
}

/// Runs to the end. At the first request to stop, statements that are under way are cancelled in the server, and the work ends with what
/// the server says of them: so what was committed is reported as done. A second request ends the process.
pub fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let doing = || LISTENING.to_owned();
    runtime().doing(ErrorKind::Io, doing)?.block_on(async {
        let mut stops = Stops::install().doing(ErrorKind::Io, doing)?;
        let mut work = std::pin::pin!(guarded("talking to the database", work));
        tokio::select! {
            done = &mut work => return done?,
            () = stops.next() => {}
        }
        interrupt::ask();
        tell(Message::Event, "stopping; press Ctrl-C again to stop at once", None);
        tokio::select! {
            done = &mut work => done?,
            () = stops.next() => std::process::exit(INTERRUPTED_STATUS),
            () = tokio::time::sleep(interrupt::PATIENCE) => {
                let detail = format!("the server did not answer within {} s of the interrupt", interrupt::PATIENCE.as_secs());
                Err(Error::new(ErrorKind::Interrupted, "stopped", detail).hint(
                    "what was under way may have gone through: `recount migrate status` tells which migrations and which phase are applied",
                ))
            }
        }
    })
}

/// Whether the process that started us ignores the hang-up of the terminal.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped", "interrupted before the job was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_is_done_and_the_time_left() {
        assert_eq!(line("runs", 30, 365, Duration::from_secs(134)), "runs: 30 of 365, about 2 minutes left");
    }

    #[test]
    fn a_line_comes_no_sooner_than_the_interval() {
        let monitor = Monitor { shown: Shown::Lines, stage: Mutex::new(None) };
        (0..100).for_each(|done| monitor.progress("runs", done, 100));
        let told = |monitor: &Monitor| monitor.stage.lock().unwrap().as_ref().unwrap().told;
        let first = told(&monitor);
        monitor.progress("runs", 99, 100);
        assert_eq!(told(&monitor), first);
        monitor.stage.lock().unwrap().as_mut().unwrap().told = Instant::now() - LINE_INTERVAL;
        monitor.progress("runs", 100, 100);
        assert!(told(&monitor) > first);
    }
}
