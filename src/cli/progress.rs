//! What a user sees and says while a job runs: a bar for each stage on stderr, and Ctrl-C.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::job::Watch;

/// Set by the first Ctrl-C; the second ends the process.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const INTERRUPTED_STATUS: i32 = 130;

/// Shows how far the job is where stderr is a terminal, and passes Ctrl-C on to it.
pub struct Monitor {
    visible: bool,
    bar: Mutex<Option<(&'static str, ProgressBar)>>,
}

impl Monitor {
    /// Starts to listen for Ctrl-C and for a request to terminate.
    pub fn start(quiet: bool) -> Result<Monitor> {
        listen().doing(ErrorKind::Io, || "listening for Ctrl-C".to_owned())?;
        Ok(Monitor { visible: !quiet && std::io::stderr().is_terminal(), bar: Mutex::new(None) })
    }

    /// Clears the bar, so that the report starts on a clean line.
    pub fn finish(self) {
        if let Some((_, bar)) = self.bar.into_inner().unwrap_or_else(PoisonError::into_inner) {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Monitor {
    fn progress(&self, stage: &'static str, done: u64, total: u64) {
        if !self.visible {
            return;
        }
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(name, _)| *name != stage)
            && let Some((_, bar)) = current.replace((stage, new_bar(stage)))
        {
            bar.finish_and_clear();
        }
        if let Some((_, bar)) = current.as_ref() {
            bar.set_length(total);
            // Units come from many threads, so a smaller count may arrive late.
            bar.set_position(done.max(bar.position()));
        }
    }

    fn check(&self) -> Result<()> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "stopped", "interrupted before the job was done"));
        }
        Ok(())
    }
}

fn new_bar(stage: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<12} {bar:30} {human_pos}/{human_len} {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(stage)
}

/// Handlers are in place when this returns; a thread of its own waits for the signals.
fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(guard);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED_STATUS);
                }
                eprintln!("stopping; press Ctrl-C again to stop at once");
            }
        });
    })?;
    Ok(())
}
