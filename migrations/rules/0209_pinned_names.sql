-- What the functions of the rules name is the server's own or ours, whatever the search_path of a reader says, and no backslash in them is an
-- escape.
--
-- Those that are asked for every row are plain expressions, which the server puts into the query. Their names are looked up here, once.

CREATE OR REPLACE FUNCTION recount_mean(total numeric, n bigint) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN abs(total) < 1.797693134862315807e308 THEN total / nullif(n, 0) ELSE sign(total) * numeric 'Infinity' END;

CREATE OR REPLACE FUNCTION recount_double(x numeric) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN abs(x) < numeric 'Infinity' THEN round(x, 15)::double precision END;

CREATE OR REPLACE FUNCTION recount_finite(x double precision) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(x > '-Infinity' AND x < 'Infinity', false);

CREATE OR REPLACE FUNCTION recount_is_error(error jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(error NOT IN ('null', '""'), false);

DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOREACH ours IN ARRAY ARRAY['recount_is_ipv6(text)', 'recount_without_ipv6(text, text, text, text)', 'recount_without_ipv6(text)',
                                    'recount_sanitize(text)', 'recount_error_class(text)', 'recount_error(jsonb)']::regprocedure[]
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', ours, current_schema());
        EXECUTE format('ALTER FUNCTION %s SET standard_conforming_strings = on', ours);
    END LOOP;
END $$;
