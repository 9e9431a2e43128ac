"""One peer, in a process of its own: `engine.py NAME INPUT [CSV]`.

Prints how long its work took, imports and the start of Python left out, and how many rows came of it. With CSV, the combined
scores are written there, after the clock has stopped.
"""

import csv
import json
import sys
import time

# Kinds by the name of the score; rule I1. Nothing else has a kind.
PREFIXES = {"rmse": "era5_rmse_", "acc": "era5_acc_", "skill": "era5_skill_"}
# Each expected variable has a bit (rule C), so that L1 is one OR a row, not a set of names a lead.
BITS = {name: 1 << place for place, name in enumerate(["2t", "10u", "10v", "msl", "t", "u", "v", "q", "z"])}
ALL_VARIABLES = sum(BITS.values())
EXPECTED_LEADS = 10

# The columns that an operator would take along.
COLUMNS = (
    "id, response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level, "
    "valid_time_utc"
)

NEEDED = "run_id, miner_uid, lead_hours, variable_level, score, score_type"
KEY = "run_id, miner_uid, score_type, lead_hours, variable_level"

# Rule I3 in three forms: not at all, by a window, and by the greatest row of a group.
PLAIN = "SELECT {needed} FROM read_parquet('{path}') WHERE starts_with(score_type, 'era5_')"
WINDOW = f"{PLAIN} QUALIFY row_number() OVER (PARTITION BY {KEY} ORDER BY calculation_time DESC, id DESC) = 1"
GROUPED = f"""
SELECT {KEY}, arg_max(score, (calculation_time, id)) AS score
FROM read_parquet('{{path}}') WHERE starts_with(score_type, 'era5_') GROUP BY ALL"""

# Rules L1 to L4 and R3. Of several forms that give the same numbers, the fastest that was found.
COMBINED = """
WITH rows AS (
    SELECT run_id, miner_uid, lead_hours, score,
        CASE WHEN starts_with(score_type, '{rmse}') THEN 1 WHEN starts_with(score_type, '{acc}') THEN 2
             WHEN starts_with(score_type, '{skill}') THEN 3 END AS kind,
        CASE variable_level {bits} END AS variable
    FROM ({scores})
), leads AS (
    SELECT run_id, miner_uid,
        avg(least(greatest(score, 0), 1)) FILTER (kind = 3) AS skill,
        avg((score + 1) / 2) FILTER (kind = 2) AS acc,
        list_sort(list(score) FILTER (kind = 1)) AS errors,
        bit_or(variable) AS variables
    FROM rows GROUP BY run_id, miner_uid, lead_hours
), referred AS (
    SELECT *, errors[len(errors) // 2 + 1] AS reference FROM leads WHERE variables = {all_variables}
), parts AS (
    SELECT *, list_avg(list_transform(errors, lambda e: 1 / (1 + CASE WHEN reference > 0 THEN e / reference ELSE 1 END))) AS rmse
    FROM referred
)
SELECT run_id, miner_uid, sum(least(greatest(
    CASE WHEN skill IS NULL OR acc IS NULL THEN coalesce(skill, acc, rmse)
         WHEN rmse IS NULL THEN 0.6 * skill + 0.4 * acc ELSE 0.6 * skill + 0.3 * acc + 0.1 * rmse END, 0), 1)) / {leads} AS score
FROM parts GROUP BY run_id, miner_uid ORDER BY run_id, miner_uid"""


def duckdb(scores):
    import duckdb

    bits = " ".join(f"WHEN '{name}' THEN {bit}" for name, bit in BITS.items())

    def work(path):
        filled = scores.format(needed=NEEDED, path=path)
        constants = {"bits": bits, "all_variables": ALL_VARIABLES, "leads": EXPECTED_LEADS}
        return duckdb.connect().execute(COMBINED.format(scores=filled, **constants, **PREFIXES)).fetchall()

    return work


def polars():
    import polars as pl

    kind = pl.lit(None, pl.Int8)
    for number, name in enumerate(PREFIXES, 1):
        starts = pl.col("score_type").str.starts_with(PREFIXES[name])
        kind = pl.when(starts).then(pl.lit(number, pl.Int8)).otherwise(kind)
    score, variable = pl.col("score"), pl.col("variable_level").replace_strict(BITS, default=None, return_dtype=pl.Int32)
    errors, reference = pl.col("errors"), pl.col("reference")
    skill, acc, rmse = pl.col("skill"), pl.col("acc"), pl.col("rmse")
    with_rmse = pl.when(rmse.is_null()).then(0.4 * acc).otherwise(0.3 * acc + 0.1 * rmse)
    lead = pl.when(skill.is_null() | acc.is_null()).then(pl.coalesce(skill, acc, rmse)).otherwise(0.6 * skill + with_rmse)
    ratios = pl.when(reference > 0).then((1 / (1 + errors / reference)).list.mean())

    def of(number, value):
        return pl.when(pl.col("kind") == number).then(value).mean()

    def work(path):
        rows = pl.scan_parquet(path).filter(pl.col("score_type").str.starts_with("era5_"))
        leads = (
            rows.select("run_id", "miner_uid", "lead_hours", "score", kind=kind, variable=variable)
            .group_by("run_id", "miner_uid", "lead_hours")
            .agg(
                skill=of(3, score.clip(0, 1)),
                acc=of(2, (score + 1) / 2),
                errors=score.filter(pl.col("kind") == 1),
                variables=pl.col("variable").bitwise_or(),
            )
            .filter(pl.col("variables") == ALL_VARIABLES)
        )
        middle = errors.list.sort().list.get(errors.list.len() // 2, null_on_oob=True)
        parts = leads.with_columns(reference=middle).with_columns(
            rmse=ratios.when(reference.is_not_null()).then(0.5),
        )
        combined = parts.group_by("run_id", "miner_uid").agg(score=lead.clip(0, 1).sum() / EXPECTED_LEADS)
        return combined.sort("run_id", "miner_uid").collect(engine="streaming").rows()

    return work


def adbc():
    import adbc_driver_postgresql.dbapi

    def work(url):
        with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {COLUMNS} FROM weather_miner_scores")
            yield from cursor.fetch_record_batch()

    return work


def connectorx(partitions):
    import connectorx

    def work(url):
        query = f"SELECT {COLUMNS} FROM weather_miner_scores"
        ways = {"partition_on": "run_id", "partition_num": partitions} if partitions > 1 else {}
        yield from connectorx.read_sql(url, query, return_type="arrow", **ways).to_batches()

    return work


# What computes the combined score of each run and miner, and what reads all rows.
COMPUTING = {
    "duckdb": lambda: duckdb(PLAIN),
    "duckdb-window": lambda: duckdb(WINDOW),
    "duckdb-grouped": lambda: duckdb(GROUPED),
    "polars": polars,
}
READING = {
    "adbc": adbc,
    "connectorx-1": lambda: connectorx(1),
    "connectorx-2": lambda: connectorx(2),
}


def main(name, source, out=None):
    work = (COMPUTING | READING)[name]()
    start = time.monotonic()
    if name in READING:
        rows = sum(batch.num_rows for batch in work(source))
    else:
        found = work(source)
        rows = len(found)
    print(json.dumps({"work_seconds": time.monotonic() - start, "rows": rows}))
    if out:
        with open(out, "w", newline="") as file:
            csv.writer(file).writerows(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
