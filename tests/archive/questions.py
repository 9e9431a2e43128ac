"""Runs every question of docs/questions.md with one engine, and prints the answers by number, as rows of plain values."""
import datetime
import json
import math
import re
import sys

engine, page = sys.argv[1], sys.argv[2]
fence = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]


def blocks(section):
    """The blocks of this engine: its SQL, or the Python whose first line names it."""
    for kind, text in fence.findall(section):
        named = text.split("\n", 1)[0].removeprefix("# ").split(" and ")
        if kind == "python" and engine in named or kind == "sql" and engine in ("duckdb", "spark"):
            yield kind, text


def plain(value):
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=value.tzinfo or datetime.timezone.utc)
        return round(value.timestamp() * 1e6)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else float(value)


def rows(frame):
    # Whatever an engine has for a table of rows.
    for way in ("fetchall", "collect"):
        frame = getattr(frame, way)() if hasattr(frame, way) else frame
    if hasattr(frame, "itertuples"):
        frame = frame.astype(object).itertuples(index=False)
    elif hasattr(frame, "rows"):
        frame = frame.rows()
    return [[plain(value) for value in row] for row in frame]


scope = {}
answers = {}
for section in sections:
    number = section.split(".", 1)[0]
    for kind, text_of in blocks(section):
        if kind == "sql":
            scope["answer"] = scope["ask"](text_of)
        else:
            exec(text_of, scope)
        if number.isdigit():
            answers[number] = rows(scope.pop("answer"))
print(json.dumps(answers))
