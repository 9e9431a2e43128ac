"""Whether the peers that claim rule I3 keep it: repeated scores in a small database, some older and some of the same time.

The peers without the rule have to fail here; so this also shows that the comparison sees a difference.
"""

from check import TOLERANCE, recomputed, rows, scores_of
from cluster import psql
from data import Data, fill, snap
from lineup import lineup

RUNS, MINERS = 3, 4
WITH_RULE = ["duckdb-window", "duckdb-grouped"]
WITHOUT = ["duckdb", "polars", "postgres"]

# `valid_time_utc` is no part of the identity, and NULL in it gets past the table's unique key. Of the same time, the later id wins.
REPEAT = """
INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, lead_hours, variable_level,
                                  score, calculation_time)
SELECT response_id, run_id, miner_uid, miner_hotkey, score_type, lead_hours, variable_level,
       score / 2, calculation_time - CASE id % 7 WHEN 0 THEN interval '1 hour' ELSE interval '0' END
FROM weather_miner_scores WHERE id % 7 IN (0, 1)"""


def measure(options, cluster, folder):
    psql(cluster.url(), "CREATE DATABASE duplicates")
    data = Data(options.recount, cluster.url("duplicates"), folder, RUNS)
    fill(data, MINERS)
    psql(data.url, REPEAT)
    snap(data)
    repeated = psql(data.url, "SELECT count(*) FROM weather_miner_scores WHERE valid_time_utc IS NULL AND lead_hours > 0")
    entries = {entry.key: entry for entry in lineup(data)}
    expected = recomputed(data, entries.values())
    lines = [f"{repeated} of {data.scores:,} scores are repeated; greatest distance from recount:\n"]
    for key in WITH_RULE + WITHOUT:
        off = distance(expected, scores_of(data, entries[key]))
        if (off <= TOLERANCE) != (key in WITH_RULE):
            raise SystemExit(f"{entries[key].label}: off by {off:g}, where the table has repeated scores")
        lines.append(f"- {entries[key].label}: {off:.1g}")
    return "\n".join(lines)


def distance(expected, found):
    ours, theirs = ({(run_id, miner): score for run_id, miner, score in rows(path)} for path in [expected, found])
    if ours.keys() != theirs.keys():
        return float("inf")
    return max(abs(ours[key] - theirs[key]) for key in ours)
