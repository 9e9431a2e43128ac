-- no-transaction
-- The recovery scan. Left out where an index starts with this column.
CREATE INDEX CONCURRENTLY IF NOT EXISTS recount_steps_next_retry ON weather_forecast_steps (next_retry_time);
