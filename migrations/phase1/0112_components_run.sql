-- no-transaction
-- recount reads run by run, and the unique constraint of this table starts with the response: without this, each run of a year's 65 million
-- rows would be a scan of them all. Left out where an index starts with this column.
CREATE INDEX CONCURRENTLY IF NOT EXISTS recount_components_run ON weather_forecast_component_scores (run_id);
