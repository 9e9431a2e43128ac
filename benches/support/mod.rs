//! What all benches share: how big they are to be.

/// Whether this run only shows that the bench works, as `cargo test` and `cargo bench -- --test` want it; timings are told by
/// `cargo bench` alone.
pub fn is_small() -> bool {
    let given = |flag: &str| std::env::args().any(|arg| arg == flag);
    given("--test") || !given("--bench")
}

/// Whether the command line names tests or benches, and not this one: `cargo test sanitize` is of no concern to it.
#[allow(dead_code)]
pub fn is_filtered_out(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    names.peek().is_some() && !names.any(|arg| name.contains(&arg))
}
