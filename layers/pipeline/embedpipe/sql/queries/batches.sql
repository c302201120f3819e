-- lock --
-- Lock the job of a batch that is still wanted. The document is locked already, and with it
-- everything that this reads.
SELECT b.chunk_from, b.chunk_count, c.fingerprint, c.dimensions
FROM jobs j
JOIN batches b USING (tenant_id, job_id, epoch)
JOIN collections c USING (tenant_id, collection)
WHERE j.tenant_id = %(tenant_id)s
  AND j.job_id = %(job_id)s
  AND j.epoch = %(epoch)s
  AND (j.collection, j.document_id, j.version)
    = (%(collection)s, %(document_id)s, %(version)s)
  AND j.status IN ('embedding', 'storing')
  AND b.batch_no = %(batch_no)s
  AND b.state = 'pending'
  AND NOT EXISTS (
      SELECT
      FROM job_skips s
      WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
        AND s.expires_at > now())
FOR UPDATE OF j

-- insert --
-- Batches of a job.
INSERT INTO batches (tenant_id, job_id, epoch, batch_no, chunk_from, chunk_count)
SELECT %(tenant_id)s, %(job_id)s, %(epoch)s, b.batch_no, b.chunk_from, b.chunk_count
FROM unnest(%(batch_nos)b::integer[], %(chunk_froms)b::integer[], %(chunk_counts)b::integer[])
    AS b (batch_no, chunk_from, chunk_count)

-- pending --
-- Those of the given batches whose vectors are still wanted, each looked up by its key.
SELECT w.position
FROM unnest(
    %(job_ids)b::uuid[], %(epochs)b::integer[], %(collections)b::text[], %(document_ids)b::text[],
    %(versions)b::integer[], %(batch_nos)b::integer[]
) WITH ORDINALITY AS w (job_id, epoch, collection, document_id, version, batch_no, position)
CROSS JOIN LATERAL (
    SELECT
    FROM jobs j
    WHERE j.tenant_id = %(tenant_id)s
      AND (j.job_id, j.epoch, j.collection, j.document_id, j.version)
        = (w.job_id, w.epoch, w.collection, w.document_id, w.version)
      AND j.status IN ('embedding', 'storing')
      AND NOT EXISTS (
          SELECT
          FROM job_skips s
          WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
            AND s.expires_at > now())
    OFFSET 0
) j
CROSS JOIN LATERAL (
    SELECT
    FROM batches b
    WHERE b.tenant_id = %(tenant_id)s
      AND (b.job_id, b.epoch, b.batch_no) = (w.job_id, w.epoch, w.batch_no)
      AND b.state = 'pending'
    OFFSET 0
) b

-- spend_attempt --
-- Count a failed attempt of a batch; its job is locked.
UPDATE batches
SET attempts = attempts + 1
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND epoch = %(epoch)s
  AND batch_no = %(batch_no)s
RETURNING attempts

-- store --
-- Write the vectors of a batch, mark it, and say whether its job is done: fan-in by rows, under
-- the job's lock. A statement does not see its own changes, so this batch is left out by number.
WITH vectors AS (
    INSERT INTO embeddings (
        tenant_id, collection, document_id, version, chunk_index, fingerprint, embedding)
    SELECT %(tenant_id)s, %(collection)s, %(document_id)s, %(version)s,
        %(chunk_from)s + (e.position - 1)::integer, %(fingerprint)s, e.embedding
    FROM unnest(%(vectors)b::vector[]) WITH ORDINALITY AS e (embedding, position)
    ON CONFLICT (tenant_id, collection, document_id, version, chunk_index, fingerprint, kind,
                 ordinal)
        DO UPDATE SET embedding = EXCLUDED.embedding
),
batch AS (
    UPDATE batches
    SET state = 'stored',
        stored_at = now()
    WHERE tenant_id = %(tenant_id)s
      AND job_id = %(job_id)s
      AND epoch = %(epoch)s
      AND batch_no = %(batch_no)s
),
rest AS (
    SELECT EXISTS (
        SELECT
        FROM batches
        WHERE tenant_id = %(tenant_id)s
          AND job_id = %(job_id)s
          AND epoch = %(epoch)s
          AND batch_no <> %(batch_no)s
          AND state = 'pending'
    ) AS is_pending
)
UPDATE jobs
SET status = CASE WHEN rest.is_pending THEN 'storing' ELSE 'succeeded' END,
    storing_at = coalesce(storing_at, now()),
    finished_at = CASE WHEN rest.is_pending THEN NULL ELSE now() END,
    touched_at = now()
FROM rest
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
RETURNING status
