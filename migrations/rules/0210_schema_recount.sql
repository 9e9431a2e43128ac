-- Legacy scores are evidence that only recount has: they live in its own schema.
SELECT recount.take(current_schema(), 'weather_legacy_lead_scores');
