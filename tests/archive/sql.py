"""For each statement: what DuckDB answers over the files of an archive, and what `recount query` wrote to N.parquet."""
import json, sys, math, datetime
import duckdb

dest, statements = sys.argv[1], json.loads(sys.argv[2])
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
manifest = json.load(open(f"{dest}/" + json.load(open(f"{dest}/_latest.json"))["manifest"]))
listed = {path: file for sheet in manifest["sheets"] for path, file in json.load(open(f"{dest}/{sheet['path']}"))["files"].items()}
for name in manifest["tables"]:
    files = [f"{dest}/{path}" for path, file in listed.items() if file["table"] == name]
    if files:
        moment = "as_of=" in files[0]
        key = "* REPLACE (strptime(as_of, '%Y%m%dT%H%M%S%fZ')::TIMESTAMPTZ AS as_of)" if moment else "*"
        kinds = "{'as_of': VARCHAR}" if moment else "{'init_date': DATE}"
        db.execute(f"CREATE VIEW {name} AS SELECT {key} FROM read_parquet({files!r}, hive_partitioning = true, hive_types = {kinds})")


def cell(value):
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "Infinity" if value == math.inf else "-Infinity" if value == -math.inf else value
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if value.tzinfo else value.strftime("%Y-%m-%dT%H:%M:%S")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, int):
        return value
    return float(value) if type(value).__name__ == "Decimal" else str(value)


def rows(sql):
    return [[cell(value) for value in row] for row in db.execute(sql).fetchall()]


print(json.dumps([[rows(sql), rows(f"SELECT * FROM read_parquet('{at}.parquet')")] for at, sql in enumerate(statements)]))
