-- Section 7 of the rules in SQL as 0202 has it, with the twenty replacements of E1.
--
-- The patterns are those of the rules, \y being PostgreSQL's \b. PostgreSQL prefers the longest match where the rules prefer the first
-- alternative; in these patterns both are the same one (rule 11 needs a look ahead for that), and a test compares the results with the
-- program's own on many texts. All is under the collation "C", where classes, word boundaries and case folding are ASCII.
--
-- Settings that change what a function does are kept with it: since PostgreSQL 17 a materialized view is refreshed under an empty
-- search_path, and with standard_conforming_strings = off a backslash in a plain literal is an escape. No literal has one, either.
-- PostgreSQL keeps 32 compiled patterns for a session, so E3 uses none.

-- Whether a text is an IPv6 address (RFC 4291): eight groups, or fewer and one `::`, the last two perhaps as an IPv4 address.
CREATE OR REPLACE FUNCTION recount_is_ipv6(address text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT SET standard_conforming_strings = on AS $$
DECLARE
    octet constant text := '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
    groups text COLLATE "C" := regexp_replace(address COLLATE "C", ':' || octet || $re$(\.$re$ || octet || '){3}$', ':0:0');
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

-- Rule 10 for one candidate: brackets, a run of letters, and perhaps a zone.
CREATE OR REPLACE FUNCTION recount_without_ipv6(opened text, run text, zone text, closed text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT SET standard_conforming_strings = on AS $$
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

-- Rule 10: the text taken apart into candidates and what is between them, and put together again.
CREATE OR REPLACE FUNCTION recount_without_ipv6(message text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT SET standard_conforming_strings = on AS $body$
    SELECT string_agg(CASE WHEN part[2] IS NULL THEN part[5]
                           ELSE recount_without_ipv6(part[1], part[2], coalesce(part[3], ''), part[4]) END, '' ORDER BY place)
    FROM regexp_matches(message COLLATE "C", $re$(\[?)([0-9A-Za-z_:.]+)(%[0-9A-Za-z]+)?(\]?)|(\[|[^0-9A-Za-z_:.[]+)$re$, 'g')
         WITH ORDINALITY AS parts (part, place)
$body$;

-- E1
CREATE OR REPLACE FUNCTION recount_sanitize(message text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT SET standard_conforming_strings = on AS $body$
DECLARE
    t text COLLATE "C" := message;
    before text COLLATE "C";
BEGIN
    FOR round IN 1..8 LOOP
        -- One of these is in every match of a pattern; most texts have none, and are done.
        IF t !~* $re$[:/=@\\]|\.[0-9a-z]|bearer|basic|host|port|-----BEGIN|REDACTED|A[KS]IA|gh[opusr]_|github_pat_|xox|sk-|hf_|AIza|eyJ$re$ THEN
            RETURN left(t, 500);
        END IF;
        before := t;
        t := regexp_replace(t, $re$-----BEGIN [A-Z0-9 ]+-----[^-]*(?:-----END [A-Z0-9 ]+-----)?$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y(?:(?:AKIA|ASIA)[0-9A-Z]{16}|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)?|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|xox[a-z]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|AIza[0-9A-Za-z_-]{30,})$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y((?:proxy-)?authorization|(?:set-)?cookie|mnemonic|seed[ _-]?phrase)(\\?["']?\s*[=:]\s*\\?["']?)[^\r\n"']+$re$, $to$\1\2[REDACTED]$to$, 'gi');
        t := regexp_replace(t, $re$([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>]*$re$, $to$\1[REDACTED]$to$, 'g');
        t := regexp_replace(t, $re$(://\[REDACTED\][^\s?#"'<>]*)\?[^\s#"'<>]*$re$, $to$\1?[REDACTED]$to$, 'g');
        t := regexp_replace(t, $re$(://\[REDACTED\])/(?:[^\s/?#"'<>]+/)+([^\s/?#"'<>]*)$re$, $to$\1/[REDACTED]/\2$to$, 'g');
        t := regexp_replace(t, $re$\y(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}$re$, $to$\1 [REDACTED]$to$, 'gi');
        t := regexp_replace(t, $re$([\w.-]*(?:password|passphrase|passwd|pwd|token|secret|credential|api[_-]?key|access[_-]?key|private[_-]?key)[\w.-]*\\?["']?\s*[=:]\s*|\ypass\\?["']?\s*[=:]\s*)(\\?"[^"]*"?|\\?'[^']*'?|[^\s,;&"'}]+)$re$, $to$\1[REDACTED]$to$, 'gi');
        t := regexp_replace(t, $re$[^\s"'<>()@,;=/]+@(?:\[REDACTED\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)$re$, '[REDACTED]', 'g');
        IF t ~ ':[0-9A-Fa-f]{0,4}:' THEN
            t := recount_without_ipv6(t);
        END IF;
        t := regexp_replace(t, $re$(^|[^0-9A-Za-z_.]|%(?![0-9]{1,3}\.)[0-9A-Fa-f]{2})(?:[0-9]{1,3}\.){3}[0-9]{1,3}\y$re$, $to$\1[REDACTED]$to$, 'g');
        t := regexp_replace(t, $re$\y(host(?:name)?\\?["']?[ =:]+\\?["']?)[^\s,;"'\\]+$re$, $to$\1[REDACTED]$to$, 'gi');
        t := regexp_replace(t, $re$\y(?:[a-z0-9_-]+\.)+(?:com|net|org|io|ai|dev|app|xyz|cloud|internal|local|lan|edu|gov|info|tech|network|eu|uk|de|fr|nl|us|ca|ch|se|pl|ru|cn|jp|kr|br|au|sg|hk|co|me)([^a-z0-9._-]|\.[^a-z0-9]|\.?$)$re$, $to$[REDACTED]\1$to$, 'gi');
        t := regexp_replace(t, $re$(?:\[REDACTED\]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5}\y)+$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y[A-Za-z][A-Za-z0-9-]*:[0-9]{4,5}\y$re$, '[REDACTED]', 'g');
        t := regexp_replace(t, $re$\y(port\\?["']?[ =:]+)[0-9]{1,5}\y$re$, $to$\1[REDACTED]$to$, 'gi');
        t := regexp_replace(t, $re$(\[REDACTED\]["'],\s*)[0-9]{1,5}\y$re$, $to$\1[REDACTED]$to$, 'g');
        t := regexp_replace(t, $re$(^|[\s"'(=,:\[<>|`~])/+(?:[^\s/"'`,;:()<>|=\[\]]+/)*([^\s/"'`,;:()<>|=\[\]]+)/?$re$, $to$\1[REDACTED]/\2$to$, 'g');
        t := regexp_replace(t, $re$\\/(?:[^\s\\"']+\\/)*([^\s\\"']+)$re$, $to$[REDACTED]/\1$to$, 'g');
        t := regexp_replace(t, $re$(?:\y[A-Za-z]:|\\)\\(?:[^\s\\"']+\\)*([^\s\\"']+)$re$, $to$[REDACTED]/\1$to$, 'g');
        t := left(t, 500);
        IF t = before THEN
            RETURN t;
        END IF;
    END LOOP;
    -- The eighth round still changed it.
    RETURN '[REDACTED]';
END $body$;

-- E3
CREATE OR REPLACE FUNCTION recount_error_class(sanitized text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN strpos(t, 'timeout') > 0 OR strpos(t, 'timed out') > 0 THEN 'timeout'
                WHEN strpos(t, 'connection') > 0 THEN 'connection'
                WHEN strpos(t, '404') > 0 OR strpos(t, 'not found') > 0 THEN 'not_found'
                WHEN strpos(t, 'hash') > 0 OR strpos(t, 'verification') > 0 THEN 'verification_failed'
                WHEN strpos(t, 'inference') > 0 THEN 'inference_error'
                ELSE 'unknown' END
    FROM lower(sanitized COLLATE "C") t
$$;
