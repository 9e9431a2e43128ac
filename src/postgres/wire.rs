//! Numbers of the protocol.

/// Microseconds from Unix's epoch to that of PostgreSQL, 2000-01-01.
pub const EPOCH_MICROS: i64 = 946_684_800_000_000;
