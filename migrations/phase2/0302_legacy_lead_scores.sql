-- Lead scores of the wide columns whose narrow scores are gone, kept by `recount phase2 apply --keep-wide-in TABLE`. No run is in the
-- key: such rows have often outlived theirs.

CREATE TABLE IF NOT EXISTS weather_legacy_lead_scores (
    miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
    forecast_run_id varchar(100) NOT NULL,
    lead_hours integer NOT NULL CHECK (lead_hours > 0),
    era5_score double precision NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (miner_uid, forecast_run_id, lead_hours)
);
