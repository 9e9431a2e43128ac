-- The records of Phase 2 live in recount's own schema. The table of legacy scores is there already; 0302 has made it once more.
SELECT recount.take(current_schema(), 'rollup_phase2_changes', 'rollup_phase2_proofs', 'rollup_phase2_watch', 'rollup_phase2_writes',
                    'weather_legacy_lead_scores');
