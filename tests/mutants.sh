#!/usr/bin/env bash
# Mutation testing of the rules: each small change of src/rollup, src/diff and src/model/sanitize* must fail a unit test.
# The rooms that the rules live in import nothing else of recount, so they are built alone: three seconds a mutant, not a minute.
# Arguments go to cargo-mutants: --shard 1/8, --file 'src/diff/**'. What is left of a run lies in target/mutants/mutants.out.
set -euo pipefail
cd "$(dirname "$0")/.."
here=target/mutants

rm -rf "$here/src" "$here/tests" "$here/docs"
mkdir -p "$here/src" "$here/tests" "$here/docs"
cp -r src/error.rs src/model src/rollup src/diff "$here/src"
cp -r tests/conformance "$here/tests"
cp docs/semantics.md "$here/docs"
cp Cargo.lock "$here"
cat > "$here/src/lib.rs" <<'RUST'
#![allow(dead_code)]
pub mod diff;
pub mod error;
pub mod model;
pub mod rollup;
pub use error::{Error, ErrorKind, Result};
RUST
# The versions are those of Cargo.lock.
cat > "$here/Cargo.toml" <<'TOML'
[package]
name = "recount"
version = "0.1.0"
edition = "2024"

[dependencies]
arrayvec = { version = "*", default-features = false }
arrow-array = { version = "*", default-features = false }
arrow-buffer = { version = "*", default-features = false }
arrow-schema = { version = "*", default-features = false }
arrow-select = { version = "*", default-features = false }
blake3 = "*"
bytes = "*"
chrono = { version = "*", default-features = false, features = ["std", "clock", "serde"] }
regex = { version = "*", default-features = false, features = ["std", "perf"] }
rustc-hash = "*"
serde = { version = "*", features = ["derive"] }
serde_json = { version = "*", features = ["float_roundtrip"] }

[dev-dependencies]
postcard = { version = "*", default-features = false, features = ["use-std"] }
insta = { version = "*", default-features = false }
proptest = { version = "*", default-features = false, features = ["std", "bit-set"] }

[profile.dev]
debug = false

[profile.dev.package."*"]
opt-level = 1

[workspace]
TOML

command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants@25.3.1
files=()
[[ " $* " == *" --file "* ]] || files=(--file 'src/rollup/**' --file 'src/diff/**' --file 'src/model/sanitize*' --file 'src/model/sanitize/**')
cargo mutants --dir "$here" --output "$here" --config tests/mutants.toml --no-shuffle --timeout 20 --cargo-arg=--lib "${files[@]}" "$@"
