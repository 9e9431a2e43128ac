//! What an input takes: memory by an allocator that counts, time by a thread that looks on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{HANG, MEMORY_MAX};

/// Counts what is allocated, in all threads.
pub struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Allocated before the input.
static BEFORE: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: all work is the system's allocator's; beside it numbers are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        more(bytes);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// What is being played, and since when.
static CURRENT: Mutex<Option<(&'static str, Vec<u8>, Instant)>> = Mutex::new(None);

fn current() -> std::sync::MutexGuard<'static, Option<(&'static str, Vec<u8>, Instant)>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process where an input takes too long, or so much that the machine would suffer before it is over.
pub fn start() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_millis(5));
            let current = current();
            let Some((name, input, since)) = current.as_ref() else { continue };
            if since.elapsed() > HANG {
                fail(name, input, &format!("it takes longer than {} s", HANG.as_secs()));
            }
            let taken = PEAK.load(Relaxed).saturating_sub(BEFORE.load(Relaxed));
            if taken > 2 * MEMORY_MAX {
                fail(name, input, &format!("it takes {} MB", taken >> 20));
            }
        }
    });
}

pub fn begin(name: &'static str, input: &[u8]) {
    *current() = Some((name, input.to_vec(), Instant::now()));
    let now = NOW.load(Relaxed);
    BEFORE.store(now, Relaxed);
    PEAK.store(now, Relaxed);
}

/// Bytes that the input took at its peak.
pub fn end() -> usize {
    *current() = None;
    PEAK.load(Relaxed).saturating_sub(BEFORE.load(Relaxed))
}

/// Keeps the input, says what is wrong with it, and ends the process.
pub fn fail(name: &str, input: &[u8], what: &str) -> ! {
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), &format!("fuzz-{name}-{}", std::process::id())].iter().collect();
    let kept = std::fs::write(&path, input);
    eprintln!("{name}: {what}. The input: FUZZ_INPUT={} cargo test --test fuzz -- {name} ({kept:?})", path.display());
    std::process::exit(1)
}
