"""What comparing and correcting cost beside recomputing: a night's corrections, one row in a hundred, five cells in each."""

import report
from child import Measured, run, say
from cluster import psql
from data import Data, fill, take_snapshot

# Cells whose evidence is there: what rests on component rows, which this data lacks, is unproven and not corrected (D6).
COLUMNS = ["forecast_score_initial", "era5_combined_score", "era5_completeness", "overall_forecast_score",
           "forecast_inference_duration_seconds"]
ONE_ROW_IN = 100
SHARE = 0.10


def measure(options, cluster, folder):
    psql(cluster.url(), "CREATE DATABASE corrections")
    data = Data(options.recount, cluster.url("corrections"), folder, options.runs)
    fill(data, options.miners)
    take_snapshot(data)
    reconcile = [data.recount, "reconcile", "--format", "json"]
    apply = [*reconcile, data.url, "--apply", "--max-fraction", "1"]
    run(apply, (0, 1))
    commands = {
        "all": [*reconcile, data.snapshot, "--threads", "1"],
        "one": [*reconcile, data.snapshot, "--threads", "1", "--runs", "1..1"],
        "read": [*reconcile, data.url],
        "apply": apply,
    }
    runs = {key: [] for key in commands}
    for number in range(options.rounds):
        for key, command in commands.items():
            say(f"round {number + 1} of {options.rounds}: reconcile, {key}")
            if key == "apply":
                spoil(data.url)
            runs[key].append(run(command, (0, 1)))
    cells = corrected(runs["apply"][0])
    if not cells or any(corrected(found) != cells for found in runs["apply"]) or run(commands["read"], (0, 1)).told["digest"] != digest(runs):
        raise SystemExit("corrections: the rounds did not correct the same cells, or none")
    return text({key: Measured(found) for key, found in runs.items()}, cells, digest(runs))


def spoil(url):
    wrong = ", ".join(f"{column} = coalesce({column}, 0) + 1" for column in COLUMNS)
    psql(url, f"UPDATE weather_forecast_stats SET {wrong} WHERE (id - 1) % {ONE_ROW_IN} = 0")
    psql(url, "VACUUM (ANALYZE) weather_forecast_stats")


def corrected(found):
    return sum(table["cells"] for table in found.told["corrections"]["tables"].values())


def digest(runs):
    return runs["all"][0].told["digest"]


def text(measured, cells, digest):
    seconds = {key: found.seconds for key, found in measured.items()}
    lines = [
        ("`recount reconcile`, folder, 1 thread, all rows compared", "all"),
        ("the same, rows of one run compared (all are recomputed)", "one"),
        ("`recount reconcile`, PostgreSQL", "read"),
        (f"the same with `--apply`: {cells:,} wrong cells put right", "apply"),
    ]
    rows = [[label, report.number(seconds[key]), report.number(measured[key].peak_mb)] for label, key in lines]
    shares = [
        (8, "comparing, share of a reconcile from a folder", 1 - seconds["one"] / seconds["all"], "≤", SHARE),
        (8, "correcting, share of `reconcile --apply`", 1 - seconds["read"] / seconds["apply"], "≤", SHARE),
    ]
    return f"{report.table(['what', 's', 'peak MB'], rows)}\n\nDigest `{digest[:16]}`.\n\n{report.goals(shares)}"
