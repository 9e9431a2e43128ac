//! The user's wish to stop, as far as connections have to know it: what is under way is cancelled in the server, whose answer then tells
//! the truth about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static ASKED: AtomicBool = AtomicBool::new(false);

/// How long a server has to answer a statement that was cancelled.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// From now on statements that can be cancelled are.
pub fn ask() {
    ASKED.store(true, Ordering::Relaxed);
}

/// How often a wait looks for it.
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until the user asks to stop.
pub async fn asked() {
    while !is_asked() {
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Whether the user asked to stop.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
