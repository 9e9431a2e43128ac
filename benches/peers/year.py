"""What a year of one validator costs, and of sixty: all tables, component rows too, 256 miners and one run a day.

Measured on some runs and multiplied, for the cost of a run does not depend on how many there are (part `growth`); with
`--year-runs 365` the year itself is measured.
"""

import report
from cluster import psql
from data import Data, fill, load, take_snapshot
from growth import commands, measured

DAYS = 365
VALIDATORS = 60
COUNTED = ["weather_miner_scores", "weather_forecast_component_scores", "weather_forecast_steps"]


def measure(options, cluster, folder):
    runs = options.year_runs
    psql(cluster.url(), "CREATE DATABASE year")
    data = Data(options.recount, cluster.url("year"), folder, runs)
    fill(data, options.miners, components=True)
    take_snapshot(data)
    out = folder / "out"
    found = measured(options, out, commands(out, {runs: data.snapshot}, {runs: data.url}))
    counts = {table: int(psql(data.url, f"SELECT count(*) FROM {table}")) for table in COUNTED}
    digests = {one.runs[0].told["digest"][:16] for one in found.values() if one.runs[0].told.get("digest")}
    bytes_on_disk = sum(path.stat().st_size for path in data.snapshot.iterdir())
    return "\n\n".join([
        f"{runs} runs × {options.miners} miners, {told(counts, 1)}; medians of {options.growth_rounds} rounds, {report.day()}, "
        f"load {load():.1f}. A year of one validator is {told(counts, DAYS / runs)}.",
        table(found, runs, bytes_on_disk),
        f"Digest {', '.join(f'`{digest}`' for digest in sorted(digests))}.",
    ])


def told(counts, factor):
    names = ["scores", "components", "steps"]
    return ", ".join(f"{report.number(count * factor / 1e6)} M {name}" for count, name in zip(counts.values(), names))


def table(found, runs, bytes_on_disk):
    year = "measured" if runs == DAYS else "computed"
    headings = ["what", f"{runs} runs, measured", f"a year of one, {year}", f"a year of {VALIDATORS}, computed", "peak MB"]
    rows = [
        [f"`recount {what.replace(', ', '`, ')}", *map(time, scaled(one.seconds, runs)), report.number(one.peak_mb)]
        for (what, _), one in sorted(found.items())
    ]
    rows.append(["the snapshot folder", *(f"{report.number(size / 1e9)} GB" for size in scaled(bytes_on_disk, runs)), "–"])
    return report.table(headings, rows)


def scaled(value, runs):
    return [value, value / runs * DAYS, value / runs * DAYS * VALIDATORS]


def time(seconds):
    return f"{report.number(seconds)} s" if seconds < 600 else f"{report.number(seconds / 60)} min"
