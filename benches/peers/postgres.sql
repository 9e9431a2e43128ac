-- The combined score of each run and miner (rules L1 to L4, R3) from all scores as they are: no duplicate is left out (I3).
WITH scores AS (
    SELECT run_id, miner_uid, lead_hours, score,
        CASE WHEN score_type LIKE 'era5\_rmse\_%' THEN 1 WHEN score_type LIKE 'era5\_acc\_%' THEN 2
             WHEN score_type LIKE 'era5\_skill\_%' THEN 3 END AS kind,
        CASE variable_level WHEN '2t' THEN 1 WHEN '10u' THEN 2 WHEN '10v' THEN 4 WHEN 'msl' THEN 8 WHEN 't' THEN 16
             WHEN 'u' THEN 32 WHEN 'v' THEN 64 WHEN 'q' THEN 128 WHEN 'z' THEN 256 END AS variable
    FROM weather_miner_scores WHERE score_type LIKE 'era5\_%'
), leads AS (
    SELECT run_id, miner_uid,
        avg(least(greatest(score, 0), 1)) FILTER (WHERE kind = 3) AS skill,
        avg((score + 1) / 2) FILTER (WHERE kind = 2) AS acc,
        array_agg(score ORDER BY score) FILTER (WHERE kind = 1) AS errors,
        bit_or(variable) AS variables
    FROM scores GROUP BY run_id, miner_uid, lead_hours
), parts AS (
    SELECT run_id, miner_uid, skill, acc,
        (SELECT avg(1 / (1 + CASE WHEN reference > 0 THEN e / reference ELSE 1 END))
         FROM unnest(errors) e, (SELECT errors[cardinality(errors) / 2 + 1] AS reference) middle) AS rmse
    FROM leads WHERE variables = 511
)
SELECT run_id, miner_uid, sum(least(greatest(
    CASE WHEN skill IS NULL OR acc IS NULL THEN coalesce(skill, acc, rmse)
         WHEN rmse IS NULL THEN 0.6 * skill + 0.4 * acc ELSE 0.6 * skill + 0.3 * acc + 0.1 * rmse END, 0), 1)) / 10 AS score
FROM parts GROUP BY run_id, miner_uid ORDER BY run_id, miner_uid
