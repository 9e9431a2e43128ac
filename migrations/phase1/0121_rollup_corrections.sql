-- Every cell and row that a job changed, before and after, as the server writes them, so that `recount undo` brings back each byte.
--
-- A cell has a column, and its two values as text (NULL: NULL). A row has none: what was inserted has no `before`, what was deleted no
-- `after`; the other one is the whole row as JSON.

CREATE TABLE IF NOT EXISTS rollup_corrections (
    -- No foreign key: checking it, cell by cell, takes a third of the time of a large job. Both rows come in one transaction.
    job_id uuid NOT NULL,
    table_name text NOT NULL,
    miner_uid integer,
    forecast_run_id text,
    scope text,
    run_id integer,
    column_name text,
    before text,
    after text
);
CREATE INDEX IF NOT EXISTS rollup_corrections_job ON rollup_corrections (job_id);
