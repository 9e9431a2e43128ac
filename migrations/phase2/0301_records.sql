-- What Phase 2 remembers of itself: each proof that it was ready, and each change of the schema with what it takes to undo it.

CREATE TABLE IF NOT EXISTS rollup_phase2_proofs (
    id bigserial PRIMARY KEY,
    taken_at timestamptz NOT NULL,
    proved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    proved_by text NOT NULL DEFAULT current_user,
    option text NOT NULL CHECK (option IN ('table', 'view')),
    keep_wide boolean NOT NULL,
    ready boolean NOT NULL,
    stored_rows bigint NOT NULL,
    wide_values bigint NOT NULL,
    -- Of the wide values with their keys, of whole rows, and of everything recomputed.
    wide_digest text NOT NULL,
    row_digest text NOT NULL,
    recomputed_digest text NOT NULL,
    remarks jsonb NOT NULL,
    view_seconds double precision
);

CREATE TABLE IF NOT EXISTS rollup_phase2_changes (
    id bigserial PRIMARY KEY,
    proof_id bigint NOT NULL REFERENCES rollup_phase2_proofs (id),
    option text NOT NULL CHECK (option IN ('table', 'view')),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT current_user,
    -- Statements, in order, that put the schema back.
    undo text[] NOT NULL,
    reverted_at timestamptz,
    finished_at timestamptz,
    CHECK (reverted_at IS NULL OR finished_at IS NULL)
);

-- One change at a time.
CREATE UNIQUE INDEX IF NOT EXISTS rollup_phase2_one_change ON rollup_phase2_changes ((true))
    WHERE reverted_at IS NULL AND finished_at IS NULL;
