"""Makes the plots of docs/archive-tour.md from an archive; `make docs-plots` runs it.

The same archive gives the same files: no dates, no random ids, fonts as paths.
"""

import pathlib
import sys

import duckdb
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ARCHIVE, OUT = sys.argv[1], pathlib.Path(sys.argv[2])
matplotlib.rcParams.update({"svg.hashsalt": "recount", "figure.figsize": (7, 3.5), "axes.spines.top": False, "axes.spines.right": False})


def table(name):
    return f"read_parquet('{ARCHIVE}/{name}/**/*.parquet', hive_partitioning = true)"


def save(name):
    plt.tight_layout()
    plt.savefig(OUT / f"{name}.svg", metadata={"Date": None})
    plt.close()


decay = duckdb.sql(f"""
    WITH now AS (SELECT * FROM {table("miner_stats")} QUALIFY as_of = max(as_of) OVER ()),
    half AS (SELECT miner_uid, miner_rank <= 3 AS best FROM now WHERE miner_rank IS NOT NULL)
    SELECT best, lead_hours, avg(skill) AS skill FROM {table("lead_scores")} JOIN half USING (miner_uid)
    WHERE scored GROUP BY ALL ORDER BY ALL""").df()
for best, color, label in [(True, "#1f5fa8", "best three miners"), (False, "#b0b0b0", "the others")]:
    lines = decay[decay.best == best]
    plt.plot(lines.lead_hours, lines.skill, "o-", color=color, label=label)
plt.xticks(sorted(decay.lead_hours.unique()))
plt.xlabel("lead (hours)")
plt.ylabel("mean skill")
plt.legend(frameon=False)
save("skill-by-lead")

days = duckdb.sql(f"""
    SELECT init_date, quantile_cont(era5_combined_score, [0.1, 0.5, 0.9]) AS q
    FROM {table("weather_forecast_stats")} WHERE placed AND era5_combined_score IS NOT NULL GROUP BY init_date ORDER BY init_date""").fetchall()
dates = [day for day, _ in days]
plt.fill_between(dates, [q[0] for _, q in days], [q[2] for _, q in days], color="#1f5fa8", alpha=0.2, label="middle 80 %")
plt.plot(dates, [q[1] for _, q in days], "o-", color="#1f5fa8", label="median")
plt.gcf().autofmt_xdate()
plt.ylabel("combined score")
plt.legend(frameon=False)
save("score-by-day")

costs = duckdb.sql(f"""
    SELECT variable_name, avg(1 - least(greatest(skill_score, 0), 1)) AS cost FROM {table("component_scores")}
    WHERE score_type = 'era5' AND isfinite(skill_score) GROUP BY ALL ORDER BY cost""").df()
plt.barh(costs.variable_name, costs.cost, color="#1f5fa8")
plt.xlabel("mean distance of skill from 1")
save("cost-by-variable")
