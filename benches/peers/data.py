"""The data: a generated validator with every score of every miner, in a database, in a snapshot folder and as Parquet."""

import dataclasses
import pathlib
import sys

from child import run, say
from cluster import psql

HERE = pathlib.Path(__file__).parent
SEED = "1"


@dataclasses.dataclass
class Data:
    """Where everything is."""

    recount: pathlib.Path
    url: str
    folder: pathlib.Path
    runs: int
    scores: int = 0
    table_bytes: int = 0

    @property
    def snapshot(self):
        return self.folder / "snapshot"

    @property
    def parquet(self):
        return self.folder / "scores.parquet"


def script(name, *args):
    """A program beside this one, in a process of its own."""
    return [sys.executable, "-B", HERE / name, *args]


def generate(recount, runs, miners, *target, components=False):
    """Complete runs; mostly without component rows, which no peer reads."""
    size = ["--runs", runs, "--miners", miners, "--seed", SEED]
    kind = ["--complete"] if components else ["--complete", "--no-components"]
    run([recount, "generate", *size, *kind, *target], tells=False)


def fill(data, miners, components=False):
    say(f"generating {data.runs} runs × {miners} miners into PostgreSQL")
    run([data.recount, "migrate", "--standalone", "--database-url", data.url], tells=False)
    generate(data.recount, data.runs, miners, "--database-url", data.url, components=components)


def take_snapshot(data):
    say("exporting the snapshot folder")
    run([data.recount, "export", data.url, "--out", data.snapshot], tells=False)


def snap(data):
    """Takes the snapshot folder and the Parquet file of what the database holds."""
    take_snapshot(data)
    say("writing the Parquet file")
    run(script("tables.py", "parquet", data.url, data.parquet), tells=False)
    data.scores = int(psql(data.url, "SELECT count(*) FROM weather_miner_scores"))
    data.table_bytes = int(psql(data.url, "SELECT pg_table_size('weather_miner_scores')"))


def machine(url):
    """What the figures are of."""
    cpu = next((line for line in open("/proc/cpuinfo") if line.startswith("model name")), "model name : unknown processor")
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal")) // 1_000_000
    server = psql(url, "SHOW server_version").split()[0]
    peers = [line.strip().replace("==", " ") for line in (HERE / "requirements.txt").read_text().splitlines()]
    return f"{cores} cores ({cpu.split(':')[1].strip()}), {memory} GB, PostgreSQL {server}, {', '.join(peers)}"


def load():
    return float(pathlib.Path("/proc/loadavg").read_text().split()[0])
