//! Units in parallel, results in order: what comes out never depends on who finished first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, mpsc};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::error::{Error, ErrorKind, Result};

/// Results that may wait for an earlier one, per thread: enough to keep every thread busy, and it bounds the memory.
const WINDOW_PER_THREAD: usize = 2;

/// Calls `work` for each item on `threads` threads, and `consume` with the results, in the items' order, on this thread.
/// The first error in that order ends it; a panic of `work` goes on here.
pub fn in_order<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
    mut consume: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let threads = threads.clamp(1, items.len().max(1));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("fold-{i}")).build();
    let pool = pool.map_err(|e| Error::new(ErrorKind::Io, "starting worker threads", e))?;
    let window = threads * WINDOW_PER_THREAD;
    let (tickets, queue) = mpsc::channel::<usize>();
    let queue = Mutex::new(queue);
    let (done, results) = mpsc::channel();
    pool.in_place_scope(|scope| {
        for _ in 0..threads {
            let (done, queue, work) = (done.clone(), &queue, &work);
            scope.spawn(move |_| {
                let next = || queue.lock().expect("invariant: no thread panics while it takes a ticket").recv();
                while let Ok(index) = next() {
                    let result = catch_unwind(AssertUnwindSafe(|| work(&items[index])));
                    if done.send((index, result)).is_err() {
                        break;
                    }
                }
            });
        }
        // Owned by this closure, so that any way out of it ends the workers.
        let (tickets, results) = (tickets, results);
        let ticket = |index| tickets.send(index).expect("invariant: the queue lives as long as the pool");
        (0..items.len().min(window)).for_each(ticket);
        let mut early = BTreeMap::new();
        for index in 0..items.len() {
            while !early.contains_key(&index) {
                let (finished, result) = results.recv().expect("invariant: a worker answers every ticket");
                early.insert(finished, result);
            }
            match early.remove(&index).expect("invariant: the result was just found") {
                Ok(result) => consume(result?)?,
                Err(panic) => resume_unwind(panic),
            }
            if index + window < items.len() {
                ticket(index + window);
            }
        }
        Ok(())
    })
}

/// Both, side by side where [`limit`] allows more than one thread.
pub fn both<A: Send, B: Send>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B + Send) -> (A, B) {
    rayon::join(one, other)
}

/// How many threads [`hash`] and [`both`] use from now on. The first call of a process stands.
pub fn limit(threads: usize) {
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("hash-{i}")).build_global();
}

/// BLAKE3 of the first bytes of a file, read and hashed with all threads, which never wait for one another: each takes subtrees of
/// the hash, through a buffer that stays in its cache.
pub fn hash(file: &File, bytes: u64) -> io::Result<blake3::Hash> {
    if bytes <= SUBTREE_BYTES {
        return Ok(hash_part(file, 0, bytes)?.finalize());
    }
    let (left, right) = halves(file, 0, bytes)?;
    Ok(merge_subtrees_root(&left, &right, Mode::Hash))
}

/// What a thread hashes by itself: enough that sharing out costs nothing beside it.
const SUBTREE_BYTES: u64 = 1 << 20;
const READ_BYTES: usize = 1 << 17;

fn subtree(file: &File, at: u64, bytes: u64) -> io::Result<ChainingValue> {
    if bytes <= SUBTREE_BYTES {
        return Ok(hash_part(file, at, bytes)?.finalize_non_root());
    }
    let (left, right) = halves(file, at, bytes)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn halves(file: &File, at: u64, bytes: u64) -> io::Result<(ChainingValue, ChainingValue)> {
    let left = left_subtree_len(bytes);
    let (left, right) = both(|| subtree(file, at, left), || subtree(file, at + left, bytes - left));
    Ok((left?, right?))
}

fn hash_part(file: &File, at: u64, bytes: u64) -> io::Result<blake3::Hasher> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), [0; READ_BYTES]);
    hasher.set_input_offset(at);
    for done in (0..bytes).step_by(READ_BYTES) {
        let part = &mut buffer[..READ_BYTES.min((bytes - done) as usize)];
        file.read_exact_at(part, at + done)?;
        hasher.update(part);
    }
    Ok(hasher)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        let items: Vec<usize> = (0..200).collect();
        for threads in [1, 2, 3, 8] {
            let mut seen = Vec::new();
            let work = |&item: &usize| {
                if item % 7 == 0 {
                    std::thread::yield_now();
                }
                Ok(item * 2)
            };
            in_order(threads, &items, work, |double| {
                seen.push(double);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_in_order_is_the_one_reported_and_stops_the_work() {
        let items: Vec<usize> = (0..10_000).collect();
        let worked = AtomicUsize::new(0);
        let work = |&item: &usize| {
            worked.fetch_add(1, Ordering::Relaxed);
            if item >= 5 { Err(Error::new(ErrorKind::Data, "working", item)) } else { Ok(item) }
        };
        let error = in_order(4, &items, work, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "working: 5");
        assert!(worked.load(Ordering::Relaxed) < 100);
    }

    #[test]
    fn a_file_hashes_to_the_hash_of_its_bytes() {
        for length in [0, 1, (1 << 20) + 1, (9 << 20) + 5] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            assert_eq!(hash(file.as_file(), length as u64).unwrap(), blake3::hash(&bytes));
            assert!(hash(file.as_file(), length as u64 + 1).is_err());
        }
    }

    #[test]
    #[should_panic(expected = "broken")]
    fn a_panic_goes_on() {
        let _ = in_order(2, &[1, 2, 3], |_| -> Result<()> { panic!("broken") }, |()| Ok(()));
    }
}
