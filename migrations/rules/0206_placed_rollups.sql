-- D1 in SQL: of a miner's rollups under one forecast_run_id, that of the greatest run has the place, and is the one that is stored.

CREATE OR REPLACE VIEW weather_placed_rollups AS
SELECT DISTINCT ON (miner_uid, forecast_run_id) *
FROM weather_forecast_rollups
ORDER BY miner_uid, forecast_run_id, run_id DESC;
