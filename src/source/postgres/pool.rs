//! The reader connections, shared by as many threads as there are workers.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Context, Error, ErrorKind, Result};

/// Good-bye to a server that may have gone already.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection with a runtime of its own: the thread that waits for an answer watches the socket itself, so no thread wakes another.
#[derive(Debug)]
pub struct Reader {
    connection: PgConnection,
    runtime: Runtime,
}

impl Reader {
    pub fn open(connect: impl Future<Output = Result<PgConnection>>) -> Result<Reader> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.doing(ErrorKind::Io, || "starting a connection's runtime".to_owned())?;
        Ok(Reader { connection: runtime.block_on(connect)?, runtime })
    }

    /// Waits for what is done with the connection.
    pub fn run<T>(&mut self, work: impl AsyncFnOnce(&mut PgConnection) -> T) -> T {
        self.runtime.block_on(work(&mut self.connection))
    }

    /// From within another runtime there is no waiting; the server then notices by itself that we are gone.
    pub fn close(self) {
        if Handle::try_current().is_err() {
            let close = async { tokio::time::timeout(CLOSE_TIMEOUT, self.connection.close()).await };
            let _ = self.runtime.block_on(close);
        }
        self.runtime.shutdown_background();
    }
}

/// Connections of which each serves one thread at a time. One that failed is never used again.
#[derive(Debug)]
pub struct Pool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    idle: Vec<Reader>,
    /// Idle or lent.
    alive: usize,
}

/// A connection that is lent; dropped without [`Lease::give_back`], it is taken for broken.
#[derive(Debug)]
pub struct Lease<'a> {
    pool: &'a Pool,
    reader: Option<Reader>,
}

impl Pool {
    pub fn new(readers: Vec<Reader>) -> Pool {
        Pool { state: Mutex::new(State { alive: readers.len(), idle: readers }), changed: Condvar::new() }
    }

    /// Waits for a connection.
    pub fn take(&self) -> Result<Lease<'_>> {
        let mut state = self.lock();
        loop {
            if let Some(reader) = state.idle.pop() {
                return Ok(Lease { pool: self, reader: Some(reader) });
            }
            if state.alive == 0 {
                return Err(Error::new(ErrorKind::Database, "reading the database", "all connections have failed"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The idle connections, to be closed.
    pub fn drain(&self) -> Vec<Reader> {
        let mut state = self.lock();
        state.alive -= state.idle.len();
        std::mem::take(&mut state.idle)
    }

    /// No code that could panic runs while the lock is held, so a poisoned state is still a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// Puts the connection back; it is between two statements.
    pub fn give_back(mut self) {
        if let Some(reader) = self.reader.take() {
            self.pool.lock().idle.push(reader);
            self.pool.changed.notify_one();
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.reader.take().is_some() {
            self.pool.lock().alive -= 1;
            self.pool.changed.notify_all();
        }
    }
}

impl Deref for Lease<'_> {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader.as_ref().expect("held until given back")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("held until given back")
    }
}
