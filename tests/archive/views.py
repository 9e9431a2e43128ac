"""Runs views.sql of an archive in DuckDB, in its folder or from elsewhere; prints each view with its columns and rows."""
import json, os, sys
import duckdb

dest, where = sys.argv[1], sys.argv[2]
db = duckdb.connect()
if where == "inside":
    os.chdir(dest)
else:
    db.execute("SET VARIABLE archive = ?", [dest])
db.execute(open(f"{dest}/views.sql").read())
views = [name for (name,) in db.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY view_name").fetchall()]


def described(view):
    columns = {row[0]: row[1] for row in db.execute(f"DESCRIBE {view}").fetchall()}
    partition = "as_of" if "as_of" in columns else "init_date"
    text = "strftime(as_of, '%Y%m%dT%H%M%S%fZ')" if partition == "as_of" else "init_date::VARCHAR"
    rows = dict(db.execute(f"SELECT {text}, count(*) FROM {view} GROUP BY 1").fetchall())
    return {"columns": columns, "rows": rows}


print(json.dumps({view: described(view) for view in views}))
