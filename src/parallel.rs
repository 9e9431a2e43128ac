//! Units in parallel, results in order: what comes out never depends on who finished first.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex};
use std::thread;

use rayon::prelude::*;

use crate::error::Result;

/// Results that may wait for an earlier one, per thread: enough to keep every thread busy, and it bounds the memory.
const WINDOW_PER_THREAD: usize = 2;

/// Calls `work` for each item on `threads` threads of the pool, and `consume` with the results, in the items' order, one at a time.
///
/// The thread that finds the next result ready consumes it, so that no thread has to be woken for that. Neither `work` nor
/// `consume` may use the pool otherwise. By one thread all is done here, and so it is within other work, which must not wait for
/// threads that have work of their own. The first error in the items' order ends it; a panic goes on here.
pub fn in_order<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
    mut consume: impl FnMut(R) -> Result<()> + Send,
) -> Result<()> {
    let threads = threads.min(items.len()).min(rayon::current_num_threads());
    if threads <= 1 || AT_WORK.get() {
        return items.iter().try_for_each(|item| consume(work(item)?));
    }
    let order = Order {
        items: items.len(),
        window: threads * WINDOW_PER_THREAD,
        line: Mutex::new(Line { begun: 0, consumed: 0, waiting: BTreeMap::new(), consume: Some(consume), end: None }),
        moved: Condvar::new(),
    };
    rayon::in_place_scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|_| {
                AT_WORK.set(true);
                while let Some(index) = order.begin() {
                    order.finish(index, catch_unwind(AssertUnwindSafe(|| work(&items[index]))));
                }
                AT_WORK.set(false);
            });
        }
    });
    match order.line.into_inner().expect(NO_PANIC).end {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
    }
}

thread_local! {
    /// Whether this thread is within [`in_order`].
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

const NO_PANIC: &str = "invariant: no thread panics while it holds the line";

/// Items on their way through [`in_order`].
struct Order<R, C> {
    items: usize,
    window: usize,
    line: Mutex<Line<R, C>>,
    moved: Condvar,
}

struct Line<R, C> {
    begun: usize,
    consumed: usize,
    /// What is done and not consumed.
    waiting: BTreeMap<usize, thread::Result<Result<R>>>,
    /// Taken by the thread that consumes.
    consume: Option<C>,
    /// What ended it early.
    end: Option<thread::Result<Result<()>>>,
}

impl<R, C: FnMut(R) -> Result<()>> Order<R, C> {
    /// The next item to work on, once there is room for its result.
    fn begin(&self) -> Option<usize> {
        let is_full =
            |line: &mut Line<R, C>| line.end.is_none() && line.begun < self.items && line.begun >= line.consumed + self.window;
        let line = self.line.lock().expect(NO_PANIC);
        let mut line = self.moved.wait_while(line, is_full).expect(NO_PANIC);
        let index = line.begun;
        line.begun += 1;
        if line.begun >= self.items {
            // Nothing is left to wait for.
            self.moved.notify_all();
        }
        (line.end.is_none() && index < self.items).then_some(index)
    }

    /// Takes a result, and consumes what has its turn, unless another thread is at it, which then finds this one too.
    fn finish(&self, index: usize, result: thread::Result<Result<R>>) {
        let mut line = self.line.lock().expect(NO_PANIC);
        line.waiting.insert(index, result);
        let Some(mut consume) = line.consume.take() else { return };
        while let Some(result) = line.next() {
            drop(line);
            let result = match result {
                Ok(Ok(result)) => catch_unwind(AssertUnwindSafe(|| consume(result))),
                Ok(Err(error)) => Ok(Err(error)),
                Err(panic) => Err(panic),
            };
            line = self.line.lock().expect(NO_PANIC);
            line.consumed += 1;
            if !matches!(result, Ok(Ok(()))) {
                line.end = Some(result);
                self.moved.notify_all();
            }
            // There is room for one more, so one thread is woken and not all.
            self.moved.notify_one();
        }
        line.consume = Some(consume);
    }
}

impl<R, C> Line<R, C> {
    /// The result that has its turn.
    fn next(&mut self) -> Option<thread::Result<Result<R>>> {
        if self.end.is_some() { None } else { self.waiting.remove(&self.consumed) }
    }
}

/// The result of each item, computed side by side where [`limit`] allows more than one thread.
pub fn all<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    items.into_par_iter().map(work).collect()
}

/// How many threads the pool has, this one among them. The first call of a process stands. All work is done by the same threads, so
/// that the memory of one stage serves the next.
pub fn limit(threads: usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    let _ = pool.thread_name(|i| format!("work-{i}")).build_global();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Error, ErrorKind};

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
    fn work_within_work_waits_for_no_thread() {
        let items: Vec<usize> = (0..100).collect();
        let mut sums = Vec::new();
        let sum = |&item: &usize| {
            let mut sum = 0;
            in_order(
                2,
                &items[..item],
                |&item| Ok(item),
                |item| {
                    sum += item;
                    Ok(())
                },
            )?;
            Ok(sum)
        };
        in_order(64, &items, sum, |sum| {
            sums.push(sum);
            Ok(())
        })
        .unwrap();
        assert_eq!(sums, items.iter().map(|item| (0..*item).sum()).collect::<Vec<usize>>());
    }

    #[test]
    #[should_panic(expected = "broken")]
    fn a_panic_goes_on() {
        let _ = in_order(2, &[1, 2, 3], |_| -> Result<()> { panic!("broken") }, |()| Ok(()));
    }
}
