//! The reader connections, shared by as many threads as there are workers.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnection;

use crate::error::{Error, ErrorKind, Result};

/// Connections of which each serves one thread at a time. One that failed is never used again.
#[derive(Debug)]
pub struct Pool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    idle: Vec<PgConnection>,
    /// Idle or lent.
    alive: usize,
}

/// A connection that is lent; dropped without [`Lease::give_back`], it is taken for broken.
#[derive(Debug)]
pub struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<PgConnection>,
}

impl Pool {
    pub fn new(connections: Vec<PgConnection>) -> Pool {
        Pool { state: Mutex::new(State { alive: connections.len(), idle: connections }), changed: Condvar::new() }
    }

    /// Waits for a connection.
    pub fn take(&self) -> Result<Lease<'_>> {
        let mut state = self.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Lease { pool: self, connection: Some(connection) });
            }
            if state.alive == 0 {
                return Err(Error::new(ErrorKind::Database, "reading the database", "all connections have failed"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The idle connections, to be closed.
    pub fn drain(&self) -> Vec<PgConnection> {
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
        if let Some(connection) = self.connection.take() {
            self.pool.lock().idle.push(connection);
            self.pool.changed.notify_one();
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.lock().alive -= 1;
            self.pool.changed.notify_all();
        }
    }
}

impl Deref for Lease<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("held until given back")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("held until given back")
    }
}
