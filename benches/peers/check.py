"""Whether all compute the same numbers: combined scores to 1e-9 of recount's own, and the same rows wherever rows are read."""

import csv
import hashlib
import itertools
import json
import subprocess
import sys

import engine
from child import run, say
from cluster import statement
from data import HERE, script
from lineup import ROLLUPS, ROWS, SCORES, copy, halves

TOLERANCE = 1e-9
# The sums of tables.py are of 64 bits.
WRAP = 1 << 64
# For the digest alone: sums of another order may differ in the last digits.
DIGEST_DECIMALS = 8
DIGEST_CHARS = 16


def check(data, entries):
    """The digest of each entry's results; ends the program where one differs."""
    digests = {}
    for entry in entries:
        say(f"checking {entry.label}")
        entry.prepare()
        if entry.gives == ROWS:
            digests[entry.key] = of_rows(data, entry)
        elif entry.gives == SCORES:
            digests[entry.key] = of_scores(scores_of(data, entry))
        else:
            digests[entry.key] = run(entry.command, entry.statuses).told["digest"][:DIGEST_CHARS]
    same(entries, digests, ROWS)
    same(entries, digests, ROLLUPS)
    expected = recomputed(data, entries)
    for entry in entries:
        if entry.gives == SCORES:
            compare(entry.label, results(data, entry.key), expected)
    return digests | {"combined": of_scores(expected)}


def same(entries, digests, kind):
    by_label = {entry.label: digests[entry.key] for entry in entries if entry.gives == kind}
    if len(set(by_label.values())) > 1:
        sys.exit(f"the results differ: {json.dumps(by_label, indent=2)}")


def results(data, key):
    return data.folder / f"{key}.csv"


def scores_of(data, entry):
    """Runs a computing entry so that its results are kept as CSV."""
    path = results(data, entry.key)
    if entry.key != "postgres":
        run([*entry.command, path])
        return path
    query = (HERE / "postgres.sql").read_text()
    with open(path, "wb") as file:
        subprocess.run(statement(data.url, f"COPY ({query}) TO STDOUT (FORMAT csv)"), stdout=file, check=True)
    return path


def recomputed(data, entries):
    """recount's own combined scores, from the tables that it writes."""
    entry = next(entry for entry in entries if entry.key.startswith("recompute"))
    entry.prepare()
    run(entry.command, entry.statuses)
    path = results(data, "recount")
    with open(path, "wb") as file:
        subprocess.run(script("tables.py", "combined", data.folder / "out"), stdout=file, check=True)
    return path


def rows(path):
    with open(path, newline="") as file:
        for run_id, miner, score in csv.reader(file):
            yield int(run_id), int(miner), float(score)


def of_scores(path):
    lines = hashlib.sha256()
    for run_id, miner, score in rows(path):
        lines.update(f"{run_id},{miner},{score:.{DIGEST_DECIMALS}f}\n".encode())
    return lines.hexdigest()[:DIGEST_CHARS]


def compare(label, found, expected):
    for ours, theirs in itertools.zip_longest(rows(expected), rows(found)):
        if ours is None or theirs is None or ours[:2] != theirs[:2] or not abs(ours[2] - theirs[2]) <= TOLERANCE:
            sys.exit(f"{label}: run, miner and score are {theirs}, recount has {ours}")


def of_rows(data, entry):
    """The digest of the rows that an entry reads; `psql`'s as CSV, for nothing here takes its binary form apart."""
    if entry.key == "export":
        run(entry.command, entry.statuses)
        found = run(script("tables.py", "snapshot", data.folder / "out")).told
    elif entry.key in engine.READING:
        found = run(script("tables.py", entry.key, data.url)).told
    else:
        found = copied(data, [""] if entry.key == "copy-1" else halves(data.runs))
    text = json.dumps(found, sort_keys=True)
    if found["rows"] != data.scores:
        sys.exit(f"{entry.label}: {text}, but there are {data.scores} scores")
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def copied(data, wheres):
    parts = [piped(statement(data.url, as_csv(where)), script("tables.py", "csv", "-")) for where in wheres]
    return {name: sum(part[name] for part in parts) % WRAP for name in parts[0]}


def as_csv(where):
    """The same statement with times as microseconds, which every reader of CSV reads alike."""
    micros = "(extract(epoch FROM {0}) * 1000000)::bigint"
    sql = copy(where).replace("FORMAT binary", "FORMAT csv")
    for column in ["calculation_time", "valid_time_utc"]:
        sql = sql.replace(column, micros.format(column))
    return sql


def piped(first, second):
    source = subprocess.Popen(first, stdout=subprocess.PIPE)
    output = subprocess.run(second, stdin=source.stdout, stdout=subprocess.PIPE, check=True).stdout
    if source.wait() != 0:
        sys.exit(f"{first} ended with {source.returncode}")
    return json.loads(output)
