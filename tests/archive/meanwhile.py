"""Reads an archive until a file named `stop` is there: by the page's own recipe with DuckDB, and `latest/` at once."""
import io, json, os, sys
import duckdb, pyarrow.parquet

dest, stop, rows, miners, recipe = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
exec(recipe)

reads, wrong = 0, []
while not os.path.exists(stop):
    # Readers open a file twice, and what has a name that stays may be another by then: so it is read whole.
    with open(f"{dest}/latest/miner_stats.parquet", "rb") as file:
        latest = pyarrow.parquet.read_table(io.BytesIO(file.read()))
    seen = [count(dest, "weather_forecast_stats"), latest.num_rows, len(set(latest["as_of"].to_pylist()))]
    reads += 1
    if seen != [rows, miners, 1]:
        wrong.append(seen)
print(json.dumps({"reads": reads, "wrong": wrong}), flush=True)
# Threads of both libraries may outlive the interpreter on a busy machine, and then end it by a signal: there is nothing left to do.
os._exit(0)
