"""What was read or computed, in a form to compare: `tables.py FORM INPUT`, in a process of its own.

`rows`: one JSON object that any reader of the same scores gives, whatever the order of rows. `combined`: recount's recomputed
rollups as the CSV that the peers write. `parquet`: the scores as a DuckDB user would keep them.
"""

import csv
import json
import os
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc

import engine

NUMBERS = ["id", "response_id", "run_id", "miner_uid", "lead_hours", "calculation_time"]
# Sums of 64 bits wrap in every engine.
WRAP = 1 << 64
TEXTS = ["miner_hotkey", "score_type", "variable_level"]


def of_rows(batches):
    """Sums of numbers, of lengths, and of scores in whole millionths, so that no order of rows can change them."""
    sums = dict.fromkeys(["rows", *NUMBERS, *TEXTS, "score"], 0)
    for batch in batches:
        sums["rows"] += batch.num_rows
        for name in NUMBERS:
            column = batch.column(name)
            is_time = pa.types.is_timestamp(column.type)
            whole = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()) if is_time else column.cast(pa.int64())
            sums[name] += pc.sum(whole).as_py() or 0
        for name in TEXTS:
            sums[name] += pc.sum(pc.binary_length(batch.column(name).cast(pa.string()))).as_py() or 0
        millionths = pc.round(pc.multiply(batch.column("score"), 1e6)).cast(pa.int64())
        sums["score"] += pc.sum(millionths).as_py() or 0
    return {name: value % WRAP for name, value in sums.items()}


def from_csv(file):
    names = [name.strip() for name in engine.COLUMNS.split(",")]
    floats, texts = {"score": pa.float64()}, dict.fromkeys(TEXTS, pa.string())
    numbers = dict.fromkeys([*NUMBERS, "valid_time_utc"], pa.int64())
    types = pyarrow.csv.ConvertOptions(column_types=numbers | floats | texts, strings_can_be_null=True)
    return pyarrow.csv.open_csv(file, pyarrow.csv.ReadOptions(column_names=names), convert_options=types)


def from_snapshot(folder):
    file = pyarrow.ipc.open_file(f"{folder}/weather_miner_scores.arrow")
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        columns = dict(zip(batch.schema.names, map(in_rows, batch.columns)))
        columns["id"] = pc.add(columns.pop("id_less_row"), pa.array(range(batch.num_rows)))
        yield pa.RecordBatch.from_pydict(columns)


def in_rows(column):
    """A value for each row of a column that may come in stretches."""
    if not pa.types.is_run_end_encoded(column.type):
        return column
    values = column.values.cast(pa.string()) if pa.types.is_dictionary(column.values.type) else column.values
    return pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(column.run_ends, values))


def combined(folder):
    """Of recount's own output, rows with a combined score, which is where a lead is scored (R3)."""
    import duckdb

    query = """SELECT run_id, miner_uid, era5_combined_score FROM read_parquet(?)
               WHERE era5_combined_score IS NOT NULL ORDER BY run_id, miner_uid"""
    rows = duckdb.connect().execute(query, [f"{folder}/weather_forecast_stats.parquet"]).fetchall()
    csv.writer(sys.stdout).writerows(rows)


def parquet(url, path):
    """Row groups and encodings are DuckDB's own."""
    import duckdb

    reader = pa.RecordBatchReader.from_batches(*first_schema(engine.READING["adbc"]()(url)))
    duckdb.connect().from_arrow(reader).write_parquet(path)


def first_schema(batches):
    first = next(batches)

    def again():
        yield first
        yield from batches

    return first.schema, again()


def main(form, source, *more):
    if form == "combined":
        combined(source)
    elif form == "parquet":
        parquet(source, *more)
    else:
        readers = {"csv": lambda _: from_csv(sys.stdin.buffer), "snapshot": from_snapshot}
        readers |= {name: make() for name, make in engine.READING.items() if name == form}
        print(json.dumps(of_rows(readers[form](source))))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    # pyarrow's CSV reader leaves a thread behind that now and then aborts the interpreter's own ending.
    os._exit(0)
