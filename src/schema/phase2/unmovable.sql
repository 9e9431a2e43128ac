-- What order.sql could not bring back as it was, of all that stands on the columns in $1: then they stay where they are.
WITH moved AS (
    SELECT a.*, t.typstorage FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass('weather_forecast_stats') AND quote_ident(a.attname) = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
), needs AS (
    SELECT DISTINCT d.classid, d.objid, d.objsubid FROM moved m
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.attrelid AND d.refobjsubid = m.attnum
), views AS (
    SELECT DISTINCT c.* FROM needs n JOIN pg_rewrite w ON n.classid = 'pg_rewrite'::regclass AND w.oid = n.objid
    JOIN pg_class c ON c.oid = w.ev_class
)
SELECT pg_describe_object(n.classid, n.objid, n.objsubid) FROM needs n
WHERE n.classid NOT IN ('pg_attrdef'::regclass, 'pg_rewrite'::regclass)
  AND NOT EXISTS (SELECT FROM pg_index i WHERE n.classid = 'pg_class'::regclass AND i.indexrelid = n.objid AND i.indisvalid
                  AND NOT i.indisclustered AND NOT i.indisreplident AND obj_description(i.indexrelid, 'pg_class') IS NULL
                  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
                  AND (SELECT c.reltablespace FROM pg_class c WHERE c.oid = i.indexrelid) = 0)
  -- PostgreSQL 18: NOT NULL, which is carried along.
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE n.classid = 'pg_constraint'::regclass AND k.oid = n.objid AND k.contype = 'n')
UNION ALL
SELECT format('column %s', m.attname) FROM moved m
WHERE m.attidentity <> '' OR m.attgenerated <> '' OR m.attoptions IS NOT NULL OR m.attcompression <> '' OR m.attstorage <> m.typstorage
UNION ALL
SELECT format('view %s', v.oid::regclass) FROM views v
WHERE v.relkind NOT IN ('v', 'm') OR v.reloptions IS NOT NULL OR NOT v.relispopulated OR v.relhastriggers OR v.reltablespace <> 0
   OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = v.oid AND (a.attacl IS NOT NULL OR col_description(v.oid, a.attnum) IS NOT NULL))
   OR EXISTS (SELECT FROM pg_depend d
              WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid OR d.refclassid = 'pg_type'::regclass AND d.refobjid = v.reltype)
                AND NOT EXISTS (SELECT FROM pg_rewrite w WHERE d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid AND w.ev_class = v.oid)
                AND NOT EXISTS (SELECT FROM pg_index i WHERE d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid AND i.indrelid = v.oid)
                AND NOT (d.classid = 'pg_type'::regclass AND d.deptype = 'i'))
UNION ALL
SELECT format('inheritance of %s', i.inhrelid::regclass) FROM pg_inherits i
WHERE to_regclass('weather_forecast_stats') IN (i.inhrelid, i.inhparent)
