-- Section 7 of the rules in SQL: sanitized texts (E1), errors (E2) and their classes (E3).
--
-- The patterns are those of the rules, \y being PostgreSQL's \b. PostgreSQL prefers the longest match where the rules prefer the first;
-- in these patterns both are the same one, and a test holds the results against the program's own on many texts. All is under the
-- collation "C", where classes, word boundaries and case folding are ASCII.
--
-- search_path is kept with each function: since PostgreSQL 17 a materialized view is refreshed under an empty one.

-- Whether a text is an IPv6 address (RFC 4291): eight groups, or fewer and one `::`, the last two perhaps as an IPv4 address.
CREATE OR REPLACE FUNCTION recount_is_ipv6(address text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    octet constant text := '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
    groups text COLLATE "C" := regexp_replace(address COLLATE "C", ':' || octet || '(\.' || octet || '){3}$', ':0:0');
    side constant text := '[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4})*';
    wide text[];
BEGIN
    IF groups ~ ('^' || side || '$') THEN
        RETURN cardinality(string_to_array(groups, ':')) = 8;
    END IF;
    -- `::` stands for one group of zeros at least.
    wide := regexp_match(groups, '^(' || side || ')?::(' || side || ')?$');
    RETURN wide IS NOT NULL
        AND coalesce(cardinality(string_to_array(wide[1], ':')), 0) + coalesce(cardinality(string_to_array(wide[3], ':')), 0) <= 7;
END $$;

-- Rule 6 for one candidate: brackets, a run of letters, and perhaps a zone.
CREATE OR REPLACE FUNCTION recount_without_ipv6(opened text, run text, zone text, closed text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    spare integer := least(length(run) - length(rtrim(run, '.:')), 2);
BEGIN
    FOR cut IN 0..spare LOOP
        IF recount_is_ipv6(left(run, length(run) - cut)) THEN
            RETURN CASE WHEN closed = '' THEN opened ELSE '' END || '[REDACTED]' || right(run, cut)
                || CASE WHEN opened = '' THEN closed ELSE '' END;
        END IF;
    END LOOP;
    RETURN opened || run || zone || closed;
END $$;

-- Rule 6: the text taken apart into candidates and what is between them, and put together again.
CREATE OR REPLACE FUNCTION recount_without_ipv6(message text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT string_agg(CASE WHEN part[2] IS NULL THEN part[5]
                           ELSE recount_without_ipv6(part[1], part[2], coalesce(part[3], ''), part[4]) END, '' ORDER BY place)
    FROM regexp_matches(message COLLATE "C", '(\[?)([0-9A-Za-z_:.]+)(%[0-9A-Za-z]+)?(\]?)|(\[|[^0-9A-Za-z_:.[]+)', 'g')
         WITH ORDINALITY AS parts (part, place)
$$;

-- E1
CREATE OR REPLACE FUNCTION recount_sanitize(message text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    t text COLLATE "C" := message;
    before text COLLATE "C";
BEGIN
    FOR round IN 1..8 LOOP
        -- One of these is in every match of a pattern; most texts have none, and are done.
        EXIT WHEN t !~* '[:/]|\.[0-9]|bearer|basic|=|host|port';
        before := t;
        t := regexp_replace(t, $re$([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>]*$re$, '\1[REDACTED]', 'g');
        t := regexp_replace(t, $re$(://\[REDACTED\][^\s?#"'<>]*)\?[^\s#"'<>]*$re$, '\1?[REDACTED]', 'g');
        t := regexp_replace(t, $re$(://\[REDACTED\])/(?:[^\s/?#"'<>]+/)+([^\s/?#"'<>]*)$re$, '\1/[REDACTED]/\2', 'g');
        t := regexp_replace(t, $re$\y(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}$re$, '\1 [REDACTED]', 'gi');
        t := regexp_replace(t, $re$([\w.-]*(?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key|private[_-]?key)[\w.-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"'}]+)$re$, '\1[REDACTED]', 'gi');
        IF t ~ ':[0-9A-Fa-f]{0,4}:' THEN
            t := recount_without_ipv6(t);
        END IF;
        t := regexp_replace(t, $re$\y(?:[0-9]{1,3}\.){3}[0-9]{1,3}\y$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y(host(?:name)?[ =:]+)[^\s,;"']+$re$, '\1[REDACTED]', 'gi');
        t := regexp_replace(t, $re$(?:\[REDACTED\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5}\y)+$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y[A-Za-z][A-Za-z0-9-]*:[0-9]{4,5}\y$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y(port[ =:]+)[0-9]{1,5}\y$re$, '\1[REDACTED]', 'gi');
        t := regexp_replace(t, $re$(^|[\s"'(=,:\[<>|`])/(?:[^\s/"'`,;:()<>|=\[\]]+/)*([^\s/"'`,;:()<>|=\[\]]+)/?$re$, '\1[REDACTED]/\2', 'g');
        t := regexp_replace(t, $re$\y[A-Za-z]:\\(?:[^\s\\"']+\\)*([^\s\\"']+)$re$, '[REDACTED]/\1', 'g');
        t := left(t, 500);
        EXIT WHEN t = before;
    END LOOP;
    RETURN left(t, 500);
END $$;

-- E3
CREATE OR REPLACE FUNCTION recount_error_class(sanitized text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN sanitized COLLATE "C" ~* 'timeout|timed out' THEN 'timeout'
                WHEN sanitized COLLATE "C" ~* 'connection' THEN 'connection'
                WHEN sanitized COLLATE "C" ~* '404|not found' THEN 'not_found'
                WHEN sanitized COLLATE "C" ~* 'hash|verification' THEN 'verification_failed'
                WHEN sanitized COLLATE "C" ~* 'inference' THEN 'inference_error'
                ELSE 'unknown' END
$$;

-- E2: whether there is an error at all.
CREATE OR REPLACE FUNCTION recount_is_error(error jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(error NOT IN ('null', '""'), false) $$;

-- E2: {"type": …, "message": …}, both sanitized; NULL where there is no error. A text stands for a response's error_message.
CREATE OR REPLACE FUNCTION recount_error(error jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    kind text;
    message text;
BEGIN
    IF NOT recount_is_error(error) THEN
        RETURN NULL;
    ELSIF jsonb_typeof(error) = 'string' THEN
        message := error #>> '{}';
    ELSIF jsonb_typeof(error) = 'object' THEN
        kind := CASE jsonb_typeof(error -> 'type') WHEN 'string' THEN nullif(error ->> 'type', '') END;
        message := coalesce(CASE jsonb_typeof(error -> 'message') WHEN 'string' THEN nullif(error ->> 'message', '') END,
                            CASE jsonb_typeof(error -> 'error') WHEN 'string' THEN nullif(error ->> 'error', '') END);
    END IF;
    message := recount_sanitize(message);
    RETURN jsonb_build_object('type', coalesce(recount_sanitize(kind), recount_error_class(coalesce(message, ''))), 'message', message);
END $$;
