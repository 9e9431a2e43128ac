-- What recount did to the stored rollups: one row for each job, written in the transaction of its corrections. A job that is not
-- here has changed nothing.

CREATE TABLE IF NOT EXISTS rollup_jobs (
    id uuid PRIMARY KEY,
    -- reconcile, apply or undo.
    command text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    -- What the recomputed values come from, without a password.
    source text NOT NULL,
    snapshot_at timestamptz,
    -- BLAKE3 over all recomputed rollups.
    digest text,
    settings jsonb,
    -- By table: rows updated, inserted, deleted and skipped; cells changed and skipped.
    counts jsonb,
    -- complete, or partial where something was left.
    outcome text,
    -- The job that this one undid. Not a foreign key: that one may have been pruned.
    undoes uuid
);
CREATE INDEX IF NOT EXISTS rollup_jobs_finished ON rollup_jobs (finished_at);
