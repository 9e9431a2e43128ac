"""Reads every table of an archive with one engine; prints for each its types, its number of rows, and what its columns sum to."""

import datetime
import fractions
import json
import math
import pathlib
import sys

engine, dest = sys.argv[1], sys.argv[2]
tables = sorted(p.name for p in pathlib.Path(dest).iterdir() if p.is_dir() and not p.name.startswith("_") and p.name != "latest")


def arrow(table):
    pattern = f"{dest}/{table}/**/*.parquet"
    if engine == "duckdb":
        import duckdb

        duckdb.sql("SET TimeZone = 'UTC'")
        found = duckdb.sql(f"SELECT * FROM read_parquet('{pattern}', hive_partitioning = true, union_by_name = true)").arrow()
        return found.read_all() if hasattr(found, "read_all") else found
    if engine == "polars":
        import polars

        return polars.scan_parquet(pattern, hive_partitioning=True).collect().to_arrow()
    import pyarrow.dataset as dataset

    return dataset.dataset(f"{dest}/{table}", partitioning=dataset.partitioning(flavor="hive")).to_table()


def kind(type):
    text = str(type)
    if "dictionary" in text or "string" in text:
        return "text"
    return {"bool": "boolean", "int32": "int32", "int64": "int64", "double": "double", "date32[day]": "date"}.get(text, text)


def total(column):
    """NULL, NaN and infinity are counted apart; the rest is summed exactly, whatever the order of rows."""
    values = column.to_pylist()
    present = [v for v in values if v is not None]
    if present and isinstance(present[0], float):
        finite = sum(fractions.Fraction(v) for v in present if math.isfinite(v))
        return [len(values) - len(present), sum(map(math.isnan, present)), sum(map(math.isinf, present)), str(finite)]
    if present and isinstance(present[0], datetime.datetime):
        present = [round(v.astimezone(datetime.timezone.utc).timestamp() * 1e6) for v in present]
    if present and isinstance(present[0], (str, datetime.date)):
        present = [sum(str(v).encode()) for v in present]
    return [len(values) - len(present), sum(present)]


def described(table):
    found = arrow(table)
    columns = {f.name: [kind(f.type), total(found.column(f.name))] for f in found.schema}
    # A partition is a date where an engine takes it for one, and text where it does not; its value is the same.
    for name in ("init_date", "as_of"):
        if name in columns:
            columns[name][0] = "partition"
    return {"rows": found.num_rows, "columns": columns}


print(json.dumps({table: described(table) for table in tables}))
