"""Size and speed of an archive beside DuckDB's own Parquet of the same rows and, where a database is named, pg_dump -Fc.

    cargo build --release
    python benches/archive.py target/release/recount FOLDER [--runs 100] [--miners 256] [--database-url URL]

FOLDER takes the generated snapshot (seed 7) and everything made of it. Needs duckdb, as tests/archive/requirements.txt has it.
Every figure is the best of three; the digest of the archive's rollups is printed, so that two runs can be told to be of one thing.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import time

import duckdb

EVIDENCE = ["scores", "component_scores", "steps", "responses", "weather_forecast_stats", "lead_scores"]

parser = argparse.ArgumentParser()
parser.add_argument("recount")
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--runs", default="100")
parser.add_argument("--miners", default="256")
parser.add_argument("--database-url")
parser.add_argument("--times", type=int, default=3)
options = parser.parse_args()
options.folder.mkdir(parents=True, exist_ok=True)
snapshot, archive, copies = (options.folder / name for name in ("snapshot", "archive", "duckdb"))


def timed(work):
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result


def recount(*args):
    return subprocess.run([options.recount, *map(str, args)], check=False, capture_output=True, text=True).stdout


def archived():
    shutil.rmtree(archive, ignore_errors=True)
    return json.loads(recount("archive", snapshot, "--to", archive, "--format", "json"))


def copied(connection, table):
    target = copies / f"{table}.parquet"
    connection.sql(f"COPY {table} TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    return target.stat().st_size


shape = ["--runs", options.runs, "--miners", options.miners, "--seed", "7"]
if not snapshot.exists():
    print(recount("generate", *shape, "--out", snapshot))
fold = min(timed(lambda: recount("reconcile", snapshot, "--quiet"))[0] for _ in range(options.times))
runs = [timed(archived) for _ in range(options.times)]
report = runs[0][1]
whole = min(seconds for seconds, _ in runs)
print(f"digest {report['digest']}, {report['rows']:,} rows, {report['bytes']['total'] / 1e6:.1f} MB")
print(f"recount reconcile {fold:.1f} s; recount archive {whole:.1f} s ({report['rows'] / whole / 1e6:.2f} M rows/s)")
print(f"recount verify {timed(lambda: recount('verify', archive))[0]:.1f} s")

listing = json.loads(recount("archive", "ls", archive, "--format", "json"))["tables"]
shutil.rmtree(copies, ignore_errors=True)
copies.mkdir()
connection = duckdb.connect(str(options.folder / "bench.duckdb"))
print(f"{'table':24} {'rows':>12} {'recount MB':>11} {'DuckDB MB':>10} {'COPY s':>7}")
seconds = size = 0
for table in EVIDENCE:
    source = f"read_parquet('{archive}/{table}/**/*.parquet', hive_partitioning = true)"
    connection.sql(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM {source}")
    took = [timed(lambda: copied(connection, table)) for _ in range(options.times)]
    best, bytes = min(took)
    seconds, size = seconds + best, size + bytes
    line = listing[table]
    print(f"{table:24} {line['rows']:12,} {line['bytes'] / 1e6:11.1f} {bytes / 1e6:10.1f} {best:7.2f}")
print(f"DuckDB COPY TO PARQUET: {seconds:.1f} s, {size / 1e6:.1f} MB")

if options.database_url:
    print(recount("generate", *shape, "--database-url", options.database_url))
    dump = options.folder / "dump"
    command = ["pg_dump", "-Fc", "-f", str(dump), options.database_url]
    took = timed(lambda: subprocess.run(command, check=True))[0]
    print(f"pg_dump -Fc: {took:.1f} s, {dump.stat().st_size / 1e6:.1f} MB")
