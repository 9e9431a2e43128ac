-- no-transaction
-- The index helper of the narrow score store: the scores of a run, miner by miner. Left out where an index starts with these columns.
CREATE INDEX CONCURRENTLY IF NOT EXISTS recount_scores_run_miner
    ON weather_miner_scores (run_id, miner_uid, score_type, lead_hours);
