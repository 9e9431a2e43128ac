-- Merges the rows of equal key that piled up before, NULL equal to NULL and different from 0 and '' (rule I7): the latest by
-- (coalesce(completed_at, started_at), id) stays, no time being the earliest, with the first started_at and the greatest retry_count of all.
--
-- No further duplicates come up meanwhile, the triggers of 0103 are there. The search through the table takes no lock; the
-- writers wait only while the few rows it found are merged. Other tables' references to a row that goes are turned to the one that
-- stays before it goes, so that no ON DELETE of theirs comes into play.

CREATE TEMPORARY TABLE recount_duplicate_keys ON COMMIT DROP AS
SELECT run_id, miner_uid, step_name, substep, lead_hours
FROM weather_forecast_steps
GROUP BY run_id, miner_uid, step_name, substep, lead_hours
HAVING count(*) > 1;
ANALYZE recount_duplicate_keys;

DO $$
BEGIN
    IF EXISTS (SELECT FROM recount_duplicate_keys) THEN
        LOCK TABLE weather_forecast_steps IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END $$;

CREATE TEMPORARY TABLE recount_duplicate_steps ON COMMIT DROP AS
SELECT s.id,
       first_value(s.id) OVER (PARTITION BY k ORDER BY coalesce(s.completed_at, s.started_at) DESC NULLS LAST, s.id DESC) AS stays,
       min(s.started_at) OVER (PARTITION BY k) AS started_at,
       max(coalesce(s.retry_count, 0)) OVER (PARTITION BY k) AS retry_count
FROM recount_duplicate_keys k
JOIN weather_forecast_steps s ON s.run_id = k.run_id AND s.miner_uid = k.miner_uid AND s.step_name = k.step_name
    AND s.substep IS NOT DISTINCT FROM k.substep AND s.lead_hours IS NOT DISTINCT FROM k.lead_hours;

UPDATE weather_forecast_steps s
SET started_at = d.started_at, retry_count = d.retry_count
FROM recount_duplicate_steps d
WHERE s.id = d.id AND d.id = d.stays
  AND (s.started_at IS DISTINCT FROM d.started_at OR s.retry_count IS DISTINCT FROM d.retry_count);

DO $$
DECLARE
    reference record;
BEGIN
    FOR reference IN
        SELECT c.conrelid::regclass AS referencing, a.attname AS referring
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        JOIN pg_attribute r ON r.attrelid = c.confrelid AND r.attnum = c.confkey[1]
        WHERE c.contype = 'f' AND c.conparentid = 0 AND cardinality(c.conkey) = 1
          AND c.confrelid = 'weather_forecast_steps'::regclass AND r.attname = 'id'
    LOOP
        EXECUTE format('UPDATE %1$s t SET %2$I = d.stays FROM recount_duplicate_steps d WHERE t.%2$I = d.id AND d.id <> d.stays',
                       reference.referencing, reference.referring);
    END LOOP;
END $$;

DELETE FROM weather_forecast_steps s USING recount_duplicate_steps d WHERE s.id = d.id AND d.id <> d.stays;
