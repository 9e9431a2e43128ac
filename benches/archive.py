"""Size and speed of an archive beside DuckDB's own Parquet of the same rows, and beside pg_dump -Fc of the same database.

    make bench-archive                       100 runs of 256 miners, as docs/performance.md has it
    make bench-archive RUNS=10 MINERS=64     a first look

or python benches/archive.py RECOUNT FOLDER [--runs N] [--miners N] [--rounds N] [--no-database], with duckdb installed.
FOLDER takes the generated snapshot (seed 7), a throw-away PostgreSQL, and all that is made of them. Times are the best of the
rounds, which take turns, so that a busy moment meets everyone. The digest of the rollups tells whether two runs were of one thing.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import duckdb

TABLES = ["scores", "component_scores", "steps", "responses", "weather_forecast_stats", "lead_scores", "stored_forecast_stats"]
# DuckDB as it comes, with our compression, with every encoding that it has; and each in files by day, as an archive is.
WAYS = {"default": "", "zstd": ", COMPRESSION zstd", "zstd, v2": ", COMPRESSION zstd, PARQUET_VERSION v2"}
WAYS |= {f"{way}, by day": f"{options}, PARTITION_BY (init_date)" for way, options in WAYS.items()}

parser = argparse.ArgumentParser()
parser.add_argument("recount", type=pathlib.Path)
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--runs", default="100")
parser.add_argument("--miners", default="256")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--no-database", action="store_true")
options = parser.parse_args()
folder = options.folder.absolute()
folder.mkdir(parents=True, exist_ok=True)
snapshot, archive, copies = (folder / name for name in ("snapshot", "archive", "duckdb"))
shape = ["--runs", options.runs, "--miners", options.miners, "--seed", "7"]


def timed(work):
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result


def recount(*args, status=0):
    done = subprocess.run([options.recount.absolute(), *map(str, args)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout


def archived():
    return json.loads(recount("archive", snapshot, "--to", archive, "--format", "json"))


def fresh_archive():
    shutil.rmtree(archive, ignore_errors=True)
    return timed(archived)


def copied(connection, table, way):
    target = copies / f"{table}.parquet"
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    rows = table if "PARTITION" in WAYS[way] else f"(SELECT * EXCLUDE (init_date) FROM {table})"
    seconds, _ = timed(lambda: connection.sql(f"COPY {rows} TO '{target}' (FORMAT parquet{WAYS[way]})"))
    return seconds, sum(file.stat().st_size for file in [target, *target.rglob("*.parquet")] if file.is_file())


def beside_duckdb():
    seconds, report = fresh_archive()
    listing = json.loads(recount("archive", "ls", archive, "--format", "json"))["tables"]
    connection = duckdb.connect()
    for table in TABLES:
        source = f"read_parquet('{archive}/{table}/**/*.parquet', hive_partitioning = true)"
        connection.sql(f"CREATE TABLE {table} AS SELECT * FROM {source}")
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    fold, verified, again = [], [], []
    best = {}
    for turn in range(options.rounds):
        if turn > 0:
            seconds = min(seconds, fresh_archive()[0])
        fold.append(timed(lambda: recount("reconcile", snapshot, "--quiet"))[0])
        verified.append(timed(lambda: recount("verify", archive))[0])
        again.append(timed(archived)[0])
        for way in WAYS:
            for table in TABLES:
                found = copied(connection, table, way)
                best[table, way] = min(found, best.get((table, way), found))
    rows = report["rows"]
    print(f"digest {report['digest']}\n{rows:,} rows in all, {report['bytes']['total'] / 1e6:.1f} MB\n")
    print("| what | seconds | million rows/s |\n|---|---|---|")
    lines = {"recount archive: read, folded, encoded, hashed, in place": seconds, "recount archive, nothing new": min(again)}
    lines |= {"recount verify": min(verified), "recount reconcile, for comparison": min(fold)}
    for way in WAYS:
        lines[f"DuckDB COPY TO PARQUET ({way}), from its own tables in memory"] = sum(best[table, way][0] for table in TABLES)
    for what, took in lines.items():
        print(f"| {what} | {took:.2f} | {rows / took / 1e6:.2f} |")
    print("\n| table | rows | recount, MB |" + "".join(f" DuckDB ({way}) |" for way in WAYS) + "\n|---|---|---|" + "---|" * len(WAYS))
    for table in TABLES:
        sizes = "".join(f" {best[table, way][1] / 1e6:.2f} |" for way in WAYS)
        print(f"| `{table}` | {listing[table]['rows']:,} | {listing[table]['bytes'] / 1e6:.2f} |{sizes}")
    total = sum(listing[table]["bytes"] for table in TABLES)
    sums = "".join(f" {sum(best[table, way][1] for table in TABLES) / 1e6:.2f} |" for way in WAYS)
    print(f"| together | | {total / 1e6:.2f} |{sums}")


@contextlib.contextmanager
def database():
    """A PostgreSQL of our own, which goes away again. It refuses to run as root, so it is then the user postgres."""
    found = shutil.which("initdb") or max(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    binaries, data = pathlib.Path(found).resolve().parent, folder / "postgres"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    user = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(data, "postgres", "postgres")

    def run(program, *args):
        subprocess.run([binaries / program, *map(str, args)], check=True, stdout=subprocess.DEVNULL, cwd=data, **user)

    run("initdb", "-D", data / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    settings = f"-k {data} -c listen_addresses=127.0.0.1 -p 54329 -c fsync=off -c shared_buffers=512MB -c max_wal_size=8GB"
    run("pg_ctl", "-D", data / "data", "-w", "-l", data / "log", "-o", settings, "start")
    try:
        yield "postgres://postgres@127.0.0.1:54329/postgres", binaries
    finally:
        run("pg_ctl", "-D", data / "data", "-m", "immediate", "stop")
        shutil.rmtree(data)


def beside_pg_dump():
    with database() as (url, binaries):
        recount("migrate", "--standalone", "--database-url", url)
        recount("generate", *shape, "--database-url", url)
        subprocess.run([binaries / "psql", "-qc", "VACUUM ANALYZE", url], check=True)
        live, dump = folder / "live", folder / "dump"
        best = {}
        for _ in range(options.rounds):
            for what, work in {
                "pg_dump -Fc": lambda: subprocess.run([binaries / "pg_dump", "-Fc", "-f", dump, url], check=True),
                "recount archive, from PostgreSQL": lambda: recount("archive", url, "--to", live),
            }.items():
                shutil.rmtree(live, ignore_errors=True)
                best[what] = min(timed(work)[0], best.get(what, 1e9))
        sizes = {"pg_dump -Fc": dump.stat().st_size, "recount archive, from PostgreSQL": json.loads(
            recount("archive", url, "--to", live, "--format", "json"))["bytes"]["total"]}
    print("\n| what | seconds | MB |\n|---|---|---|")
    for what, took in best.items():
        print(f"| {what} | {took:.2f} | {sizes[what] / 1e6:.1f} |")


if not snapshot.exists():
    recount("generate", *shape, "--out", snapshot)
beside_duckdb()
if not options.no_database:
    beside_pg_dump()
