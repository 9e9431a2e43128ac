-- Asked of `recount query` and of DuckDB; the answers must be the same. One statement a paragraph.

SELECT count(*) FROM scores

SELECT min(score), max(score) FROM scores WHERE NOT isnan(score)

SELECT sum(retries_remaining), avg(retries_remaining) FROM weather_forecast_stats

SELECT count(*) AS n FROM runs WHERE gfs_init_time_utc >= TIMESTAMP '2025-01-03 00:00:00'

SELECT count(*) AS n FROM scores WHERE init_date = DATE '2025-01-02'

SELECT count(*) AS n FROM scores WHERE init_date = '2025-01-02'

SELECT count(*) AS n FROM scores WHERE init_date > DATE '2025-01-01' AND init_date <= DATE '2025-01-03'

SELECT extract(day FROM init_date) AS d, count(*) AS n FROM scores GROUP BY 1 ORDER BY 1

SELECT init_date, count(DISTINCT run_id) FROM scores GROUP BY init_date ORDER BY init_date

SELECT init_date, count(*) FROM lead_scores GROUP BY init_date ORDER BY count(*) DESC, init_date

SELECT lead_hours, count(*) FROM lead_scores GROUP BY lead_hours ORDER BY lead_hours

SELECT lead_hours, count(*) FROM lead_scores GROUP BY lead_hours HAVING count(*) > 100 ORDER BY lead_hours

SELECT count(*) FROM lead_scores l LEFT JOIN weather_forecast_stats s ON s.run_id = l.run_id AND s.miner_uid = l.miner_uid AND s.era5_combined_score > 0.5

SELECT count(*), count(s.run_id) FROM lead_scores l LEFT JOIN weather_forecast_stats s ON s.run_id = l.run_id AND s.miner_uid < l.miner_uid

SELECT count(*), count(b.id) FROM runs a LEFT JOIN runs b ON a.id < b.id

SELECT count(*), count(b.id) FROM runs a LEFT JOIN runs b ON b.id = a.id + 1 AND b.gfs_init_time_utc > a.gfs_init_time_utc

SELECT count(*) FROM runs a FULL JOIN runs b ON a.id = b.id + 3

SELECT count(*) FROM runs a CROSS JOIN runs b

SELECT count(*) FROM runs a JOIN runs b ON a.id <> b.id

SELECT count(*) FROM weather_forecast_stats s RIGHT JOIN runs r ON r.id = s.run_id AND s.forecast_score_initial IS NULL

SELECT id FROM runs r WHERE EXISTS (SELECT 1 FROM weather_forecast_stats s WHERE s.run_id = r.id AND s.miner_rank = 1) ORDER BY id

SELECT id FROM runs r WHERE NOT EXISTS (SELECT 1 FROM weather_forecast_stats s WHERE s.run_id = r.id AND s.miner_rank = 1) ORDER BY id

SELECT count(*) FROM weather_forecast_stats WHERE run_id IN (SELECT id FROM runs WHERE id > 2)

SELECT count(*) FROM weather_forecast_stats WHERE run_id NOT IN (SELECT id FROM runs WHERE id > 2)

SELECT count(*) FROM lead_scores WHERE lead_hours = (SELECT max(lead_hours) FROM lead_scores)

SELECT miner_uid, (SELECT max(l.lead_hours) FROM lead_scores l WHERE l.miner_uid = m.miner_uid) AS last FROM miner_stats m ORDER BY miner_uid

SELECT run_id, miner_uid, row_number() OVER (PARTITION BY run_id ORDER BY era5_combined_score DESC NULLS LAST, miner_uid) AS place FROM weather_forecast_stats ORDER BY run_id, miner_uid

SELECT run_id, miner_uid, rank() OVER (PARTITION BY run_id ORDER BY miner_rank NULLS LAST) AS place FROM weather_forecast_stats ORDER BY run_id, miner_uid

SELECT run_id, miner_uid, dense_rank() OVER (PARTITION BY run_id ORDER BY miner_rank NULLS FIRST) AS place FROM weather_forecast_stats ORDER BY run_id, miner_uid

SELECT run_id, miner_uid, sum(retries_remaining) OVER (PARTITION BY run_id ORDER BY retries_remaining) AS running FROM weather_forecast_stats ORDER BY run_id, miner_uid

SELECT run_id, miner_uid, lead_hours, count(*) OVER (PARTITION BY miner_uid ORDER BY lead_hours) AS running FROM lead_scores ORDER BY run_id, miner_uid, lead_hours

SELECT run_id, miner_uid, sum(lead_hours) OVER (PARTITION BY run_id, miner_uid ORDER BY lead_hours ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS two FROM lead_scores ORDER BY run_id, miner_uid, lead_hours

SELECT id, lag(id) OVER (ORDER BY id) AS before, lead(id, 2) OVER (ORDER BY id) AS after FROM runs ORDER BY id

SELECT id, first_value(id) OVER (ORDER BY id) AS first, last_value(id) OVER (ORDER BY id) AS last FROM runs ORDER BY id

SELECT id, ntile(3) OVER (ORDER BY id) AS third FROM runs ORDER BY id

WITH runs AS (SELECT 1 AS id) SELECT id FROM runs

WITH scores AS (SELECT run_id, count(*) AS n FROM lead_scores GROUP BY run_id) SELECT * FROM scores ORDER BY run_id

WITH a AS (SELECT id FROM runs), b AS (SELECT id + 1 AS id FROM a) SELECT count(*) FROM a JOIN b USING (id)

WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) FROM n

SELECT id FROM runs UNION SELECT run_id FROM lead_scores ORDER BY 1

SELECT count(*) FROM (SELECT id FROM runs UNION ALL SELECT id FROM runs) x

SELECT id FROM runs EXCEPT SELECT id FROM runs WHERE id > 2 ORDER BY 1

SELECT id FROM runs INTERSECT SELECT id + 1 FROM runs ORDER BY 1

SELECT DISTINCT lead_hours FROM lead_scores ORDER BY lead_hours DESC

SELECT DISTINCT score_type FROM scores ORDER BY 1

SELECT count(*) FROM weather_forecast_stats WHERE era5_combined_score IS NULL

SELECT count(*) FROM weather_forecast_stats WHERE era5_combined_score = NULL

SELECT count(*) FROM weather_forecast_stats WHERE era5_combined_score IS DISTINCT FROM overall_forecast_score

SELECT count(era5_combined_score), count(*) FROM weather_forecast_stats

SELECT coalesce(last_error_message, 'none') AS e, count(*) FROM weather_forecast_stats GROUP BY 1 ORDER BY 1

SELECT nullif(lead_hours, 24) AS l, count(*) FROM lead_scores GROUP BY 1 ORDER BY 1 NULLS LAST

SELECT count(*) FROM scores WHERE isnan(score)

SELECT count(*) FROM scores WHERE score > 0.5

SELECT count(*) FROM scores WHERE score BETWEEN 0.25 AND 0.5

SELECT CASE WHEN score > 0.9 THEN 'good' WHEN score IS NULL THEN 'none' ELSE 'other' END AS c, count(*) FROM scores GROUP BY 1 ORDER BY 1

SELECT count(*) FILTER (WHERE lead_hours > 100) AS late, count(*) FROM lead_scores

SELECT round(avg(skill), 9) FROM lead_scores WHERE NOT isnan(skill)

SELECT round(stddev(miner_uid), 9), round(var_pop(miner_uid), 9) FROM miner_stats

SELECT median(miner_uid) FROM miner_stats

SELECT round(corr(miner_uid, run_id), 9) FROM weather_forecast_stats

SELECT score_type, substr(score_type, 1, 4) AS kind, length(score_type) AS n FROM scores GROUP BY score_type ORDER BY score_type

SELECT upper(score_type) AS u, count(*) FROM scores GROUP BY 1 ORDER BY 1

SELECT count(*) FROM scores WHERE score_type LIKE 'era5%'

SELECT count(*) FROM scores WHERE score_type ILIKE 'ERA5_RMSE%'

SELECT count(*) FROM scores WHERE score_type NOT LIKE '%rmse%'

SELECT replace(score_type, '_', '-') AS t, count(*) FROM scores GROUP BY 1 ORDER BY 1

SELECT count(*) FROM scores WHERE starts_with(score_type, 'era5')

SELECT 'a' || 'b' || id AS t FROM runs ORDER BY id

SELECT date_trunc('day', gfs_init_time_utc) AS d, count(*) FROM runs GROUP BY 1 ORDER BY 1

SELECT min(gfs_init_time_utc), max(gfs_init_time_utc) FROM runs

SELECT id, gfs_init_time_utc + INTERVAL '6 hours' AS later FROM runs ORDER BY id

SELECT extract(hour FROM gfs_init_time_utc) AS h, count(*) FROM runs GROUP BY 1 ORDER BY 1

SELECT count(*) FROM miner_stats WHERE as_of = (SELECT max(as_of) FROM miner_stats)

SELECT count(DISTINCT as_of) FROM miner_stats

SELECT id / 2 AS half, id % 2 AS odd FROM runs WHERE id % 2 = 0 AND id / 2 * 2 = id ORDER BY id

SELECT CAST(id AS DOUBLE) / 4 AS quarter FROM runs ORDER BY id

SELECT CAST(id AS VARCHAR) AS t FROM runs ORDER BY t

SELECT max(x) FROM (VALUES (1), (NULL), (3)) v(x)

SELECT greatest(1, 3, 2) AS g, least(1, 3, 2) AS l, abs(-4) AS a

SELECT run_id, lead_hours, count(*) FROM lead_scores GROUP BY GROUPING SETS ((run_id), (lead_hours)) ORDER BY 1 NULLS LAST, 2 NULLS LAST

SELECT run_id, miner_uid, count(*) FROM lead_scores GROUP BY ROLLUP (run_id, miner_uid) ORDER BY 1 NULLS LAST, 2 NULLS LAST

SELECT run_id, string_agg(CAST(miner_uid AS VARCHAR), ',' ORDER BY miner_uid) AS who FROM weather_forecast_stats GROUP BY run_id ORDER BY run_id

SELECT s.run_id, s.miner_uid, n.hotkey = s.miner_hotkey AS same FROM weather_forecast_stats s JOIN nodes n ON n.uid = s.miner_uid ORDER BY 1, 2

SELECT id FROM runs ORDER BY id DESC LIMIT 2 OFFSET 1

SELECT count(*) FROM steps WHERE error_json_message LIKE '%e%'

SELECT source_table, column_name, class, count(*) AS n FROM differences GROUP BY 1, 2, 3 ORDER BY 1 NULLS LAST, 2 NULLS LAST, 3

SELECT as_of, class, sum(abs(delta)) > 0 AS some FROM differences WHERE delta IS NOT NULL GROUP BY 1, 2 ORDER BY 2

SELECT as_of, digest, runs, settings_blake3, rows, findings FROM nights ORDER BY as_of

SELECT metric, variable, count(*) AS n FROM scores GROUP BY 1, 2 ORDER BY 1 NULLS LAST, 2 NULLS LAST

SELECT forecast_init_time, placed, count(*) AS n FROM lead_scores GROUP BY 1, 2 ORDER BY 1, 2

SELECT scope, forecast_run_id, forecast_init_time FROM weather_subnet_stats ORDER BY 1, 2 NULLS LAST, 3 NULLS LAST

SELECT retained, count(*) AS n FROM runs GROUP BY 1
