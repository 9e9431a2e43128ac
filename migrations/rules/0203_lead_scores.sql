-- Sections 2 and 4 of the rules in SQL: the scores that count, and the score of each lead (L).
--
-- Sums are made of numerics: exact in any order, so that a refresh of a materialized view changes nothing that did not change, and no
-- value is too large for them. A double becomes a numeric of 15 digits, so results agree with recount's own within 1e-9, not to the bit.
--
-- Each view has the run first in its keys, down to the tables: asked for one run, miner or lead, it reads no more than that.

-- A mean, infinite where the sum lies beyond the doubles (A1, A2).
CREATE OR REPLACE FUNCTION recount_mean(total numeric, n bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(total) < 1.797693134862315807e308 THEN total / nullif(n, 0) ELSE sign(total) * numeric 'Infinity' END
$$;

-- A numeric as a double, NULL where it is infinite (A6). Rounded to what is sure of it, so that scores that are equal stay so for
-- ranks; what lies below that becomes zero, where a cast would fail.
CREATE OR REPLACE FUNCTION recount_double(x numeric) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(x) < numeric 'Infinity' THEN round(x, 15)::double precision END
$$;

-- A double that is a number: neither NULL nor NaN nor infinite.
CREATE OR REPLACE FUNCTION recount_finite(x double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(x > '-Infinity' AND x < 'Infinity', false) $$;

-- I2 and I3: of the rows that are one score, the latest.
CREATE OR REPLACE VIEW weather_latest_scores AS
SELECT DISTINCT ON (s.run_id, s.miner_uid, s.score_type, s.lead_hours, s.variable_level)
       s.run_id, s.miner_uid, s.score_type, s.lead_hours, s.calculation_time, s.id, s.score
FROM weather_miner_scores s
JOIN weather_miner_responses r ON r.id = s.response_id AND r.run_id = s.run_id AND r.miner_uid = s.miner_uid
ORDER BY s.run_id, s.miner_uid, s.score_type, s.lead_hours, s.variable_level, s.calculation_time DESC, s.id DESC;

-- I1, I4 and I5: the ERA5 values that count. `kind` is s (skill), a (ACC) or r (RMSE).
CREATE OR REPLACE VIEW weather_counted_scores AS
SELECT s.run_id, s.miner_uid, s.lead_hours, substr(s.score_type, 6, 1) AS kind,
       s.variable,
       s.score, s.calculation_time
FROM (
    -- The name without its lead, less its first part; cheaper than what a pattern captures.
    SELECT l.*, substr(left(rtrim(left(l.score_type, -1), '0123456789'), -1),
                       CASE substr(l.score_type, 6, 7) WHEN 'skill_g' THEN 16 WHEN 'skill_c' THEN 17
                            ELSE CASE substr(l.score_type, 6, 1) WHEN 'a' THEN 10 ELSE 11 END END) AS variable
    FROM weather_latest_scores l
    WHERE l.score_type ~ '^era5_(skill_gfs|skill_clim|acc|rmse)_[^\n]+_[0-9]+h$'
) s
CROSS JOIN weather_scoring_rules c
WHERE s.lead_hours = ANY (c.expected_leads)
  AND s.variable = ANY (c.expected_variables)
  AND recount_finite(s.score)
  AND NOT (s.score < 0 AND s.score_type LIKE 'era5\_rmse\_%');

-- L: one row for each lead with a value, as `lead_scores` of the rules; a partial lead has its parts but no era5_score.
CREATE OR REPLACE VIEW weather_lead_scores AS
SELECT run_id, miner_uid, lead_hours, scored,
       CASE WHEN scored THEN recount_double(least(greatest(
           CASE WHEN skill IS NOT NULL AND acc IS NOT NULL AND rmse IS NOT NULL THEN 0.6 * skill + 0.3 * acc + 0.1 * rmse
                WHEN skill IS NOT NULL AND acc IS NOT NULL THEN 0.6 * skill + 0.4 * acc
                ELSE coalesce(skill, acc, rmse) END, 0), 1)) END AS era5_score,
       recount_double(skill) AS skill, recount_double(acc) AS acc, recount_double(rmse) AS rmse, last_calculation
FROM (
    SELECT g.run_id, g.miner_uid, g.lead_hours, g.scored, g.skill, g.acc, g.last_calculation,
           -- L3: the reference is the upper median, and 1 / (1 + e / ref) is ref / (ref + e).
           (SELECT avg(CASE WHEN m.ref > 0 THEN m.ref / (m.ref + e::numeric) ELSE 0.5 END)
            FROM unnest(g.errors) AS e, (SELECT g.errors[cardinality(g.errors) / 2 + 1]::numeric AS ref) AS m) AS rmse
    FROM (
        SELECT s.run_id, s.miner_uid, s.lead_hours,
               count(DISTINCT s.variable) = (SELECT cardinality(expected_variables) FROM weather_scoring_rules) AS scored,
               avg(least(greatest(s.score, 0), 1)::numeric) FILTER (WHERE s.kind = 's') AS skill,
               recount_mean(sum(((s.score + 1) / 2)::numeric) FILTER (WHERE s.kind = 'a'), count(*) FILTER (WHERE s.kind = 'a')) AS acc,
               array_agg(s.score ORDER BY s.score) FILTER (WHERE s.kind = 'r') AS errors,
               max(s.calculation_time) AS last_calculation
        FROM weather_counted_scores s
        GROUP BY s.run_id, s.miner_uid, s.lead_hours
    ) g
) parts;
