-- beat --
-- A worker lives; those that were not heard of for long are forgotten, whoever else does that, too.
WITH gone AS (
    DELETE FROM worker_heartbeats
    WHERE worker_id IN (
        SELECT worker_id
        FROM worker_heartbeats
        WHERE beat_at < clock_timestamp()
            - make_interval(secs => greatest(%(kept_s)s, %(kept_beats)s * interval_s))
          AND worker_id <> %(worker_id)s
        FOR UPDATE SKIP LOCKED)
)
INSERT INTO worker_heartbeats (worker_id, stage, state, in_flight, interval_s)
VALUES (%(worker_id)s, %(stage)s, %(state)s, %(in_flight)s, %(interval_s)s)
ON CONFLICT (worker_id) DO UPDATE
SET state = excluded.state,
    in_flight = excluded.in_flight,
    interval_s = excluded.interval_s,
    beat_at = clock_timestamp()

-- leave --
-- A worker ends in order.
DELETE FROM worker_heartbeats
WHERE worker_id = %(worker_id)s

-- all --
-- Workers, the oldest first; stalled are those of whom several beats are missing.
SELECT worker_id, stage, state, in_flight, interval_s, started_at AS since, beat_at AS last_beat,
    clock_timestamp() - beat_at > make_interval(secs => interval_s * %(missed)s) AS is_stalled
FROM worker_heartbeats
ORDER BY started_at, worker_id
