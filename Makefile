# The two commands of the README. Both work on a fresh clone.

.PHONY: demo test test-postgres mutants fuzz bench bench-peers bench-archive docs-plots deny dist

# The main job on the sample snapshot, by the core alone. Needs nothing but Rust and a C compiler; exit status 1 says that
# differences were found, as planted.
demo:
	cargo build --locked --no-default-features --profile demo
	cargo run --locked --quiet --no-default-features --profile demo -- reconcile data/sample || test $$? -eq 1

# Format, lints, all tests. Needs PostgreSQL's server programs, pgbouncer and openssl (Debian: packages of these names).
test:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked

# The way to the narrow schema on the oldest and the newest PostgreSQL. Needs npm, which has their programs.
test-postgres:
	tests/other_postgres.sh

# Whether the unit tests catch every small fault in the rules. An hour on two cores. MUTANTS has options for cargo-mutants.
mutants:
	tests/mutants.sh --jobs 2 $(MUTANTS)

# Bytes that no writer of ours writes, played to each target of fuzz/ for SECONDS, in the core as it is released. SEED draws others;
# TARGET chooses one.
SECONDS = 60
fuzz:
	SECONDS=$(SECONDS) cargo test --locked --release --no-default-features --test fuzz -- $(TARGET)

# Speed of the parts and of the whole: see docs/performance.md. RUNS, MINERS and ROUNDS change the size of the latter.
bench:
	cargo bench --locked --bench '*'

# The same beside what an operator could pick instead. PEERS has options for benches/peers; --help among them lists all.
bench-peers:
	cargo build --release --locked
	python3 -m venv target/peers
	target/peers/bin/pip install --quiet --requirement benches/peers/requirements.txt
	target/peers/bin/python -B benches/peers target/release/recount $(PEERS)

# The plots of docs/archive-tour.md, from an archive of the sample. Needs python3 with its module venv, and a way to PyPI.
docs-plots:
	rm -rf target/docs-plots && mkdir -p target/docs-plots
	cargo run --locked --quiet -- archive data/sample --to target/docs-plots/archive
	python3 -m venv target/docs-plots/python
	target/docs-plots/python/bin/pip install --quiet --requirement tests/archive/requirements.txt
	target/docs-plots/python/bin/python docs/plots.py target/docs-plots/archive docs/plots

# Size and speed of archives beside DuckDB and pg_dump. Needs what docs-plots needs, PostgreSQL's server programs, and 10 GB.
RUNS = 100
MINERS = 256
bench-archive:
	cargo build --locked --release
	test -d target/bench-python || python3 -m venv target/bench-python
	target/bench-python/bin/pip install --quiet --requirement tests/archive/requirements.txt
	target/bench-python/bin/python benches/archive.py target/release/recount target/bench-archive-$(RUNS)-$(MINERS) --runs $(RUNS) --miners $(MINERS)

# Licences, advisories and sources of all packages, against deny.toml. Needs cargo-deny.
deny:
	cargo deny --locked --all-features check

# The program as it is given on: with man pages, completions, licences and the list of packages in it; and its checksum. RECOUNT names a
# program that is built already, DIST another folder.
RECOUNT =
DIST = target/dist
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PACKAGE = recount-$(VERSION)-$(shell uname -s | tr A-Z a-z)-$(shell uname -m)
dist:
	test -n "$(RECOUNT)" || cargo build --release --locked
	rm -rf "$(DIST)/$(PACKAGE)" && mkdir -p "$(DIST)/$(PACKAGE)/completions"
	install -m 755 "$(or $(RECOUNT),target/release/recount)" "$(DIST)/$(PACKAGE)/recount"
	cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$(DIST)/$(PACKAGE)"
	cd "$(DIST)/$(PACKAGE)" && ./recount man --out man1 >/dev/null && ./recount completions bash >completions/recount.bash \
	    && ./recount completions zsh >completions/_recount && ./recount completions fish >completions/recount.fish
	cargo tree --locked --edges normal --prefix none --format '{p} {l}' | sed 's/ (.*)//' | sort -u >"$(DIST)/$(PACKAGE)/packages.txt"
	cd "$(DIST)" && tar --sort=name --owner=0 --group=0 --numeric-owner -czf "$(PACKAGE).tar.gz" "$(PACKAGE)" \
	    && rm -r "$(PACKAGE)" && sha256sum "$(PACKAGE).tar.gz" >SHA256SUMS
