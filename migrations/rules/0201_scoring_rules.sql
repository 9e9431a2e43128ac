-- The settings of scoring (section 3 of the rules), where the views can see them: one row, which recount writes from its own settings
-- before it relies on a view. The defaults are those of the rules.

CREATE TABLE IF NOT EXISTS weather_scoring_rules (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    expected_leads integer[] NOT NULL DEFAULT '{24,48,72,96,120,144,168,192,216,240}',
    expected_variables text[] NOT NULL DEFAULT '{2t,10u,10v,msl,t,u,v,q,z}',
    era5_weight double precision NOT NULL DEFAULT 0.95,
    day1_weight double precision NOT NULL DEFAULT 0.05,
    day1_pass_threshold double precision NOT NULL DEFAULT 0.1,
    -- By step name, with `default`.
    max_retries jsonb NOT NULL DEFAULT '{"default": 3}',
    rank_method text NOT NULL DEFAULT 'competition' CHECK (rank_method IN ('competition', 'dense')),
    failed_response_statuses text[] NOT NULL
        DEFAULT '{failed,error,miner_offline,verification_failed,verification_error,verification_timeout,era5_scoring_failed}',
    run_level_steps text[] NOT NULL DEFAULT '{seed}',
    forecast_type text NOT NULL DEFAULT '10day'
);

INSERT INTO weather_scoring_rules DEFAULT VALUES ON CONFLICT DO NOTHING;

-- One row: a planner that takes it for many makes bad plans of every view.
ANALYZE weather_scoring_rules;
