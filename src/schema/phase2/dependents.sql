-- What stands on weather_forecast_stats. $1: the wide columns; $2: the option. Gives code, object, detail, and whether it is in the way.
WITH stats AS (
    SELECT to_regclass('weather_forecast_stats')::oid AS id
), wide AS (
    SELECT a.attnum FROM pg_attribute a JOIN stats ON a.attrelid = stats.id WHERE a.attname = ANY ($1)
), needs AS (
    SELECT d.classid, d.objid, d.objsubid FROM pg_depend d JOIN stats ON d.refobjid = stats.id
    WHERE d.refclassid = 'pg_class'::regclass AND ($2 = 'view' OR d.refobjsubid IN (SELECT attnum FROM wide))
), found AS (
    SELECT 'dependent_view' AS code, c.oid::regclass::text AS object,
           CASE c.relkind WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view' ELSE 'rule' END AS detail, true AS blocks
    FROM needs n JOIN pg_rewrite w ON w.oid = n.objid AND n.classid = 'pg_rewrite'::regclass JOIN pg_class c ON c.oid = w.ev_class
    UNION ALL
    SELECT 'dependent_trigger', t.tgname::text, 'trigger', true
    FROM pg_trigger t JOIN stats ON t.tgrelid = stats.id
    -- recount's own go with the change, or go on beside it.
    WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'recount\_%' AND ($2 = 'view' OR t.tgattr::int2[] && ARRAY(SELECT attnum FROM wide)
                                  OR EXISTS (SELECT FROM needs n WHERE n.objid = t.oid AND n.classid = 'pg_trigger'::regclass))
    UNION ALL
    SELECT 'dependent_constraint', k.conname::text, format('constraint of %s', k.conrelid::regclass), true
    FROM pg_constraint k CROSS JOIN stats
    WHERE (k.confrelid = stats.id AND $2 = 'view') OR (k.conrelid = stats.id AND k.conkey && ARRAY(SELECT attnum FROM wide))
    UNION ALL
    -- Up to PostgreSQL 17 this is no constraint of its own.
    SELECT 'dependent_constraint', a.attname::text, 'NOT NULL', true
    FROM pg_attribute a JOIN stats ON a.attrelid = stats.id
    WHERE a.attnum IN (SELECT attnum FROM wide) AND a.attnotnull
    UNION ALL
    SELECT 'dependent_statistics', e.stxname::text, 'extended statistics', true
    FROM pg_statistic_ext e JOIN stats ON e.stxrelid = stats.id
    WHERE EXISTS (SELECT FROM needs n WHERE n.objid = e.oid AND n.classid = 'pg_statistic_ext'::regclass)
    UNION ALL
    SELECT 'dependent_policy', p.polname::text, 'row-level security', true
    FROM pg_policy p JOIN stats ON p.polrelid = stats.id
    WHERE $2 = 'view' OR EXISTS (SELECT FROM needs n WHERE n.objid = p.oid AND n.classid = 'pg_policy'::regclass)
    UNION ALL
    -- Up to PostgreSQL 14 the column itself depends, from then on its expression.
    SELECT 'dependent_column', a.attname::text, 'generated from a wide column', true
    FROM needs n CROSS JOIN stats
    LEFT JOIN pg_attrdef d ON d.oid = n.objid AND n.classid = 'pg_attrdef'::regclass AND d.adrelid = stats.id
    JOIN pg_attribute a ON a.attrelid = stats.id AND a.attgenerated <> ''
        AND (a.attnum = d.adnum OR n.classid = 'pg_class'::regclass AND n.objid = stats.id AND n.objsubid = a.attnum)
    UNION ALL
    SELECT 'inheritance', i.inhrelid::regclass::text, format('of %s', i.inhparent::regclass), true
    FROM pg_inherits i JOIN stats ON stats.id IN (i.inhrelid, i.inhparent)
    UNION ALL
    SELECT 'publication', p.pubname::text, 'publishes the table',
           EXISTS (SELECT FROM needs n WHERE n.objid = r.oid AND n.classid = 'pg_publication_rel'::regclass)
    FROM pg_publication_rel r JOIN stats ON r.prrelid = stats.id JOIN pg_publication p ON p.oid = r.prpubid
    UNION ALL
    SELECT 'dependent_function', p.oid::regprocedure::text, 'names a wide column, or writes the table', true
    FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace
    WHERE s.nspname !~ '^(pg_|information_schema)' AND p.prosrc IS NOT NULL AND p.proname NOT LIKE 'recount\_%'
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.classid = 'pg_proc'::regclass AND e.deptype = 'e')
      AND (p.prosrc ~ ('\y(' || array_to_string($1, '|') || ')\y')
           OR $2 = 'view' AND p.prosrc ~* '(insert\s+into|update|delete\s+from)\s+(only\s+)?([\w"]+\.)?"?weather_forecast_stats\y')
    UNION ALL
    -- Bodies in standard SQL are no text; what they name is in the catalogue.
    SELECT 'dependent_function', p.oid::regprocedure::text, 'its body depends on it', true
    FROM needs n JOIN pg_proc p ON p.oid = n.objid AND n.classid = 'pg_proc'::regclass
    UNION ALL
    SELECT 'index', i.indexrelid::regclass::text, 'goes with its column; revert builds it again', false
    FROM pg_index i JOIN stats ON i.indrelid = stats.id
    WHERE EXISTS (SELECT FROM pg_depend d JOIN stats ON d.refobjid = stats.id
                  WHERE d.objid = i.indexrelid AND d.classid = 'pg_class'::regclass AND d.refobjsubid IN (SELECT attnum FROM wide))
    UNION ALL
    SELECT 'column_grant', a.attname::text, a.attacl::text, false
    FROM pg_attribute a JOIN stats ON a.attrelid = stats.id
    WHERE a.attnum IN (SELECT attnum FROM wide) AND a.attacl IS NOT NULL
)
SELECT DISTINCT code, object, detail, blocks FROM found ORDER BY blocks DESC, code, object
