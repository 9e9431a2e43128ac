-- no-transaction
-- What is pending, step by step. Left out where an index starts with these columns.
CREATE INDEX CONCURRENTLY IF NOT EXISTS recount_steps_name_status ON weather_forecast_steps (step_name, status);
