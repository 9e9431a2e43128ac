"""recount beside what an operator could pick instead; how it grows; what corrections cost. See docs/performance.md.

    make bench-peers
    make bench-peers PEERS="--runs 10 --parts peers"

All data is generated, from one seed. Results are Markdown on stdout; what is being done is told on stderr.
"""

import argparse
import pathlib
import signal
import sys
import tempfile

import corrections
import duplicates
import growth
import peers
import questions
import report
import year
from cluster import Cluster

PARTS = {
    "duplicates": duplicates.measure,
    "peers": peers.measure,
    "questions": questions.measure,
    "corrections": corrections.measure,
    "growth": growth.measure,
    "year": year.measure,
}


def sizes(text):
    return sorted(int(size) for size in text.split(",") if size)


def main():
    parser = argparse.ArgumentParser(prog="benches/peers", description=__doc__.splitlines()[0])
    parser.add_argument("recount", type=pathlib.Path, help="the program, built for release")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--runs", type=int, default=100, help="of peers, questions and corrections (%(default)s)")
    parser.add_argument("--miners", type=int, default=256, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="every command once in each (%(default)s)")
    parser.add_argument("--growth", type=sizes, default="10,100,1000", metavar="RUNS,…", help="folders (%(default)s)")
    parser.add_argument("--growth-database", type=sizes, default="10,100", metavar="RUNS,…", help="databases (%(default)s)")
    parser.add_argument("--growth-rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--year-runs", type=int, default=10, help="measured, for the year (%(default)s)")
    parser.add_argument("--into", help="write the tables into this page too, between their marks")
    options = parser.parse_args()
    options.recount = options.recount.resolve()
    # Gigabytes are to go away with the program, however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Cluster() as cluster, tempfile.TemporaryDirectory(prefix="recount-peers-") as folder:
        for part in options.parts:
            below = pathlib.Path(folder, part)
            below.mkdir()
            text = PARTS[part](options, cluster, below)
            print(f"## {part}\n\n{text}\n", flush=True)
            if options.into:
                report.put(options.into, part, text)


if __name__ == "__main__":
    main()
