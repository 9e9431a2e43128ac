-- The subnet, run by run and for life (rules N1 and N2), from the stored rollups: refreshed after they were corrected, it is right.
--
-- It is made by a function, which looks its tables up by name when it runs: Phase 2 can put a materialized view in the place of
-- weather_forecast_stats, and take it away again, without this view being in the way.

-- All rollups of one run, as the rules have them.
CREATE OR REPLACE FUNCTION recount_rollups_of(run integer) RETURNS SETOF weather_forecast_rollups
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY SELECT * FROM weather_forecast_rollups r WHERE r.run_id = run;
END $$;

-- What a row of the subnet is made of: a rollup row of a run, or a miner for life.
CREATE OR REPLACE FUNCTION recount_subnet_members() RETURNS TABLE (
    scope text, run_id integer, miner_uid integer, miner_hotkey text, rank integer, score double precision, day1 double precision,
    overall double precision, completeness double precision, latency double precision, ratio double precision,
    completed bigint, failed bigint, total bigint, hosted integer)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY
    WITH placed AS MATERIALIZED (
        -- A row without evidence left is in no rollup.
        SELECT s.run_id, s.miner_uid, s.miner_hotkey, s.miner_rank, s.forecast_status, s.era5_combined_score, s.forecast_score_initial,
               s.overall_forecast_score, s.era5_completeness, s.hosting_status, s.hosting_latency_ms
        FROM weather_forecast_stats s
        WHERE EXISTS (SELECT FROM weather_miner_responses r WHERE r.run_id = s.run_id AND r.miner_uid = s.miner_uid)
           OR EXISTS (SELECT FROM weather_counted_steps t WHERE t.run_id = s.run_id AND t.miner_uid = s.miner_uid)
    ), of_runs AS (
        SELECT * FROM placed
        UNION ALL
        -- Rows whose place a later run of the same forecast_run_id has (D1): stored nowhere, but part of their own run.
        SELECT w.id, l.miner_uid, l.miner_hotkey, l.miner_rank, l.forecast_status, l.era5_combined_score, l.forecast_score_initial,
               l.overall_forecast_score, l.era5_completeness, l.hosting_status, l.hosting_latency_ms
        FROM weather_forecast_runs w
        CROSS JOIN LATERAL recount_rollups_of(w.id) l
        WHERE EXISTS (SELECT FROM weather_forecast_runs later
                      WHERE later.id > w.id
                        AND date_trunc('hour', later.gfs_init_time_utc, 'UTC') = date_trunc('hour', w.gfs_init_time_utc, 'UTC')
                        AND date_trunc('hour', later.target_forecast_time_utc, 'UTC')
                            = date_trunc('hour', w.target_forecast_time_utc, 'UTC'))
          AND NOT EXISTS (SELECT FROM placed p WHERE p.run_id = w.id AND p.miner_uid = l.miner_uid)
    )
    SELECT 'run', r.run_id, r.miner_uid, r.miner_hotkey::text, r.miner_rank, r.era5_combined_score, r.forecast_score_initial,
           r.overall_forecast_score, r.era5_completeness, r.hosting_latency_ms::double precision, NULL::double precision,
           (r.forecast_status = 'completed')::integer::bigint, (r.forecast_status = 'failed')::integer::bigint, 1::bigint,
           CASE WHEN r.hosting_status = 'accessible' THEN 1 WHEN r.hosting_status IN ('inaccessible', 'timeout', 'error') THEN 0 END
    FROM of_runs r
    UNION ALL
    SELECT 'lifetime', NULL, m.miner_uid, m.miner_hotkey::text, m.miner_rank, m.avg_forecast_score, m.avg_day1_score,
           NULL, m.avg_era5_completeness, m.avg_hosting_latency_ms, m.host_reliability_ratio,
           m.successful_forecasts::bigint, m.failed_forecasts::bigint, n.total, NULL
    FROM miner_stats m
    JOIN (SELECT p.miner_uid, count(*) AS total FROM placed p GROUP BY p.miner_uid) n ON n.miner_uid = m.miner_uid;
END $$;

-- As numerics, of 15 digits, a stored score and the same score computed here are equal.
CREATE MATERIALIZED VIEW IF NOT EXISTS weather_subnet_stats AS
SELECT s.scope, s.run_id,
       count(m.miner_uid)::integer AS miners,
       count(m.miner_uid) FILTER (WHERE m.score IS NOT NULL OR m.day1 IS NOT NULL)::integer AS active_miners,
       coalesce(sum(m.completed), 0)::integer AS completed,
       coalesce(sum(m.failed), 0)::integer AS failed,
       coalesce(sum(m.total - m.completed - m.failed), 0)::integer AS in_progress,
       recount_double(avg(m.score::numeric)) AS mean_score,
       stddev_samp(m.score) AS score_std_dev,
       min(m.score) AS min_score,
       percentile_cont(0.1) WITHIN GROUP (ORDER BY m.score) AS p10_score,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY m.score) AS median_score,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY m.score) AS p90_score,
       max(m.score) AS max_score,
       recount_double(recount_mean(sum(m.day1::numeric), count(m.day1))) AS mean_day1_score,
       recount_double(avg(m.overall::numeric)) AS mean_overall_score,
       recount_double(avg(m.completeness::numeric)) AS mean_completeness,
       recount_double(avg(m.latency::numeric)) AS mean_hosting_latency_ms,
       CASE s.scope WHEN 'run' THEN coalesce(avg(m.hosted)::double precision, 0)
                    ELSE recount_double(avg(m.ratio::numeric)) END AS host_reliability_ratio,
       coalesce(to_jsonb((array_agg(m.entry ORDER BY m.score::numeric DESC, m.miner_uid) FILTER (WHERE m.score IS NOT NULL))[1:10]), '[]')
           AS top_miners,
       coalesce(to_jsonb((array_agg(m.entry ORDER BY m.score::numeric, m.miner_uid) FILTER (WHERE m.score IS NOT NULL))[1:10]), '[]')
           AS bottom_miners
FROM (SELECT 'run' AS scope, id AS run_id FROM weather_forecast_runs UNION ALL SELECT 'lifetime', NULL) s
LEFT JOIN (
    SELECT *, jsonb_build_object('miner_uid', miner_uid, 'miner_hotkey', miner_hotkey, 'score', score, 'rank', rank) AS entry
    FROM recount_subnet_members()
) m ON m.scope = s.scope AND coalesce(m.run_id, 0) = coalesce(s.run_id, 0)
GROUP BY s.scope, s.run_id;

-- What a concurrent refresh needs, and the page of a run reads.
CREATE UNIQUE INDEX IF NOT EXISTS weather_subnet_stats_scope_run ON weather_subnet_stats (scope, run_id);
