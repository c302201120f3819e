-- all --
-- The control of every stage.
SELECT stage, state, changed_by, changed_at, note,
    greatest(extract(epoch FROM clock_timestamp() - changed_at), 0)::float8 AS for_s
FROM stage_controls

-- states --
-- The states alone: what everybody who works asks for every other second.
SELECT stage, state
FROM stage_controls

-- lock --
-- The control of a stage, for who is about to set it.
SELECT state
FROM stage_controls
WHERE stage = %(stage)s
FOR UPDATE

-- set --
-- Set a control.
UPDATE stage_controls
SET state = %(state)s,
    changed_by = %(changed_by)s,
    changed_at = clock_timestamp(),
    note = left(%(note)s, 1000)
WHERE stage = %(stage)s

-- with_work --
-- Whether stages have work, of any tenant: messages to be sent, and jobs that are with them.
SELECT
    EXISTS (SELECT FROM outbox WHERE queue = 'chunk') AS submit,
    EXISTS (SELECT FROM jobs WHERE status IN ('queued', 'chunking')) AS chunk,
    EXISTS (SELECT FROM jobs WHERE status = 'embedding')
        OR EXISTS (SELECT FROM outbox WHERE queue IN ('embed', 'embed_high', 'embed_low')) AS embed,
    EXISTS (SELECT FROM jobs WHERE status = 'storing')
        OR EXISTS (SELECT FROM outbox WHERE queue = 'store') AS store
