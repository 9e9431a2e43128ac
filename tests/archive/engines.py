"""Reads every table of archives with one engine; prints for each its types, its number of rows, and what its columns sum to."""

import datetime
import fractions
import json
import math
import pathlib
import sys

engine, dests = sys.argv[1], sys.argv[2:]
KINDS = {"bool": "boolean", "int": "int32", "bigint": "int64", "date32[day]": "date", "timestamp": "timestamp[us, tz=UTC]"}


def duckdb(folder):
    import duckdb

    duckdb.sql("SET TimeZone = 'UTC'")
    pattern = f"{folder}/**/*.parquet"
    found = duckdb.sql(f"SELECT * FROM read_parquet('{pattern}', hive_partitioning = true, union_by_name = true)").arrow()
    return arrow(found.read_all() if hasattr(found, "read_all") else found)


def polars(folder):
    import polars

    # Newest first: a table by `as_of` keeps its past as it was written, without the columns that came later.
    files = sorted(pathlib.Path(folder).rglob("*.parquet"), reverse=True)
    return arrow(polars.scan_parquet(files, hive_partitioning=True, missing_columns="insert").collect().to_arrow())


def pyarrow(folder):
    import pyarrow as pa
    import pyarrow.dataset as dataset

    found = dataset.dataset(folder, partitioning=dataset.partitioning(flavor="hive"))
    files = [fragment.physical_schema for fragment in found.get_fragments()]
    return arrow(found.replace_schema(pa.unify_schemas([found.schema, *files])).to_table())


def chdb(folder):
    import chdb
    import pyarrow.ipc

    files = f"file('{folder}/**/*.parquet', Parquet)"
    settings = "use_hive_partitioning = 1, schema_inference_mode = 'union', session_timezone = 'UTC'"
    return arrow(pyarrow.ipc.open_file(chdb.query(f"SELECT * FROM {files} SETTINGS {settings}", "Arrow").bytes()).read_all())


def spark(folder):
    from pyspark.sql import SparkSession, functions

    session = SparkSession.builder.master("local[2]").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    assert session.conf.get("spark.sql.parquet.enableVectorizedReader") == "true"
    found = session.read.option("mergeSchema", "true").parquet(folder)
    kinds = {field.name: field.dataType.simpleString() for field in found.schema}
    # Python is given times without a zone, of whatever zone the machine is in.
    whole = {"timestamp": functions.unix_micros, "date": lambda column: column.cast("string")}
    rows = found.select([whole.get(kind, lambda column: column)(found[name]).alias(name) for name, kind in kinds.items()]).collect()
    return len(rows), {name: (kind, [row[at] for row in rows]) for at, (name, kind) in enumerate(kinds.items())}


def arrow(table):
    return table.num_rows, {field.name: (str(field.type), table.column(field.name).to_pylist()) for field in table.schema}


def kind(text):
    return "text" if "dictionary" in text or "string" in text else KINDS.get(text, text)


def total(values):
    """NULL, NaN and infinity are counted apart; the rest is summed exactly, whatever the order of rows."""
    present = [v for v in values if v is not None]
    if present and isinstance(present[0], float):
        finite = sum(fractions.Fraction(v) for v in present if math.isfinite(v))
        return [len(values) - len(present), sum(map(math.isnan, present)), sum(map(math.isinf, present)), str(finite)]
    if present and isinstance(present[0], datetime.datetime):
        present = [round(v.astimezone(datetime.timezone.utc).timestamp() * 1e6) for v in present]
    if present and isinstance(present[0], (str, datetime.date)):
        present = [sum(str(v).encode()) for v in present]
    return [len(values) - len(present), sum(present)]


def described(folder):
    rows, found = globals()[engine](str(folder))
    columns = {name: [kind(text), total(values)] for name, (text, values) in found.items()}
    # A partition is a date where an engine takes it for one, and text where it does not; its value is the same.
    for name in ("init_date", "as_of"):
        if name in columns:
            columns[name][0] = "partition"
    return {"rows": rows, "columns": columns}


def tables(dest):
    return sorted(p for p in pathlib.Path(dest).iterdir() if p.is_dir() and not p.name.startswith("_") and p.name != "latest")


print(json.dumps([{folder.name: described(folder) for folder in tables(dest)} for dest in dests]))
