-- lock_document --
-- Every writer locks the document first, then its jobs. A statement of its own, so that those
-- after it see what the previous holder committed.
SELECT latest_version
FROM documents
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s
  AND document_id = %(document_id)s
FOR UPDATE

-- first_answer --
-- The job that an Idempotency-Key made.
SELECT job_id, document_id, version, status, epoch, request_sha256
FROM jobs
WHERE tenant_id = %(tenant_id)s
  AND idempotency_key = %(idempotency_key)s

-- next_version --
-- Give the document its next version, and lock it.
INSERT INTO documents AS d (tenant_id, collection, document_id)
VALUES (%(tenant_id)s, %(collection)s, %(document_id)s)
ON CONFLICT (tenant_id, collection, document_id) DO UPDATE
    SET latest_version = d.latest_version + 1,
        updated_at = now()
RETURNING latest_version

-- insert_version_and_job --
-- A version of a document with its job.
WITH version AS (
    INSERT INTO document_versions (
        tenant_id, collection, document_id, version, content, content_uri, content_sha256,
        content_bytes, content_type, chunk_size, chunk_overlap, chunk_unit, metadata)
    VALUES (
        %(tenant_id)s, %(collection)s, %(document_id)s, %(version)s, %(content)s,
        %(content_uri)s, %(content_sha256)s, %(content_bytes)s, %(content_type)s,
        %(chunk_size)s, %(chunk_overlap)s, %(chunk_unit)s, %(metadata)s)
),
message AS (
    INSERT INTO outbox (tenant_id, queue, message_key, body)
    VALUES (%(tenant_id)s, %(queue)s, %(message_key)s, %(body)s)
    ON CONFLICT DO NOTHING
)
INSERT INTO jobs (
    tenant_id, job_id, collection, document_id, version, tier, priority, idempotency_key,
    request_sha256, traceparent)
SELECT tenant_id, %(job_id)s, %(collection)s, %(document_id)s, %(version)s, tier, %(priority)s,
    %(idempotency_key)s, %(request_sha256)s, %(traceparent)s
FROM tenants
WHERE tenant_id = %(tenant_id)s

-- stop --
-- End jobs of a document that are not final, and remove what they stored: vectors go with their
-- chunks. All of the document, or one job, or one job in one epoch.
WITH stopped AS (
    UPDATE jobs
    SET status = %(status)s,
        error_code = %(error_code)s,
        failure_type = %(failure_type)s,
        error_message = %(error_message)s,
        finished_at = now(),
        touched_at = now()
    WHERE tenant_id = %(tenant_id)s
      AND collection = %(collection)s
      AND document_id = %(document_id)s
      AND status IN ('queued', 'chunking', 'embedding', 'storing')
      AND (%(job_id)s::uuid IS NULL OR job_id = %(job_id)s)
      AND (%(epoch)s::integer IS NULL
           OR epoch = %(epoch)s
           OR (requeued_from = %(epoch)s AND status IN ('queued', 'chunking')))
      AND (%(version)s::integer IS NULL OR version = %(version)s)
    RETURNING tenant_id, job_id, collection, document_id, version
),
no_chunks AS (
    DELETE FROM chunks c
    USING stopped s
    WHERE (c.tenant_id, c.collection, c.document_id, c.version)
        = (s.tenant_id, s.collection, s.document_id, s.version)
),
no_batches AS (
    DELETE FROM batches b
    USING stopped s
    WHERE (b.tenant_id, b.job_id) = (s.tenant_id, s.job_id)
)
SELECT job_id
FROM stopped

-- read --
-- One job as a reader sees it. OFFSET 0 keeps a lookup by key a lookup: on tables that were never
-- analyzed the planner else takes all rows of a tenant for one, and joins them in a loop.
SELECT j.*, j.cost_usd::float8 AS cost_usd, v.metadata, s.chunks_stored
FROM jobs j
CROSS JOIN LATERAL (
    SELECT v.metadata
    FROM document_versions v
    WHERE (v.tenant_id, v.collection, v.document_id, v.version)
        = (j.tenant_id, j.collection, j.document_id, j.version)
    OFFSET 0
) v
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
WHERE j.tenant_id = %(tenant_id)s
  AND j.job_id = %(job_id)s

-- list --
-- A page of jobs, newest first, after a given one.
SELECT j.*, j.cost_usd::float8 AS cost_usd, v.metadata, s.chunks_stored
FROM jobs j
CROSS JOIN LATERAL (
    SELECT v.metadata
    FROM document_versions v
    WHERE (v.tenant_id, v.collection, v.document_id, v.version)
        = (j.tenant_id, j.collection, j.document_id, j.version)
    OFFSET 0
) v
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
WHERE j.tenant_id = %(tenant_id)s
  AND (%(status)s::text IS NULL OR j.status = %(status)s)
  AND (%(collection)s::text IS NULL OR j.collection = %(collection)s)
  AND (%(before)s::timestamptz IS NULL
       OR (j.created_at, j.job_id) < (%(before)s::timestamptz, %(before_job)s::uuid))
ORDER BY j.created_at DESC, j.job_id DESC
LIMIT %(limit)s

-- begin_chunking --
-- Mark a job and give its source, if the fence lets it. The message that a requeue put back works
-- for the epoch that the requeue opened.
UPDATE jobs j
SET status = 'chunking',
    chunking_at = coalesce(j.chunking_at, now()),
    touched_at = now()
FROM document_versions v
JOIN collections c USING (tenant_id, collection)
WHERE j.tenant_id = %(tenant_id)s
  AND j.job_id = %(job_id)s
  AND (j.epoch = %(epoch)s OR j.requeued_from = %(epoch)s)
  AND (j.collection, j.document_id, j.version)
    = (%(collection)s, %(document_id)s, %(version)s)
  AND j.status IN ('queued', 'chunking')
  AND (v.tenant_id, v.collection, v.document_id, v.version)
    = (j.tenant_id, j.collection, j.document_id, j.version)
  AND NOT EXISTS (
      SELECT
      FROM job_skips s
      WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
        AND s.expires_at > now())
RETURNING v.content, v.content_uri, v.content_sha256, v.content_type, v.chunk_size,
    v.chunk_overlap, v.chunk_unit, c.model_id, c.fingerprint, j.traceparent, j.priority,
    j.epoch

-- finish_chunking --
-- Mark a job as chunked, if the fence lets it.
UPDATE jobs
SET status = 'embedding',
    embedding_at = now(),
    touched_at = now(),
    chunks_total = %(chunks_total)s,
    tokens_total = %(tokens_total)s,
    cost_usd = %(tokens_total)s * (
        SELECT c.price_usd_per_million_tokens
        FROM collections c
        WHERE (c.tenant_id, c.collection) = (jobs.tenant_id, jobs.collection)) / 1000000
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND epoch = %(epoch)s
  AND (collection, document_id, version) = (%(collection)s, %(document_id)s, %(version)s)
  AND status IN ('queued', 'chunking')
  AND NOT EXISTS (
      SELECT
      FROM job_skips s
      WHERE (s.tenant_id, s.job_id) = (jobs.tenant_id, jobs.job_id)
        AND s.expires_at > now())
RETURNING job_id

-- succeed_without_chunks --
-- A document without a single chunk is done when it is chunked.
UPDATE jobs
SET status = 'succeeded',
    finished_at = now()
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s

-- spend_attempt --
-- Count a failed attempt of the chunk stage.
UPDATE jobs
SET attempts = attempts + 1,
    touched_at = now()
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND (epoch = %(epoch)s OR requeued_from = %(epoch)s)
  AND (collection, document_id, version) = (%(collection)s, %(document_id)s, %(version)s)
  AND status IN ('queued', 'chunking')
RETURNING attempts
