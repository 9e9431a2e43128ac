-- Lead scores of the wide columns whose own scores are gone: evidence of last resort. `recount phase2 check --keep-wide-in TABLE` writes
-- them. The key names no run, since such rows have often outlived theirs; `run_id` says for which run's rollups a score counts.

CREATE TABLE IF NOT EXISTS weather_legacy_lead_scores (
    miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
    forecast_run_id varchar(100) NOT NULL,
    lead_hours integer NOT NULL CHECK (lead_hours > 0),
    era5_score double precision NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (miner_uid, forecast_run_id, lead_hours)
);
ALTER TABLE weather_legacy_lead_scores
    ADD COLUMN IF NOT EXISTS run_id integer REFERENCES weather_forecast_runs (id) ON DELETE CASCADE;
CREATE INDEX IF NOT EXISTS weather_legacy_lead_scores_run ON weather_legacy_lead_scores (run_id, miner_uid);

-- They stand beside the scores: who may read those may read these.
DO $$
DECLARE
    reader record;
BEGIN
    FOR reader IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE c.oid = 'weather_miner_scores'::regclass AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT SELECT ON weather_legacy_lead_scores TO %s', reader.name);
    END LOOP;
END $$;

-- L: a lead without any value of its own has the legacy score that was kept for it. A partial lead has values, and stays what it is.
CREATE OR REPLACE VIEW weather_lead_scores_with_legacy AS
SELECT run_id, miner_uid, lead_hours, scored, era5_score, skill, acc, rmse, last_calculation
FROM weather_lead_scores
UNION ALL
SELECT k.run_id, k.miner_uid, k.lead_hours, true, k.era5_score + 0.0, NULL, NULL, NULL, NULL
FROM weather_legacy_lead_scores k CROSS JOIN weather_scoring_rules c
WHERE k.run_id IS NOT NULL AND k.lead_hours = ANY (c.expected_leads) AND recount_finite(k.era5_score)
  AND NOT EXISTS (SELECT FROM weather_counted_scores s
                  WHERE s.run_id = k.run_id AND s.miner_uid = k.miner_uid AND s.lead_hours = k.lead_hours);

-- R3: the leads together.
CREATE OR REPLACE VIEW weather_era5_scores AS
SELECT run_id, miner_uid, count(*) FILTER (WHERE scored) AS scored, max(last_calculation) AS last_calculation,
       sum(era5_score::numeric) / (SELECT cardinality(expected_leads) FROM weather_scoring_rules) AS combined
FROM weather_lead_scores_with_legacy
GROUP BY run_id, miner_uid;
