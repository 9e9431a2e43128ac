"""How time and memory grow with the history: the same commands on folders and databases of ever more runs."""

import shutil

import report
from child import Measured, run, say
from cluster import psql
from data import Data, fill, generate

# A history ten times as long may cost so much more per run, and in memory.
GROWTH = 1.10


def measure(options, cluster, folder):
    folders = {runs: folder / f"{runs}-runs" for runs in options.growth}
    databases = {runs: cluster.url(f"runs_{runs}") for runs in options.growth_database}
    for runs, path in folders.items():
        say(f"generating {runs} runs × {options.miners} miners into a folder")
        generate(options.recount, runs, options.miners, "--out", path)
    for runs, url in databases.items():
        psql(cluster.url(), f"CREATE DATABASE runs_{runs}")
        fill(Data(options.recount, url, folder, runs), options.miners)
    out = folder / "out"
    found = measured(options, out, commands(out, folders, databases))
    return "\n\n".join([
        f"{options.miners} miners a run, complete runs, medians of {options.growth_rounds} interleaved rounds, {report.day()}.",
        table(found),
        report.goals(goals(found)),
    ])


def commands(out, folders, databases):
    """By what is done and for how many runs."""
    made = {}
    for runs, path in folders.items():
        made["recompute, folder", runs] = ["recompute", path, "--out", out, "--threads", "2"]
        made["reconcile, folder", runs] = ["reconcile", path, "--threads", "2"]
    for runs, url in databases.items():
        made["export, PostgreSQL", runs] = ["export", url, "--out", out, "--connections", "2"]
        made["reconcile, PostgreSQL", runs] = ["reconcile", url, "--connections", "2"]
    return made


def measured(options, out, commands):
    runs = {key: [] for key in commands}
    for number in range(options.growth_rounds):
        for key, args in commands.items():
            say(f"round {number + 1} of {options.growth_rounds}: {key[0]}, {key[1]} runs")
            shutil.rmtree(out, ignore_errors=True)
            runs[key].append(run([options.recount, *args, "--format", "json"], (0, 1)))
    return {key: Measured(found) for key, found in runs.items()}


def per_run(found, key):
    return found[key].seconds / key[1]


def table(found):
    rows = []
    for what, runs in sorted(found):
        one = found[what, runs]
        smaller = [(what, other) for kind, other in found if kind == what and other < runs]
        growth = per_run(found, (what, runs)) / per_run(found, max(smaller)) if smaller else 1
        told = one.runs[0].told
        digest = str(told.get("digest") or "")[:16]
        milliseconds = report.number(1000 * per_run(found, (what, runs)))
        seconds, peak = report.number(one.seconds), report.number(one.peak_mb)
        label = f"`recount {what.replace(', ', '`, ')}"
        rows.append([label, runs, seconds, milliseconds, f"{growth:.2f}", peak, f"`{digest}`" if digest else "–"])
    return report.table(["what", "runs", "s", "ms a run", "× the size before", "peak MB", "digest"], rows)


def goals(found):
    """Lines 4 and 6: from the smallest to the largest for time, from the middle to the largest for memory."""
    lines = []
    for what in sorted({what for what, _ in found}):
        sizes = sorted(runs for kind, runs in found if kind == what)
        first, last = (what, sizes[0]), (what, sizes[-1])
        if len(sizes) < 2:
            continue
        before = (what, sizes[-2])
        time = per_run(found, last) / per_run(found, first)
        memory = found[last].peak_mb / found[before].peak_mb
        lines.append((6, f"{what}: seconds a run, {last[1]} runs / {first[1]}", time, "≤", GROWTH))
        lines.append((4, f"{what}: peak memory, {last[1]} runs / {before[1]}", memory, "≤", GROWTH))
    return lines
