-- no-transaction
-- PostgreSQL 14: proof that the triggers of 0103 let no second row in. Only keys with a NULL are in it: an index that ON CONFLICT did not
-- ask about must not meet the conflicts that it did ask about. NULL is neither 0 nor ''.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS recount_steps_one_per_null_key
    ON weather_forecast_steps (run_id, miner_uid, step_name, (substep IS NULL), (coalesce(substep, '')),
                               (lead_hours IS NULL), (coalesce(lead_hours, 0)))
    WHERE substep IS NULL OR lead_hours IS NULL;
