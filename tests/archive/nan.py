"""Counts scores that are NaN or large: by looking at each, and by the answers of engines that pass over row groups."""

import glob
import json
import math
import sys

import duckdb
import fastparquet
import pyarrow.parquet

files = sorted(glob.glob(f"{sys.argv[1]}/scores/*/*.parquet"))
scores = [x for file in files for x in pyarrow.parquet.read_table(file, partitioning=None)["score"].to_pylist() if x is not None]


def ask(condition):
    return duckdb.sql(f"SELECT count(*) FROM read_parquet({files!r}) WHERE {condition}").fetchall()[0][0]


answers = {
    "rows": sum(pyarrow.parquet.read_metadata(file).num_rows for file in files),
    "nan": sum(math.isnan(x) for x in scores),
    # For DuckDB NaN is greater than every number.
    "above": sum(x > 1e9 or math.isnan(x) for x in scores),
    "duckdb nan": ask("isnan(score)"),
    "duckdb above": ask("score > 1e9"),
    "fastparquet": sum(len(fastparquet.ParquetFile(file).to_pandas(columns=["score"])) for file in files),
}
print(json.dumps(answers))
