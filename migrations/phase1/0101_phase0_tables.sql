-- The tables that a validator has today, created where they are missing: an empty database, a demonstration, a test.
--
-- A table that exists is another tool's: it is left as it is, under whatever names its constraints and indexes have. That is why an
-- index stands beside its table inside the same condition, and not under an IF NOT EXISTS of its own, which looks at names alone.

CREATE TABLE IF NOT EXISTS node_table (
    uid integer PRIMARY KEY CHECK (uid >= 0 AND uid < 256),
    hotkey text,
    coldkey text,
    ip text,
    ip_type text,
    port integer,
    incentive double precision,
    stake double precision,
    trust double precision,
    vtrust double precision,
    protocol text,
    last_updated timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS weather_forecast_runs (
    id serial PRIMARY KEY,
    run_initiation_time timestamptz NOT NULL,
    target_forecast_time_utc timestamptz NOT NULL,
    gfs_init_time_utc timestamptz NOT NULL,
    gfs_input_metadata jsonb,
    status varchar(50) NOT NULL DEFAULT 'pending',
    completion_time timestamptz,
    final_scoring_attempted_time timestamptz,
    error_message text
);

CREATE TABLE IF NOT EXISTS weather_miner_responses (
    id serial PRIMARY KEY,
    run_id integer NOT NULL REFERENCES weather_forecast_runs (id) ON DELETE CASCADE,
    miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
    miner_hotkey varchar(255) NOT NULL,
    response_time timestamptz NOT NULL,
    job_id varchar(100),
    kerchunk_json_url text,
    target_netcdf_url_template text,
    kerchunk_json_retrieved jsonb,
    frozen_manifest_files jsonb,
    verification_hash_computed varchar(64),
    verification_hash_claimed varchar(64),
    verification_passed boolean,
    manifest_frozen_at timestamptz,
    status varchar(50) NOT NULL DEFAULT 'received',
    error_message text,
    input_hash_miner varchar(64),
    input_hash_validator varchar(64),
    input_hash_match boolean,
    retry_count integer DEFAULT 0,
    next_retry_time timestamptz,
    last_polled_time timestamptz,
    inference_started_at timestamptz,
    job_accepted_at timestamptz,
    inference_completed_at timestamptz,
    day1_scoring_completed_at timestamptz,
    era5_scoring_completed_at timestamptz,
    total_pipeline_duration_seconds integer,
    UNIQUE (run_id, miner_uid)
);

DO $$
BEGIN
    IF to_regclass('weather_miner_scores') IS NULL THEN
        CREATE TABLE weather_miner_scores (
            id serial PRIMARY KEY,
            response_id integer NOT NULL REFERENCES weather_miner_responses (id) ON DELETE CASCADE,
            run_id integer NOT NULL REFERENCES weather_forecast_runs (id) ON DELETE CASCADE,
            miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
            miner_hotkey varchar(255) NOT NULL,
            score_type varchar(50) NOT NULL,
            calculation_time timestamptz NOT NULL,
            metrics jsonb,
            score double precision,
            error_message text,
            lead_hours integer,
            variable_level varchar(50),
            valid_time_utc timestamptz,
            UNIQUE (response_id, score_type, lead_hours, variable_level, valid_time_utc)
        );
        CREATE INDEX ON weather_miner_scores (run_id);
        CREATE INDEX ON weather_miner_scores (miner_uid);
        CREATE INDEX ON weather_miner_scores (miner_hotkey);
        CREATE INDEX ON weather_miner_scores (calculation_time);
        CREATE INDEX ON weather_miner_scores (score_type);
        CREATE INDEX ON weather_miner_scores (lead_hours);
        CREATE INDEX ON weather_miner_scores (variable_level);
        CREATE INDEX ON weather_miner_scores (valid_time_utc);
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS weather_forecast_component_scores (
    id serial PRIMARY KEY,
    run_id integer NOT NULL REFERENCES weather_forecast_runs (id) ON DELETE CASCADE,
    response_id integer NOT NULL REFERENCES weather_miner_responses (id) ON DELETE CASCADE,
    miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
    miner_hotkey varchar(255) NOT NULL,
    score_type varchar(50) NOT NULL,
    lead_hours integer NOT NULL,
    valid_time_utc timestamptz NOT NULL,
    variable_name varchar(20) NOT NULL,
    pressure_level integer,
    rmse double precision,
    mse double precision,
    acc double precision,
    skill_score double precision,
    skill_score_gfs double precision,
    skill_score_climatology double precision,
    bias double precision,
    mae double precision,
    climatology_check_passed boolean,
    pattern_correlation double precision,
    pattern_correlation_passed boolean,
    clone_penalty double precision DEFAULT 0,
    quality_penalty double precision DEFAULT 0,
    weighted_score double precision,
    variable_weight double precision,
    calculated_at timestamptz NOT NULL DEFAULT now(),
    calculation_duration_ms integer,
    UNIQUE (response_id, score_type, lead_hours, variable_name, pressure_level)
);

CREATE TABLE IF NOT EXISTS weather_forecast_stats (
    id serial PRIMARY KEY,
    miner_uid integer NOT NULL REFERENCES node_table (uid) ON DELETE CASCADE,
    miner_hotkey varchar(255) NOT NULL,
    miner_rank integer,
    forecast_run_id varchar(100) NOT NULL,
    run_id integer REFERENCES weather_forecast_runs (id) ON DELETE CASCADE,
    forecast_init_time timestamptz NOT NULL,
    forecast_status varchar(50) NOT NULL,
    current_forecast_stage varchar(100),
    current_forecast_status varchar(50),
    last_error_message text,
    retries_remaining integer DEFAULT 3,
    next_scheduled_retry timestamptz,
    forecast_error_msg jsonb,
    forecast_score_initial double precision,
    era5_score_24h double precision,
    era5_score_48h double precision,
    era5_score_72h double precision,
    era5_score_96h double precision,
    era5_score_120h double precision,
    era5_score_144h double precision,
    era5_score_168h double precision,
    era5_score_192h double precision,
    era5_score_216h double precision,
    era5_score_240h double precision,
    era5_combined_score double precision,
    era5_completeness double precision,
    overall_forecast_score double precision,
    avg_rmse double precision,
    avg_acc double precision,
    avg_skill_score double precision,
    forecast_type varchar(50) NOT NULL DEFAULT '10day',
    forecast_inference_duration_seconds integer,
    forecast_input_sources jsonb,
    hosting_status varchar(50),
    hosting_latency_ms integer,
    validator_hotkey text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (miner_uid, forecast_run_id)
);

CREATE TABLE IF NOT EXISTS miner_stats (
    miner_uid integer PRIMARY KEY REFERENCES node_table (uid) ON DELETE CASCADE,
    miner_hotkey varchar(255) NOT NULL,
    miner_rank integer,
    avg_forecast_score double precision,
    successful_forecasts integer NOT NULL DEFAULT 0,
    failed_forecasts integer NOT NULL DEFAULT 0,
    forecast_success_ratio double precision,
    hosting_successes integer NOT NULL DEFAULT 0,
    hosting_failures integer NOT NULL DEFAULT 0,
    host_reliability_ratio double precision,
    avg_hosting_latency_ms double precision,
    avg_day1_score double precision,
    avg_era5_score double precision,
    avg_era5_completeness double precision,
    best_forecast_score double precision,
    worst_forecast_score double precision,
    score_std_dev double precision,
    last_successful_forecast timestamptz,
    last_failed_forecast timestamptz,
    consecutive_successes integer NOT NULL DEFAULT 0,
    consecutive_failures integer NOT NULL DEFAULT 0,
    total_inference_time bigint NOT NULL DEFAULT 0,
    avg_inference_time double precision,
    common_errors jsonb,
    error_rate_by_type jsonb,
    first_seen timestamptz,
    last_active timestamptz,
    validator_hotkey text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
