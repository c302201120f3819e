-- known --
-- What the mirror knows of a DLQ.
SELECT count(*) FILTER (WHERE state <> 'requeued')::integer AS entries,
    count(*) FILTER (WHERE state = 'requeued')::integer AS requeued,
    coalesce(min(seen_at) < now() - interval '1 hour', false) AS is_stale
FROM dlq_entries
WHERE stage = %(stage)s

-- begin_scan --
-- When the present scan of a DLQ began; one that lasts too long counts as given up.
INSERT INTO maintenance_cursors AS c (name)
VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE
    SET updated_at = CASE
        WHEN c.updated_at < now() - make_interval(secs => %(lasts_s)s) THEN now()
        ELSE c.updated_at
    END
RETURNING updated_at

-- forget_unseen --
-- What a whole scan did not see is gone, if it saw as many as there are.
WITH counted AS (
    SELECT count(*) AS entries
    FROM dlq_entries
    WHERE stage = %(stage)s
      AND seen_at >= %(began)s
),
over AS (
    DELETE FROM maintenance_cursors
    WHERE name = %(name)s
)
DELETE FROM dlq_entries e
USING counted c
WHERE e.stage = %(stage)s
  AND e.seen_at < %(began)s
  AND c.entries >= %(total)s

-- seen --
-- Messages that were seen again.
UPDATE dlq_entries e
SET seen_at = now(),
    receive_count = greatest(e.receive_count, u.receive_count)
FROM unnest(%(entry_ids)b::text[], %(counts)b::integer[]) AS u (entry_id, receive_count)
WHERE e.stage = %(stage)s
  AND e.entry_id = u.entry_id
RETURNING e.entry_id, e.state, e.changed_by <> '' AS is_decided

-- states --
-- What was decided about some.
SELECT entry_id, state
FROM dlq_entries
WHERE stage = %(stage)s
  AND entry_id = ANY (%(entry_ids)s)

-- add --
-- A message that is seen for the first time.
INSERT INTO dlq_entries (
    stage, entry_id, tenant_id, job_id, epoch, batch_no, source_queue, error_code, failure_type,
    attributes, body, preview, body_bytes, body_sha256, key_id, receive_count, put_back, sent_at,
    expires_at)
VALUES (
    %(stage)s, %(entry_id)s, %(tenant_id)s, %(job_id)s, %(epoch)s, %(batch_no)s,
    %(source_queue)s, %(error_code)s, %(failure_type)s, %(attributes)s, %(body)s, %(preview)s,
    %(body_bytes)s, %(body_sha256)s, %(key_id)s, %(receive_count)s, %(put_back)s, %(sent_at)s,
    %(expires_at)s)
ON CONFLICT (stage, entry_id) DO UPDATE
    SET seen_at = now()

-- forget --
-- Messages that are gone.
DELETE FROM dlq_entries
WHERE stage = %(stage)s
  AND entry_id = ANY (%(entry_ids)s)

-- remove_expired --
-- Messages that SQS has removed.
DELETE FROM dlq_entries
WHERE expires_at < now()

-- expiring --
-- How many go soon.
SELECT count(*)::integer AS entries
FROM dlq_entries
WHERE expires_at < now() + %(soon)s
  AND state <> 'requeued'

-- jobs --
-- Jobs that messages name, as they are now.
SELECT j.tenant_id, j.job_id, j.epoch, j.collection, j.document_id, j.version, j.status,
    j.requeued_from, j.chunks_total IS NOT NULL AS is_chunked, false AS is_outdated, j.traceparent,
    EXISTS (
        SELECT
        FROM job_skips s
        WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
          AND s.expires_at > now()) AS is_skipped
FROM unnest(%(tenant_ids)b::text[], %(job_ids)b::text[]) AS u (tenant_id, job_id)
JOIN jobs j
    ON (j.tenant_id, j.job_id) = (u.tenant_id, u.job_id::uuid)

-- get --
-- One entry, without its body.
SELECT stage, entry_id, source_queue, tenant_id, job_id, epoch, batch_no, error_code, failure_type,
    preview, body_bytes, body_sha256, key_id, receive_count, put_back, state, note, changed_by,
    changed_at, sent_at, arrived_at, expires_at, expires_at < now() + %(soon)s AS expires_soon
FROM dlq_entries
WHERE stage = %(stage)s
  AND entry_id = %(entry_id)s

-- list --
-- A page of entries, newest first, after a given one.
SELECT stage, entry_id, source_queue, tenant_id, job_id, epoch, batch_no, error_code, failure_type,
    preview, body_bytes, body_sha256, key_id, receive_count, put_back, state, note, changed_by,
    changed_at, sent_at, arrived_at, expires_at, expires_at < now() + %(soon)s AS expires_soon
FROM dlq_entries
WHERE (%(stage)s::text IS NULL OR stage = %(stage)s)
  AND (%(job_id)s::uuid IS NULL OR job_id = %(job_id)s)
  AND (%(error_code)s::text IS NULL OR error_code = %(error_code)s)
  AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(before)s::timestamptz IS NULL
       OR arrived_at < %(before)s
       OR (arrived_at = %(before)s
           AND (stage, entry_id) > (%(after_stage)s::text, %(after_entry)s::text COLLATE "C")))
ORDER BY arrived_at DESC, stage, entry_id
LIMIT %(limit)s

-- count --
-- How many entries a filter lets through.
SELECT count(*)::integer AS entries
FROM dlq_entries
WHERE (%(stage)s::text IS NULL OR stage = %(stage)s)
  AND (%(job_id)s::uuid IS NULL OR job_id = %(job_id)s)
  AND (%(error_code)s::text IS NULL OR error_code = %(error_code)s)
  AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)

-- decide --
-- What an operator decided, unless the entry was put back already.
UPDATE dlq_entries
SET state = %(state)s,
    note = left(%(note)s, 1000),
    changed_by = %(changed_by)s,
    changed_at = now()
WHERE stage = %(stage)s
  AND entry_id = %(entry_id)s
  AND state <> 'requeued'
RETURNING entry_id

-- withdraw --
-- An entry that was approved and cannot be put back.
UPDATE dlq_entries
SET state = 'quarantined',
    changed_at = now()
WHERE stage = %(stage)s
  AND entry_id = %(entry_id)s
  AND state = 'approved_for_requeue'
