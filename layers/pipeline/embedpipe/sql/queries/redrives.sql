-- start --
-- A redrive, unless one of the stage goes on.
INSERT INTO redrives (stage, redrive_id, max_per_second, to_move, started_by, note)
VALUES (
    %(stage)s, %(redrive_id)s, %(max_per_second)s, %(to_move)s, %(started_by)s,
    left(%(note)s, 1000))
ON CONFLICT (stage) WHERE status IN ('running', 'cancelling') DO NOTHING

-- newest --
-- The newest redrive of a stage.
SELECT stage, redrive_id, status, task_handle, max_per_second, to_move, moved, started_by, note,
    started_at, updated_at, reason
FROM redrives
WHERE stage = %(stage)s
ORDER BY started_at DESC, redrive_id
LIMIT 1

-- lease --
-- Take the redrive that goes on, unless another has it.
UPDATE redrives
SET lease_owner = %(owner)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE stage = %(stage)s
  AND status IN ('running', 'cancelling')
  AND (lease_until IS NULL OR lease_until < clock_timestamp() OR lease_owner = %(owner)s)
RETURNING stage, redrive_id, status, task_handle, max_per_second, to_move, moved, started_by, note,
    started_at, updated_at, reason

-- progress --
-- Messages were moved by who has the lease: it is renewed, their entries are put back. No row when
-- that is to be the end of it.
WITH mine AS (
    UPDATE redrives
    SET moved = moved + cardinality(%(entry_ids)s::text[]),
        updated_at = now(),
        lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
    WHERE stage = %(stage)s
      AND redrive_id = %(redrive_id)s
      AND lease_owner = %(owner)s
      AND status IN ('running', 'cancelling')
    RETURNING stage, started_by, note, status
),
marked AS (
    UPDATE dlq_entries e
    SET state = 'requeued',
        note = m.note,
        changed_by = m.started_by,
        changed_at = now()
    FROM mine m
    WHERE e.stage = m.stage
      AND e.entry_id = ANY (%(entry_ids)s)
)
SELECT stage
FROM mine
WHERE status = 'running'

-- hand_over --
-- The backend's task moves the messages.
UPDATE redrives
SET task_handle = %(task_handle)s,
    to_move = greatest(to_move, %(to_move)s),
    updated_at = now()
WHERE stage = %(stage)s
  AND redrive_id = %(redrive_id)s
  AND lease_owner = %(owner)s
  AND status IN ('running', 'cancelling')

-- update --
-- How a redrive stands that goes on still; one that ends has no lease. What was cancelled meanwhile
-- stays so.
UPDATE redrives
SET status = CASE
        WHEN status = 'cancelling' AND %(status)s = 'running' THEN status
        ELSE %(status)s
    END,
    moved = coalesce(%(moved)s, moved),
    reason = %(reason)s,
    updated_at = now(),
    lease_until = CASE WHEN %(status)s IN ('running', 'cancelling') THEN lease_until END
WHERE stage = %(stage)s
  AND redrive_id = %(redrive_id)s
  AND status IN ('running', 'cancelling')

-- release --
-- Another may go on at once.
UPDATE redrives
SET lease_owner = NULL,
    lease_until = NULL
WHERE stage = %(stage)s
  AND redrive_id = %(redrive_id)s
  AND lease_owner = %(owner)s

-- cancel --
-- Stop the redrive that goes on.
UPDATE redrives
SET status = 'cancelling',
    updated_at = now()
WHERE stage = %(stage)s
  AND status IN ('running', 'cancelling')
