# The two commands of the README. Both work on a fresh clone.

.PHONY: demo test

# The main job on the sample snapshot. Needs nothing but Rust; exit status 1 says that differences were found, as planted.
demo:
	cargo build --locked
	cargo run --locked --quiet -- reconcile data/sample || test $$? -eq 1

# Format, lints, all tests. Needs PostgreSQL's server programs (Debian: the package postgresql).
test:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked
