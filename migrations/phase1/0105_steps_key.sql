-- no-transaction
-- PostgreSQL 15 and later: the key of a step with NULLs that are equal, on the very columns of the writers' ON CONFLICT, which therefore
-- takes it for its own. See 0103.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS recount_steps_one_per_key
    ON weather_forecast_steps (run_id, miner_uid, step_name, substep, lead_hours) NULLS NOT DISTINCT;
