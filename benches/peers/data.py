"""The data: a generated validator with every score of every miner, in a database, in a snapshot folder and as Parquet."""

import dataclasses
import pathlib
import subprocess
import sys

from child import run, say
from cluster import psql

HERE = pathlib.Path(__file__).parent
SEED = "1"


@dataclasses.dataclass
class Data:
    """Where everything is."""

    recount: str
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
    return [sys.executable, HERE / name, *args]


def generate(recount, runs, miners, *target):
    """Complete runs without component rows: what all peers read alike."""
    size = ["--runs", runs, "--miners", miners, "--seed", SEED]
    run([recount, "generate", *size, "--complete", "--no-components", *target], tells=False)


def fill(recount, url, runs, miners):
    run([recount, "migrate", "--database-url", url], tells=False)
    generate(recount, runs, miners, "--database-url", url)


def make(recount, url, folder, runs, miners):
    data = Data(str(recount), url, folder, runs)
    say(f"generating {runs} runs × {miners} miners into PostgreSQL")
    fill(recount, url, runs, miners)
    snap(data)
    return data


def snap(data):
    """Takes the snapshot folder and the Parquet file of what the database holds now."""
    say("exporting the snapshot folder and the Parquet file")
    run([data.recount, "export", data.url, "--out", data.snapshot], tells=False)
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
