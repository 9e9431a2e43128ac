//! Stands between the driver and the server: the driver speaks with it over a socket of this process's own, and it speaks with the
//! server over the [link](super::link).
//!
//! So encryption, login, the bounds of messages, waiting without progress and interrupts are decided in one place, and not by the driver.
//! The relay is a task of the runtime that drives the connection: it works while somebody waits for an answer, and ends with the
//! connection.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::link::{Link, Stream};
use super::settings::{Host, Target};
use super::wire::{self, Frames};
use super::{errors::Task, interrupt};
use crate::error::{Context, ErrorKind, Result};

/// What the driver calls the port; it is part of the socket's name.
pub(super) const PORT: u16 = 5432;
/// What is read at once.
const BUFFER_BYTES: usize = 1 << 17;
/// How often it is looked whether the server is still there and the user still wants it.
const TICK: Duration = Duration::from_millis(100);
const CANCEL_INTERVAL: Duration = Duration::from_millis(500);
/// A message of more bytes than that goes through one connection at a time: each driver holds its own whole, and one of many may have
/// such a message, but not all of them at once.
const LARGE_BYTES: usize = 16 << 20;
static LARGE: Semaphore = Semaphore::const_new(1);
/// What can lie between the relay and the driver. Once more than that has followed a message, the driver has taken it.
const BETWEEN_BYTES: usize = 1 << 20;
/// Paths of sockets are short.
const PATH_BYTES_MAX: usize = 90;

/// A place where the driver finds the relay.
pub(super) struct Meeting {
    folder: TempDir,
    listener: UnixListener,
}

impl Meeting {
    /// Only this user can enter the folder, and only this process is let in.
    pub fn arrange() -> Result<Meeting> {
        let doing = || "making a socket for the connection".to_owned();
        let places = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/dev/shm")];
        let places = places.iter().filter(|place| place.as_os_str().len() < PATH_BYTES_MAX - 30);
        let mut made = None;
        for place in places {
            made = Some(tempfile::Builder::new().prefix(".recount-").tempdir_in(place));
            if made.as_ref().is_some_and(|made| made.is_ok()) {
                break;
            }
        }
        let folder = made.expect("invariant: /tmp is short").doing(ErrorKind::Io, doing)?;
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{PORT}"))).doing(ErrorKind::Io, doing)?;
        Ok(Meeting { folder, listener })
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Waits for the driver, in a task of this runtime, and then passes on what both say.
    pub fn relay(self, link: Link, bounds: Bounds) {
        tokio::spawn(async move {
            let Ok((socket, _)) = self.listener.accept().await else { return };
            let ours = socket.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
            if ours != Some(std::process::id()) {
                return;
            }
            drop(self.listener);
            drop(self.folder);
            if let Err(why) = serve(socket, link, bounds).await {
                tracing::debug!("the connection ended: {why}");
            }
        });
    }
}

/// What a connection may do.
#[derive(Clone)]
pub(super) struct Bounds {
    pub task: Task,
    /// How long the server may say nothing while it is asked something.
    pub silence: Option<Duration>,
    pub target: Target,
    pub host: Host,
}

async fn serve(mut socket: UnixStream, link: Link, bounds: Bounds) -> std::io::Result<()> {
    let length = socket.read_u32().await? as usize;
    let mut startup = vec![0; length.saturating_sub(4).min(1 << 16)];
    socket.read_exact(&mut startup).await?;
    let welcome = [wire::message(b'R', &0u32.to_be_bytes()), link.greeting, wire::message(b'Z', b"I")].concat();
    socket.write_all(&welcome).await?;
    let (from_server, to_server) = tokio::io::split(link.stream);
    let (from_driver, to_driver) = tokio::io::split(socket);
    let mut relay = Relay {
        from_server,
        to_server,
        to_driver,
        asked: Frames::default(),
        answered: Frames::default(),
        open: 0,
        is_ending: false,
        last: Instant::now(),
        interrupted: None,
        cancelled: None,
        cancel: (link.pid, link.key),
        bounds,
        large: None,
    };
    let ended = relay.run(from_driver).await;
    if let Err(why) = &ended {
        // The driver hears of it as of an error that the server sends. Within a COPY it waits for the server to be ready again before it
        // tells of the error.
        let code = if interrupt::is_asked() { "57014" } else { "08006" };
        let told = [wire::error(code, &why.to_string()), wire::message(b'Z', b"E")].concat();
        let _ = relay.to_driver.write_all(&told).await;
    }
    let _ = timeout(TICK, relay.to_server.shutdown()).await;
    ended
}

struct Relay {
    from_server: ReadHalf<Box<dyn Stream>>,
    to_server: WriteHalf<Box<dyn Stream>>,
    to_driver: WriteHalf<UnixStream>,
    asked: Frames,
    answered: Frames,
    /// Questions without an answer.
    open: u32,
    /// The last question ends a transaction: it is never cancelled, so that its answer is the truth.
    is_ending: bool,
    /// When something last moved.
    last: Instant,
    /// Since when the user wants to stop, and when the server was last told.
    interrupted: Option<Instant>,
    cancelled: Option<Instant>,
    cancel: (i32, Vec<u8>),
    bounds: Bounds,
    /// The right to pass on a large message, and how many bytes have followed it.
    large: Option<(SemaphorePermit<'static>, usize)>,
}

fn broken(why: impl Into<String>) -> std::io::Error {
    std::io::Error::other(why.into())
}

impl Relay {
    /// Ends when one side has gone.
    async fn run(&mut self, mut from_driver: ReadHalf<UnixStream>) -> std::io::Result<()> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asked, mut answered) = (vec![0; 1 << 13], vec![0; BUFFER_BYTES]);
        // Bytes of a header that is not whole yet stay at the front.
        let (mut held, mut passed) = (0, Vec::with_capacity(BUFFER_BYTES + wire::HEADER_BYTES));
        loop {
            tokio::select! {
                biased;
                read = self.from_server.read(&mut answered[held..]) => {
                    let end = held + read?;
                    if end == held {
                        return if self.open == 0 { Ok(()) } else { Err(broken("the server closed the connection")) };
                    }
                    self.last = Instant::now();
                    let (open, mut begun, mut done) = (&mut self.open, false, false);
                    let taken = self.answered.feed(&answered[..end], &mut passed, |kind| {
                        begun = true;
                        if kind == b'Z' {
                            (*open, done) = (open.saturating_sub(1), true);
                        }
                    });
                    let taken = taken.map_err(broken)?;
                    if self.answered.held() > LARGE_BYTES {
                        self.wait_for_turn(&mut ticks).await?;
                    } else if let Some((_, followed)) = self.large.as_mut().filter(|_| begun) {
                        *followed += passed.len();
                        if done || *followed > BETWEEN_BYTES {
                            self.large = None;
                        }
                    }
                    self.to_driver.write_all(&passed).await?;
                    answered.copy_within(taken..end, 0);
                    held = end - taken;
                }
                read = from_driver.read(&mut asked) => {
                    let end = read?;
                    if end == 0 {
                        return Ok(());
                    }
                    self.ask(&asked[..end]).await?;
                }
                _ = ticks.tick() => self.look().await?,
            }
        }
    }

    /// Until this connection may pass on a large message.
    async fn wait_for_turn(&mut self, ticks: &mut Interval) -> std::io::Result<()> {
        if let Some((_, followed)) = &mut self.large {
            *followed = 0;
            return Ok(());
        }
        loop {
            tokio::select! {
                turn = LARGE.acquire() => {
                    self.large = turn.ok().map(|turn| (turn, 0));
                    self.last = Instant::now();
                    return Ok(());
                }
                _ = ticks.tick() => self.look().await?,
            }
        }
    }

    async fn ask(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let (open, is_ending) = (&mut self.open, &mut self.is_ending);
        // A header of the driver that is cut stands at the end of what it has sent, and is passed on with it.
        self.asked.note(bytes, |kind, body| match kind {
            b'Q' => {
                *open += 1;
                *is_ending = [&b"COMMIT"[..], b"ROLLBACK", b"END"].iter().any(|word| body.starts_with(word));
            }
            b'S' => (*open, *is_ending) = (*open + 1, false),
            _ => {}
        });
        self.last = Instant::now();
        let sending = async {
            self.to_server.write_all(bytes).await?;
            self.to_server.flush().await
        };
        match self.bounds.silence {
            Some(bound) => timeout(bound, sending).await.map_err(|_| broken(silent(bound)))?,
            None => sending.await,
        }
    }

    /// Sees to a server that says nothing, and to a user who wants to stop.
    async fn look(&mut self) -> std::io::Result<()> {
        if self.open == 0 {
            return Ok(());
        }
        if let Some(bound) = self.bounds.silence.filter(|bound| self.last.elapsed() > *bound) {
            return Err(broken(silent(bound)));
        }
        // A job that corrects ends its session by itself, in its own words.
        if !interrupt::is_asked() || self.is_ending || self.bounds.task == Task::Correct {
            return Ok(());
        }
        let first = *self.interrupted.get_or_insert_with(Instant::now);
        if first.elapsed() > interrupt::PATIENCE && self.bounds.task == Task::Read {
            return Err(broken("interrupted; the server did not answer"));
        }
        // Asked again and again: the statement that is under way may be another one by now.
        if self.cancelled.is_some_and(|last| last.elapsed() < CANCEL_INTERVAL) {
            return Ok(());
        }
        self.cancelled = Some(Instant::now());
        tokio::spawn(super::connect::cancel(self.bounds.target.clone(), self.bounds.host.clone(), self.cancel.clone()));
        Ok(())
    }
}

fn silent(bound: Duration) -> String {
    format!("the server has said nothing for {} s", bound.as_secs())
}
