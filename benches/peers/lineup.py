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


@dataclasses.dataclass
class Entry:
    key: str
    label: str
    command: list
    # The entry of recount that does what this one does, and more.
    beside: str
    statuses: tuple = (0,)
    tells: bool = True
    prepare: Callable = lambda: None


def copy(where=""):
    return f"COPY (SELECT {engine.COLUMNS} FROM weather_miner_scores {where}) TO STDOUT (FORMAT binary)"


def both(first, second):
    """Two commands at the same time, in one process of their own."""
    return ["sh", "-c", f"{shlex.join(first)} & other=$!; {shlex.join(second)} && wait $other"]


def lineup(data):
    out = data.folder / "out"
    url = data.url
    half = data.runs // 2
    two_streams = [statement(url, copy(f"WHERE run_id {side} {half}")) for side in ["<=", ">"]]
    in_sql = (HERE / "postgres.sql").read_text()

    def clear():
        shutil.rmtree(out, ignore_errors=True)

    def recount(key, label, args, beside=None):
        command = [data.recount, *args, "--format", "json"]
        return Entry(key, label, command, beside or key, RECOUNT_STATUSES, prepare=clear)

    def peer(key, label, source, beside):
        return Entry(key, label, script("engine.py", key, source), beside)

    def folder(command, threads, *more):
        label = f"`recount {command}`, folder, {threads} thread{'s' if threads > 1 else ''}"
        args = [command, data.snapshot, *more, "--threads", str(threads)]
        return recount(f"{command}-{threads}", label, args, f"{command}-2")

    return [
        recount("export", "`recount export`, 2 connections", ["export", url, "--out", out, "--connections", "2"]),
        Entry("copy-1", "`psql` COPY of eleven columns to nowhere, 1 stream", statement(url, copy()), "export", tells=False),
        Entry("copy-2", "the same in 2 streams", both(*two_streams), "export", tells=False),
        peer("adbc", "ADBC to Arrow, batch by batch", url, "export"),
        peer("connectorx-1", "ConnectorX to Arrow, 1 partition", url, "export"),
        peer("connectorx-2", "ConnectorX to Arrow, 2 partitions", url, "export"),
        recount("reconcile-url", "`recount reconcile`, PostgreSQL, 2 connections", ["reconcile", url, "--connections", "2"]),
        Entry("postgres", "PostgreSQL, combined score in one query, no I3", statement(url, in_sql), "reconcile-url", tells=False),
        folder("recompute", 2, "--out", out),
        folder("recompute", 1, "--out", out),
        folder("reconcile", 2),
        folder("reconcile", 1),
        peer("duckdb", "DuckDB, combined score from Parquet, no I3", data.parquet, "recompute-2"),
        peer("duckdb-window", "DuckDB, the same with I3 by a window", data.parquet, "recompute-2"),
        peer("duckdb-grouped", "DuckDB, the same with I3 by `arg_max`", data.parquet, "recompute-2"),
        peer("polars", "polars, combined score from Parquet, no I3", data.parquet, "recompute-2"),
    ]
