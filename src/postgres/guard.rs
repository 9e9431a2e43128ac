//! The boundary around the driver: what a server sends must never end the process, whatever the driver makes of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::task::Poll;

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// Whether this thread is within the boundary, where a panic is an answer of the server and no fault of ours to print.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

static QUIET: Once = Once::new();

/// Waits for `work`; a panic in it becomes an error. Whatever `work` used is not to be used again then.
pub async fn guarded<T>(doing: &str, work: impl Future<Output = T>) -> Result<T> {
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !WITHIN.get() {
                usual(panic);
            }
        }));
    });
    let mut work = Box::pin(work);
    std::future::poll_fn(move |context| {
        let outer = WITHIN.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        WITHIN.set(outer);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(broken(doing))),
        }
    })
    .await
}

#[cold]
fn broken(doing: &str) -> Error {
    Error::new(ErrorKind::Database, doing, "the server sent what no PostgreSQL server sends")
        .hint("is something between recount and the server that changes what they say? TLS (sslmode=verify-full) would show it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let work = async {
            tokio::task::yield_now().await;
            let empty: [u8; 0] = std::hint::black_box([]);
            empty[std::hint::black_box(3)]
        };
        let error = runtime.block_on(guarded("reading x", work)).unwrap_err();
        assert_eq!(error.to_string(), "reading x: the server sent what no PostgreSQL server sends");
        assert_eq!(runtime.block_on(guarded("reading x", async { 7 })).unwrap(), 7);
    }
}
