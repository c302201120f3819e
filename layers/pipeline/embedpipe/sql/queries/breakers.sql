-- all --
-- Every provider that ever failed.
SELECT provider, state, failures, opened_at, retry_at, last_error, changed_at, term
FROM circuit_breakers
ORDER BY provider

-- get --
-- One provider, if it ever failed.
SELECT provider, state, failures, opened_at, retry_at, last_error, changed_at, term
FROM circuit_breakers
WHERE provider = %(provider)s

-- read --
-- What to answer whoever wants to ask a provider: when it may be tried, by the server's clock.
SELECT state, failures, term,
    greatest(extract(epoch FROM clock_timestamp() - opened_at), 0)::float8 AS open_s,
    extract(epoch FROM CASE state WHEN 'open' THEN retry_at ELSE probe_until END
        - clock_timestamp())::float8 AS wait_s
FROM circuit_breakers
WHERE provider = %(provider)s

-- probe --
-- Become the one that finds out: from the term that was seen, once the time has come.
UPDATE circuit_breakers
SET state = 'half_open',
    probe_owner = %(owner)s,
    probe_until = clock_timestamp() + make_interval(secs => %(probe_s)s),
    term = term + 1,
    changed_at = clock_timestamp()
WHERE provider = %(provider)s
  AND term = %(term)s
  AND CASE state
      WHEN 'open' THEN retry_at <= clock_timestamp()
      WHEN 'half_open' THEN probe_until <= clock_timestamp()
      ELSE false END
RETURNING term

-- add --
-- A first failure.
INSERT INTO circuit_breakers (provider)
VALUES (%(provider)s)
ON CONFLICT DO NOTHING

-- lock --
-- Lock what a failure counts for: it came from the term that is current.
SELECT state, failures
FROM circuit_breakers
WHERE provider = %(provider)s
  AND term = %(term)s
  AND state <> 'open'
FOR UPDATE

-- count_failure --
-- One more failure of a breaker that stays closed.
UPDATE circuit_breakers
SET failures = %(failures)s,
    last_error = %(error_code)s
WHERE provider = %(provider)s
  AND term = %(term)s

-- open --
-- Ask no more for a while. `opened_at` stays where a probe failed: it is the same outage.
UPDATE circuit_breakers
SET state = 'open',
    failures = %(failures)s,
    last_error = %(error_code)s,
    opened_at = coalesce(opened_at, clock_timestamp()),
    retry_at = clock_timestamp() + make_interval(secs => %(open_s)s),
    probe_owner = NULL,
    probe_until = NULL,
    term = term + 1,
    changed_at = clock_timestamp()
WHERE provider = %(provider)s
  AND term = %(term)s

-- succeed --
-- An answer: failures in a row are over, and a probe closes the breaker.
UPDATE circuit_breakers
SET term = term + (state = 'half_open')::int,
    changed_at = CASE state WHEN 'half_open' THEN clock_timestamp() ELSE changed_at END,
    state = 'closed',
    failures = 0,
    opened_at = NULL,
    retry_at = NULL,
    probe_owner = NULL,
    probe_until = NULL
WHERE provider = %(provider)s
  AND term = %(term)s
  AND (state = 'half_open' OR state = 'closed' AND failures > 0)

-- lock_any --
-- Lock it, whatever it is.
SELECT state
FROM circuit_breakers
WHERE provider = %(provider)s
FOR UPDATE

-- reset --
-- Close it, whatever it is.
UPDATE circuit_breakers
SET state = 'closed',
    failures = 0,
    opened_at = NULL,
    retry_at = NULL,
    probe_owner = NULL,
    probe_until = NULL,
    term = term + 1,
    changed_at = clock_timestamp()
WHERE provider = %(provider)s
