"""Ten questions to one archive, by `recount query` and by DuckDB over the same files (docs/questions.md)."""

import json
import math
import os
import random
import sys

import report
from asker import in_one, questions
from child import Measured, run, say
from data import SEED, load, machine, script

# How much longer than DuckDB a question may take.
MOST = 1.5
DRIFT = 30
WITHIN = 1e-9


def measure(options, cluster, folder):
    snapshot, archive = folder / "snapshot", folder / "archive"
    say(f"generating and archiving {options.runs} runs × {options.miners} miners")
    size = ["--runs", options.runs, "--miners", options.miners, "--seed", SEED]
    # Few runs have no room for more.
    drift = min(DRIFT, options.runs * options.miners // 2)
    run([options.recount, "generate", *size, "--messy", "--drift", drift, "--out", snapshot], tells=False)
    run([options.recount, "archive", snapshot, "--to", archive], tells=False)
    # The page's own statements name the archive by this name, in the current folder.
    os.chdir(folder)
    asked = questions()
    commands = {}
    for number, (_, sql) in asked.items():
        commands["recount", number] = [options.recount, "query", archive, in_one(sql), "--format", "json", "--out", "answer.json"]
        commands["DuckDB", number] = script("asker.py", number)
    # This is also the round that warms the caches up.
    rows = {number: check(number, commands) for number in asked}
    before = load()
    measured = rounds(commands, options.rounds)
    scores = count(options.recount, archive, "scores")
    components = count(options.recount, archive, "component_scores")
    return "\n\n".join([
        f"{options.runs} runs × {options.miners} miners (`--messy --drift {drift}`), {scores:,} scores and {components:,} component scores "
        f"in an archive of {size_of(archive) / 1e6:.0f} MB, seed {SEED}; medians of {options.rounds} interleaved rounds, "
        f"{report.day()}. {machine(cluster.url())}. Load before and after: {before:.1f} and {load():.1f}.",
        side_by_side(asked, rows, measured),
        "*recount s*: median wall time of the whole process. *DuckDB s*: the same of Python with DuckDB; *work s*: without the start "
        "of Python and its imports, with the making of the views. The ratio is of recount's whole process and DuckDB's work. Before "
        f"anything was timed, both had given the same answers, doubles within {WITHIN:g} of one another.",
        report.goals(goals(measured, asked)),
    ])


def check(number, commands):
    """Both give the same answer; how many rows it has."""
    run(commands["recount", number], tells=False)
    with open("answer.json") as file:
        own = [list(row.values()) for row in json.load(file)]
    peer = run(commands["DuckDB", number]).told["answer"]
    if len(own) != len(peer) or not all(same(*pair) for pair in zip(own, peer)):
        sys.exit(f"question {number}: recount answers {own}, DuckDB {peer}")
    return len(own)


def same(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b))
    if isinstance(a, float) or isinstance(b, float):
        numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
        return numbers and math.isclose(a, b, rel_tol=WITHIN, abs_tol=WITHIN)
    return a == b


def rounds(commands, number_of_rounds):
    runs = {key: [] for key in commands}
    for number in range(number_of_rounds):
        say(f"round {number + 1} of {number_of_rounds}: ten questions to both")
        for key in random.Random(number).sample(list(commands), len(commands)):
            runs[key].append(run(commands[key], tells=key[0] == "DuckDB"))
    return {key: Measured(found) for key, found in runs.items()}


def side_by_side(asked, rows, measured):
    lines = []
    for number, (title, _) in asked.items():
        own, peer = measured["recount", number], measured["DuckDB", number]
        seconds = [own.seconds, peer.seconds, peer.work]
        ratio = f"{own.seconds / peer.work:.2f}"
        lines.append([title, rows[number], *map(report.number, seconds), ratio, *map(report.number, [own.peak_mb, peer.peak_mb])])
    headings = ["question", "rows", "recount s", "DuckDB s", "work s", "recount / work", "recount peak MB", "DuckDB peak MB"]
    return report.table(headings, lines)


def goals(measured, asked):
    ratio = {number: measured["recount", number].seconds / measured["DuckDB", number].work for number in asked}
    slowest = max(ratio, key=ratio.get)
    return [(1, f"the slowest beside DuckDB, question {slowest}", ratio[slowest], "≤", MOST)]


def count(recount, archive, table):
    sql = f"SELECT count(*) AS n FROM {table}"
    return run([recount, "query", archive, sql, "--format", "jsonl"]).told["n"]


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
