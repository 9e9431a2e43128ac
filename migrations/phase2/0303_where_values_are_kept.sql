-- Where the wide values without scores were kept: TABLE, or the place of an archive; and how many there were.

ALTER TABLE rollup_phase2_proofs
    ADD COLUMN IF NOT EXISTS keep_wide_in text,
    ADD COLUMN IF NOT EXISTS kept_values bigint;
