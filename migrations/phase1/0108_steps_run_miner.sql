-- no-transaction
-- The steps of a miner in a run. Left out where an index starts with these columns.
CREATE INDEX CONCURRENTLY IF NOT EXISTS recount_steps_run_miner ON weather_forecast_steps (run_id, miner_uid);
