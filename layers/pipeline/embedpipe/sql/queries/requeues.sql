-- lock_entry --
-- One entry with its body, for who decides what becomes of it.
SELECT state, body
FROM dlq_entries
WHERE stage = %(stage)s
  AND entry_id = %(entry_id)s
FOR UPDATE

-- lock_document --
-- The document of an entry's job, before the job, as every writer does.
SELECT d.latest_version, d.deleted_at
FROM documents d
JOIN jobs j USING (tenant_id, collection, document_id)
WHERE j.tenant_id = %(tenant_id)s
  AND j.job_id = %(job_id)s
FOR UPDATE OF d

-- lock_job --
-- The job of an entry, as it is now.
SELECT j.tenant_id, j.job_id, j.epoch, j.collection, j.document_id, j.version, j.status,
    j.requeued_from, j.chunks_total IS NOT NULL AS is_chunked, j.traceparent,
    (%(deleted_at)s::timestamptz IS NOT NULL OR j.version < %(latest_version)s) AS is_outdated,
    EXISTS (
        SELECT
        FROM job_skips s
        WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
          AND s.expires_at > now()) AS is_skipped
FROM jobs j
WHERE j.tenant_id = %(tenant_id)s
  AND j.job_id = %(job_id)s
FOR UPDATE OF j

-- restart --
-- Open a new epoch for a failed job; its row is locked. What it counted against itself is forgotten.
WITH forgiven AS (
    DELETE FROM crash_ledger
    WHERE tenant_id = %(tenant_id)s
      AND job_id = %(job_id)s
)
UPDATE jobs
SET status = 'queued',
    epoch = epoch + 1,
    requeued_from = %(requeued_from)s,
    attempts = 0,
    rescues = 0,
    error_code = NULL,
    failure_type = NULL,
    error_message = NULL,
    chunks_total = NULL,
    tokens_total = NULL,
    cost_usd = NULL,
    chunking_at = NULL,
    embedding_at = NULL,
    storing_at = NULL,
    finished_at = NULL,
    touched_at = now()
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND epoch = %(epoch)s
  AND status = 'failed'
RETURNING epoch

-- put_back --
-- The entry was put back; where its message stays in the DLQ, it waits for a decision again.
UPDATE dlq_entries
SET state = %(state)s,
    changed_by = %(changed_by)s,
    changed_at = now()
WHERE stage = %(stage)s
  AND entry_id = %(entry_id)s

-- fill_bucket --
-- The bucket of a stage is full at first.
INSERT INTO requeue_buckets (stage, tokens)
VALUES (%(stage)s, %(burst)s)
ON CONFLICT DO NOTHING

-- take --
-- Let tokens flow in up to the brim, and take what there is of those that are wanted.
WITH filled AS (
    SELECT stage, clock_timestamp() AS at,
        least(
            %(burst)s,
            tokens + %(rate)s
                * greatest(0, extract(epoch FROM clock_timestamp() - updated_at))
        ) AS tokens
    FROM requeue_buckets
    WHERE stage = %(stage)s
    FOR UPDATE
),
granted AS (
    SELECT stage, at, tokens, greatest(0, least(%(wanted)s, floor(tokens))) AS granted
    FROM filled
)
UPDATE requeue_buckets b
SET tokens = g.tokens - g.granted,
    updated_at = g.at
FROM granted g
WHERE b.stage = g.stage
RETURNING g.granted::integer AS granted, b.tokens AS tokens
