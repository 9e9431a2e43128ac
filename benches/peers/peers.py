"""All side by side: every command once in each round, so that what slows the machine down slows all of them."""

import random

import report
from check import check
from child import Measured, run, say
from data import Data, fill, load, machine, snap
from lineup import lineup

# What the export may hold in memory, and any command on a hundred runs.
EXPORT_MB = 250
COMMAND_MB = 300


def measure(options, cluster, folder):
    data = Data(options.recount, cluster.url(), folder, options.runs)
    fill(data, options.miners)
    snap(data)
    entries = lineup(data)
    # This is also the round that warms the caches up.
    digests = check(data, entries)
    before = load()
    measured = rounds(cluster, entries, options.rounds)
    return "\n\n".join([
        f"{data.runs} complete runs × {options.miners} miners, {data.scores:,} scores in a table of "
        f"{data.table_bytes / 1e9:.2f} GB, seed 1; medians of {options.rounds} interleaved rounds, {report.day()}. "
        f"{machine(data.url)}. Load before and after: {before:.1f} and {load():.1f}.",
        report.side_by_side(entries, measured, digests, data.scores),
        f"{report.NOTES} recount's own combined scores have the digest `{digests['combined']}`.",
        report.goals(goals(measured)),
    ])


def rounds(cluster, entries, count):
    runs = {entry.key: [] for entry in entries}
    for number in range(count):
        # In another order each time: what a command leaves behind (files not yet on disk) always slows another one down.
        for entry in random.Random(number).sample(entries, len(entries)):
            say(f"round {number + 1} of {count}: {entry.label}")
            entry.prepare()
            before = cluster.processor()
            found = run(entry.command, entry.statuses, entry.tells)
            found.server = cluster.processor() - before
            runs[entry.key].append(found)
    return {key: Measured(found) for key, found in runs.items()}


def goals(measured):
    """Lines 1 to 5 of what was to be reached. Peers count with their work alone, recount with the whole process."""
    recount = {key: found.seconds for key, found in measured.items()}
    peer = {key: found.work for key, found in measured.items()}
    commands = [found for key, found in measured.items() if key.startswith(("export", "recompute", "reconcile"))]
    return [
        (1, "export / ADBC", recount["export"] / peer["adbc"], "≤", 0.60),
        (1, "export / `psql` in two streams", recount["export"] / peer["copy-2"], "≤", 1.15),
        (1, "export, peak MB", measured["export"].peak_mb, "≤", EXPORT_MB),
        (2, "recompute / DuckDB with I3", recount["recompute-2"] / peer["duckdb-window"], "≤", 0.10),
        (2, "recompute / DuckDB without I3", recount["recompute-2"] / peer["duckdb"], "≤", 0.5),
        (3, "reconcile from PostgreSQL / `psql` in one stream", recount["reconcile-url"] / peer["copy-1"], "≤", 0.5),
        (4, "any command of recount, peak MB", max(found.peak_mb for found in commands), "≤", COMMAND_MB),
        (5, "recompute, one thread / two", recount["recompute-1"] / recount["recompute-2"], "≥", 1.7),
    ]
