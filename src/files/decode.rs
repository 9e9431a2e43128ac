//! The boundary behind which bytes from outside are decoded. The libraries of Arrow and Parquet panic on some files that were
//! damaged or forged; here such a panic becomes an error, and says nothing on stderr.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is within [`decoding`].
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Does the work, and gives `broken` the message of a panic in it.
pub fn decoding<T, E>(work: impl FnOnce() -> Result<T, E>, broken: impl FnOnce(String) -> E) -> Result<T, E> {
    keep_quiet();
    let outer = DECODING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    DECODING.set(outer);
    result.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        let first_line = message.as_deref().and_then(|text| text.lines().next()).unwrap_or("no reason was given");
        Err(broken(format!("its bytes are not what a writer writes ({first_line})")))
    })
}

/// Makes this thread one that does nothing but decode until it ends, for a library that has threads of its own and hands their
/// panics to the thread that waits for them, within [`decoding`].
#[cfg(feature = "query")]
pub fn decodes_only() {
    keep_quiet();
    DECODING.set(true);
}

/// What panics tell goes on to whom it went before, but for those that become an error.
fn keep_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !DECODING.get() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let broken = |detail: String| detail;
        assert_eq!(decoding(|| Ok::<_, String>(7), broken), Ok(7));
        assert_eq!(decoding(|| Err::<(), _>("refused".to_owned()), broken), Err("refused".to_owned()));
        let index = 5;
        let panics = || -> Result<i32, String> { Ok([1, 2][index]) };
        let error = decoding(panics, broken).unwrap_err();
        assert!(error.contains("index out of bounds"), "{error}");
        assert!(!DECODING.get());
    }
}
