"""Markdown: the table of all entries, and what was to be reached."""

import datetime
import pathlib
import sys


def table(headings, rows):
    numeric = [any(str(row[at])[:1].isdigit() for row in rows) for at in range(len(headings))]
    rule = ["---:" if number else "---" for number in numeric]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in [headings, rule, *rows])


def number(value):
    """Three digits that count, and never fewer than all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.1g}"


def side_by_side(entries, measured, digests, scores):
    labels = {entry.key: entry.label for entry in entries}
    lines = []
    for entry in entries:
        found = measured[entry.key]
        ratio = found.work / measured[entry.beside].seconds
        lines.append([
            entry.label,
            number(found.seconds),
            number(found.work),
            number(scores / found.work / 1e6),
            number(found.processor),
            number(found.server) if found.server else "–",
            number(found.peak_mb),
            f"{ratio:.2f} × {short(labels[entry.beside])}",
            f"`{digests[entry.key]}`",
        ])
    headings = ["what", "s", "work s", "M scores/s", "CPU s", "server CPU s", "peak MB", "beside", "digest"]
    return table(headings, lines)


def short(label):
    return label.replace("`recount ", "`").split(", 2")[0]


NOTES = """\
*s*: median wall time of the whole process. *work s*: the same without the start of Python and its imports, as the peer itself \
tells; ratios take this for peers and the whole process for recount. *CPU s*: of the client. *server CPU s*: of \
PostgreSQL's sessions meanwhile. *peak MB*: \
greatest resident memory of any round, of one process. *digest*: of the rows that were read \
(their number, and sums), of the combined scores of all runs and miners (to eight decimals), or recount's own of all rollups; \
equal results have equal ones. Before anything was timed, every peer's combined scores were within 1e-9 of recount's."""


def goals(lines):
    """What was to be reached: (of which line, what, found, at most or at least, bound)."""
    rows = []
    for line, what, found, sign, bound in lines:
        met = found <= bound if sign == "≤" else found >= bound
        rows.append([line, what, f"{sign} {bound:g}", f"{found:.3g}", "pass" if met else "**fail**"])
    return table(["line", "what", "bound", "found", ""], rows)


def day():
    return datetime.date.today().isoformat()


def put(path, name, text):
    """Writes a part of a page anew: what stands between its two marks."""
    path = pathlib.Path(path)
    page = path.read_text()
    first, last = (f"<!-- measured: {name}{end} -->\n" for end in ["", ", end"])
    if first not in page or last not in page:
        sys.exit(f"{path} has no marks {first.strip()} and {last.strip()}")
    before, rest = page.split(first)
    path.write_text(f"{before}{first}\n{text}\n\n{last}{rest.split(last)[1]}")
