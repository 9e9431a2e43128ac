"""Who runs beside whom."""

import dataclasses
import shlex
import shutil
from typing import Callable

import engine
from cluster import statement
from data import HERE, script

# Exit status 1 of recount says that differences were found, which ends no measurement.
RECOUNT_STATUSES = (0, 1)


# What an entry gives: all rows of the scores, the combined score of each run and miner, or all of recount's rollups.
ROWS, SCORES, ROLLUPS = "rows", "scores", "rollups"


@dataclasses.dataclass
class Entry:
    key: str
    label: str
    gives: str
    command: list
    # The entry of recount that does what this one does, and more.
    beside: str
    statuses: tuple = (0,)
    tells: bool = True
    prepare: Callable = lambda: None


def copy(where=""):
    return f"COPY (SELECT {engine.COLUMNS} FROM weather_miner_scores {where}) TO STDOUT (FORMAT binary)"


def halves(runs):
    return [f"WHERE run_id {side} {runs // 2}" for side in ["<=", ">"]]


def both(first, second):
    """Two commands at the same time, in one process of their own."""
    return ["sh", "-c", f"{shlex.join(first)} & other=$!; {shlex.join(second)} && wait $other"]


def lineup(data):
    out = data.folder / "out"
    url = data.url
    two_streams = [statement(url, copy(where)) for where in halves(data.runs)]
    in_sql = (HERE / "postgres.sql").read_text()

    def clear():
        shutil.rmtree(out, ignore_errors=True)

    def recount(key, label, gives, args, beside=None):
        command = [data.recount, *args, "--format", "json"]
        return Entry(key, label, gives, command, beside or key, RECOUNT_STATUSES, prepare=clear)

    def reader(key, label):
        return Entry(key, label, ROWS, script("engine.py", key, url), "export")

    def copier(key, label, command):
        return Entry(key, label, ROWS, command, "export", tells=False)

    def computer(key, label):
        return Entry(key, label, SCORES, script("engine.py", key, data.parquet), "recompute-2")

    def folder(command, threads, *more):
        label = f"`recount {command}`, folder, {threads} thread{'s' if threads > 1 else ''}"
        args = [command, data.snapshot, *more, "--threads", str(threads)]
        return recount(f"{command}-{threads}", label, ROLLUPS, args, f"{command}-2")

    export = ["export", url, "--out", out, "--connections", "2"]
    reconcile = ["reconcile", url, "--connections", "2"]
    query = statement(url, in_sql)
    return [
        recount("export", "`recount export`, 2 connections", ROWS, export),
        copier("copy-1", "`psql` COPY of eleven columns to nowhere, 1 stream", statement(url, copy())),
        copier("copy-2", "the same in 2 streams", both(*two_streams)),
        reader("adbc", "ADBC to Arrow, batch by batch"),
        reader("connectorx-1", "ConnectorX to Arrow, 1 partition"),
        reader("connectorx-2", "ConnectorX to Arrow, 2 partitions"),
        recount("reconcile-url", "`recount reconcile`, PostgreSQL, 2 connections", ROLLUPS, reconcile),
        Entry("postgres", "PostgreSQL, combined score in one query, no I3", SCORES, query, "reconcile-url", tells=False),
        folder("recompute", 2, "--out", out),
        folder("recompute", 1, "--out", out),
        folder("reconcile", 2),
        folder("reconcile", 1),
        computer("duckdb", "DuckDB, combined score from Parquet, no I3"),
        computer("duckdb-window", "DuckDB, the same with I3 by a window"),
        computer("duckdb-grouped", "DuckDB, the same with I3 by `arg_max`"),
        computer("polars", "polars, combined score from Parquet, no I3"),
    ]
