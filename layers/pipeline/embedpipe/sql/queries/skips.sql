-- find --
-- A job by its id alone, of whatever tenant: a lookup by key for each.
SELECT j.tenant_id, j.job_id, j.collection, j.document_id
FROM tenants t
CROSS JOIN LATERAL (
    SELECT j.tenant_id, j.job_id, j.collection, j.document_id
    FROM jobs j
    WHERE j.tenant_id = t.tenant_id
      AND j.job_id = %(job_id)s
    OFFSET 0
) j
LIMIT 1

-- put --
-- Skip a job, or skip it for longer; its document is locked.
INSERT INTO job_skips (tenant_id, job_id, created_by, expires_at)
SELECT j.tenant_id, j.job_id, %(created_by)s, now() + make_interval(secs => %(ttl_s)s)
FROM jobs j
WHERE j.tenant_id = %(tenant_id)s
  AND j.job_id = %(job_id)s
ON CONFLICT (tenant_id, job_id) DO UPDATE
    SET created_by = EXCLUDED.created_by,
        created_at = now(),
        expires_at = EXCLUDED.expires_at
RETURNING tenant_id, job_id, created_by, created_at, expires_at

-- active --
-- The skip of a job that is not over.
SELECT tenant_id, job_id, created_by, created_at, expires_at
FROM job_skips
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND expires_at > now()

-- open_again --
-- Which of these jobs are not final although they are skipped.
SELECT j.tenant_id, j.job_id, j.collection, j.document_id
FROM job_skips s
JOIN jobs j USING (tenant_id, job_id)
WHERE s.tenant_id = %(tenant_id)s
  AND s.job_id = ANY (%(job_ids)s::uuid[])
  AND s.expires_at > now()
  AND j.status IN ('queued', 'chunking', 'embedding', 'storing')
ORDER BY j.collection, j.document_id, j.job_id

-- status --
-- What became of a job.
SELECT status
FROM jobs
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s

-- lock_open --
-- Lock the documents of some open jobs of a tenant, as every writer does first; those that somebody
-- else holds are left out.
SELECT o.job_id
FROM (
    SELECT j.tenant_id, j.collection, j.document_id, j.job_id
    FROM jobs j
    WHERE j.tenant_id = %(tenant_id)s
      AND j.status IN ('queued', 'chunking', 'embedding', 'storing')
      AND (%(collection)s::text IS NULL OR j.collection = %(collection)s)
    ORDER BY j.touched_at
    LIMIT %(limit)s
) o
JOIN documents d USING (tenant_id, collection, document_id)
ORDER BY d.collection, d.document_id
FOR UPDATE OF d SKIP LOCKED

-- clear --
-- Cancel jobs whose documents are locked, unless they ended meanwhile, and remove what they stored.
WITH stopped AS (
    UPDATE jobs
    SET status = 'cancelled',
        error_code = %(error_code)s,
        failure_type = %(failure_type)s,
        error_message = %(error_message)s,
        finished_at = now(),
        touched_at = now()
    WHERE tenant_id = %(tenant_id)s
      AND job_id = ANY (%(job_ids)s::uuid[])
      AND status IN ('queued', 'chunking', 'embedding', 'storing')
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

-- remove_expired --
-- Remove skips that are over, of all tenants.
DELETE FROM job_skips
WHERE (tenant_id, job_id) IN (
    SELECT tenant_id, job_id
    FROM job_skips
    WHERE expires_at <= now()
    ORDER BY expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
