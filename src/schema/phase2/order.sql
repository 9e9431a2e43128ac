-- How the columns in $1 get behind all others of weather_forecast_stats, in this order: each is made anew, filled, and takes the name.
-- What stands on them is dropped and made again from the catalogue's own text.
WITH moved AS (
    SELECT m.n, m.name, 'recount_moved_' || m.n AS fresh, a.*, t.typcollation, pg_get_expr(d.adbin, d.adrelid) AS value
    FROM unnest($1::text[]) WITH ORDINALITY AS m (name, n)
    JOIN pg_attribute a ON a.attrelid = to_regclass('weather_forecast_stats') AND quote_ident(a.attname) = m.name
        AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
), needs AS (
    SELECT DISTINCT d.classid, d.objid FROM moved m
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.attrelid AND d.refobjsubid = m.attnum
), views AS (
    SELECT DISTINCT c.oid, c.oid::regclass AS name, c.relowner, c.relacl,
           CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
    FROM needs n JOIN pg_rewrite w ON n.classid = 'pg_rewrite'::regclass AND w.oid = n.objid JOIN pg_class c ON c.oid = w.ev_class
), steps (step, n, statement) AS (
    SELECT 1, 0, format('DROP %s %s', kind, name) FROM views
    UNION ALL
    SELECT 2, 0, format(E'ALTER TABLE weather_forecast_stats\n    %s', string_agg(format('ADD COLUMN %s %s%s', fresh,
           format_type(atttypid, atttypmod),
           CASE WHEN attcollation NOT IN (0, typcollation) THEN format(' COLLATE %s', attcollation::regcollation) END), E',\n    ' ORDER BY n))
    FROM moved
    UNION ALL
    SELECT 3, 0, format(E'UPDATE weather_forecast_stats\nSET %s', string_agg(format('%s = %s', fresh, name), E',\n    ' ORDER BY n)) FROM moved
    UNION ALL
    SELECT 4, 0, format(E'ALTER TABLE weather_forecast_stats\n    %s', string_agg(format('DROP COLUMN %s', name), E',\n    ' ORDER BY n)) FROM moved
    UNION ALL
    SELECT 5, n, format('ALTER TABLE weather_forecast_stats RENAME COLUMN %s TO %s', fresh, name) FROM moved
    UNION ALL
    SELECT 6, n, format('ALTER TABLE weather_forecast_stats ALTER COLUMN %s SET NOT NULL', name) FROM moved WHERE attnotnull
    UNION ALL
    SELECT 6, n, format('ALTER TABLE weather_forecast_stats ALTER COLUMN %s SET DEFAULT %s', name, value) FROM moved WHERE value IS NOT NULL
    UNION ALL
    SELECT 6, n, format('ALTER TABLE weather_forecast_stats ALTER COLUMN %s SET STATISTICS %s', name, attstattarget) FROM moved
    WHERE attstattarget >= 0
    UNION ALL
    SELECT 6, n, format('COMMENT ON COLUMN weather_forecast_stats.%s IS %L', name, col_description(attrelid, attnum)) FROM moved
    WHERE col_description(attrelid, attnum) IS NOT NULL
    UNION ALL
    SELECT 6, n, format('GRANT %s (%s) ON weather_forecast_stats TO %s%s', a.privilege_type, name,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
    FROM moved CROSS JOIN LATERAL aclexplode(attacl) a
    UNION ALL
    SELECT 7, 0, pg_get_indexdef(i.indexrelid) FROM needs n JOIN pg_index i ON n.classid = 'pg_class'::regclass AND i.indexrelid = n.objid
    UNION ALL
    SELECT 8, 0, format(E'CREATE %s %s AS\n%s', kind, name, rtrim(pg_get_viewdef(oid), ';')) FROM views
    UNION ALL
    SELECT 9, 0, pg_get_indexdef(i.indexrelid) FROM views v JOIN pg_index i ON i.indrelid = v.oid
    UNION ALL
    SELECT 9, 0, format('ALTER %s %s OWNER TO %s', kind, name, relowner::regrole) FROM views
    UNION ALL
    SELECT 9, 0, format('COMMENT ON %s %s IS %L', kind, name, obj_description(oid, 'pg_class')) FROM views
    WHERE obj_description(oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 9, 1, format('GRANT %s ON %s TO %s%s', a.privilege_type, v.name,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
    FROM views v CROSS JOIN LATERAL aclexplode(v.relacl) a WHERE a.grantee <> v.relowner
)
SELECT statement FROM steps ORDER BY step, n, statement
