"""The ten questions of docs/questions.md to an archive, as recount takes them, and by DuckDB in a process of its own.

`asker.py NUMBER` asks the archive in the current folder by DuckDB, as the page says. It prints how long its work took, imports and
the start of Python left out, and the answer.
"""

import datetime
import json
import pathlib
import re
import sys
import time

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "questions.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the page has for both kinds of SQL is Python that makes views; in a single statement they are common table expressions.
OWN, SHARED = "# duckdb", "# duckdb and spark"
VIEW = "CREATE OR REPLACE TEMP VIEW "
DAYS = "date_part('epoch', forecast_init_time) / 86400"


def sections():
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0]: FENCE.findall(part) for part in parts}


def preparation(first_line):
    """The block of Python that begins so, before the first question."""
    blocks = [text for found in sections().values() for kind, text in found if kind == "python"]
    return next(text for text in blocks if text.split("\n", 1)[0] == first_line)


def questions():
    """Title and statement by number."""
    found = {}
    for title, blocks in sections().items():
        number, _, words = title.partition(". ")
        found.update((number, (words, text)) for kind, text in blocks if kind == "sql" and number.isdigit())
    return found


def in_one(sql):
    """A question as one statement, with the page's views in it."""
    views = []
    exec(preparation(SHARED), {"execute": views.append, "days": DAYS})
    named = (view.removeprefix(VIEW).split(" AS ", 1) for view in views)
    return "WITH " + ",\n".join(f"{name} AS ({text})" for name, text in named) + "\n" + sql


def plain(value):
    """As JSON of recount has it."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float, str)) else float(value)


def main(number):
    # The page imports the first itself, and a result the second: neither is work.
    import duckdb  # noqa: F401
    import pyarrow  # noqa: F401

    sql = questions()[number][1]
    own, shared = preparation(OWN), preparation(SHARED)
    scope = {}
    start = time.monotonic()
    exec(own, scope)
    exec(shared, scope)
    found = scope["ask"](sql).arrow().read_all()
    seconds = time.monotonic() - start
    answer = [[plain(value) for value in row.values()] for row in found.to_pylist()]
    print(json.dumps({"work_seconds": seconds, "answer": answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])
