-- The event log, one row per (run, miner, step, substep, lead), where it is missing. Validators that have it keep theirs.
--
-- The plain unique constraint is what ON CONFLICT (run_id, miner_uid, step_name, substep, lead_hours) of the writers refers to. NULLs
-- count as different in it; the migrations that follow see to these.

DO $$
BEGIN
    IF to_regclass('weather_forecast_steps') IS NULL THEN
        CREATE TABLE weather_forecast_steps (
            id bigserial PRIMARY KEY,
            run_id integer NOT NULL REFERENCES weather_forecast_runs (id) ON DELETE CASCADE,
            miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
            miner_hotkey varchar(255) NOT NULL,
            step_name varchar(32) NOT NULL,
            substep varchar(64),
            lead_hours integer,
            status varchar(32) NOT NULL,
            started_at timestamptz,
            completed_at timestamptz,
            retry_count integer DEFAULT 0,
            next_retry_time timestamptz,
            latency_ms integer,
            error_json jsonb,
            context jsonb,
            UNIQUE (run_id, miner_uid, step_name, substep, lead_hours)
        );
        CREATE INDEX ON weather_forecast_steps (run_id, miner_uid);
        CREATE INDEX ON weather_forecast_steps (step_name, status);
        CREATE INDEX ON weather_forecast_steps (next_retry_time);
    END IF;
END $$;
