"""Asks DuckDB whether the keys of an archive are those of the rows that they come from; prints how many rows say otherwise."""
import json, sys
import duckdb

db = duckdb.connect()
db.execute("SET VARIABLE archive = ?", [sys.argv[1]])
db.execute(open(f"{sys.argv[1]}/views.sql").read())
# I1, in DuckDB's words.
NAME = "'^era5_(skill_gfs|skill_clim|acc|rmse)_(.+)_([0-9]+)h$'"
KNOWN = f"regexp_matches(score_type, {NAME}) AND NOT starts_with(score_type, 'era5_error_') AND NOT starts_with(score_type, 'era5_zero_')"
QUESTIONS = {
    "lead_scores": "FROM lead_scores",
    "lead_scores otherwise": """FROM lead_scores l LEFT JOIN weather_forecast_stats s USING (run_id, miner_uid)
        WHERE s.run_id IS NULL OR l.placed IS DISTINCT FROM s.placed OR l.miner_hotkey IS DISTINCT FROM s.miner_hotkey
           OR l.forecast_init_time IS DISTINCT FROM s.forecast_init_time""",
    "subnet": "FROM weather_subnet_stats WHERE scope = 'run'",
    "subnet otherwise": """FROM weather_subnet_stats n LEFT JOIN runs r ON r.id = n.run_id
        LEFT JOIN (SELECT DISTINCT run_id, forecast_run_id FROM weather_forecast_stats) s ON s.run_id = n.run_id
        WHERE n.forecast_init_time IS DISTINCT FROM r.gfs_init_time_utc
           OR s.forecast_run_id IS NOT NULL AND n.forecast_run_id IS DISTINCT FROM s.forecast_run_id
           OR n.scope = 'lifetime' AND n.forecast_run_id IS NOT NULL""",
    "scores": f"FROM scores WHERE {KNOWN}",
    "scores otherwise": f"""FROM scores WHERE
           metric IS DISTINCT FROM CASE WHEN {KNOWN} THEN regexp_extract(score_type, {NAME}, 1) WHEN score_type = 'day1_qc_score' THEN 'day1' END
        OR variable IS DISTINCT FROM CASE WHEN {KNOWN} THEN regexp_extract(score_type, {NAME}, 2) END""",
    "metrics": "FROM (SELECT DISTINCT metric FROM scores WHERE metric IS NOT NULL)",
    "gone": "FROM runs WHERE retained",
    "here": "FROM runs WHERE NOT retained",
}
print(json.dumps({name: db.execute(f"SELECT count(*) {question}").fetchone()[0] for name, question in QUESTIONS.items()}))
