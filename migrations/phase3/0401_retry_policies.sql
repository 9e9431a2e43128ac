-- How often, and after which delay, a failed step is tried again; the row `default` is for every step without one of its own.
--
-- Today's values: 30 minutes, doubling, never under 30, at most 60 (verify), 120 (day1), 180 (era5 and the rest), three times.
-- What is new is the jitter, a share of the delay that is added on top, so that 256 miners that failed together are not tried again
-- together; 0 turns it off. Rows are the operator's to change: a second run of this file leaves them alone.

CREATE TABLE IF NOT EXISTS weather_retry_policies (
    step_name varchar(32) PRIMARY KEY,
    max_retries integer NOT NULL DEFAULT 3 CHECK (max_retries >= 0),
    base_delay interval NOT NULL DEFAULT '30 minutes' CHECK (base_delay > '0'),
    max_delay interval NOT NULL DEFAULT '180 minutes',
    backoff text NOT NULL DEFAULT 'exponential' CHECK (backoff IN ('exponential', 'linear', 'none')),
    jitter double precision NOT NULL DEFAULT 0.1 CHECK (jitter >= 0 AND jitter <= 1),
    -- A step in progress for longer than this was left behind by its writer.
    stale_after interval NOT NULL DEFAULT '24 hours' CHECK (stale_after > '0'),
    CHECK (max_delay >= base_delay)
);

INSERT INTO weather_retry_policies (step_name, max_delay)
VALUES ('default', '180 minutes'), ('verify', '60 minutes'), ('day1', '120 minutes'), ('era5', '180 minutes')
ON CONFLICT DO NOTHING;

-- The policy of a step: its own, or the default.
CREATE OR REPLACE FUNCTION weather_retry_policy(step text) RETURNS weather_retry_policies
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT p FROM weather_retry_policies p WHERE p.step_name IN (step, 'default') ORDER BY p.step_name = step DESC LIMIT 1
$$;

-- The delay before the try after `retries` tries that failed. The same `key` has the same jitter, whoever asks and whenever.
CREATE OR REPLACE FUNCTION weather_retry_delay(policy weather_retry_policies, retries integer, key text) RETURNS interval
LANGUAGE sql IMMUTABLE AS $$
    SELECT (1 + policy.jitter * (hashtextextended(key, retries) & 65535) / 65536)
         * least(policy.max_delay, policy.base_delay * CASE policy.backoff
               -- Twenty doublings are past any cap.
               WHEN 'exponential' THEN power(2, least(greatest(retries, 0), 20)) WHEN 'linear' THEN greatest(retries, 0) + 1 ELSE 1 END)
$$;
