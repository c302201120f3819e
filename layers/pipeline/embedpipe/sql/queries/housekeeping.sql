-- begin --
-- Take up work that is due: begun never, or left in the middle, or done long ago.
INSERT INTO maintenance_cursors AS m (name)
VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE
    SET updated_at = now()
    WHERE m.cursor <> ''
       OR m.updated_at <= now() - make_interval(secs => %(interval_s)s)
RETURNING cursor

-- save --
-- Where work goes on.
INSERT INTO maintenance_cursors AS m (name, cursor)
VALUES (%(name)s, %(cursor)s)
ON CONFLICT (name) DO UPDATE
    SET cursor = EXCLUDED.cursor,
        updated_at = now()

-- hide_deleted --
-- Documents deleted long ago show nothing any more, whatever becomes of them.
UPDATE documents d
SET current_version = NULL,
    is_compacting = true
FROM (
    SELECT tenant_id, collection, document_id
    FROM documents
    WHERE deleted_at < now() - make_interval(secs => %(grace_s)s)
      AND deleted_at IS NOT NULL
      AND current_version IS NOT NULL
    ORDER BY deleted_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) o
WHERE (d.tenant_id, d.collection, d.document_id) = (o.tenant_id, o.collection, o.document_id)

-- take_compacting --
-- Lock documents that have chunks nobody sees, past those that somebody works on.
SELECT tenant_id, collection, document_id
FROM documents
WHERE is_compacting
ORDER BY tenant_id, collection, document_id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- remove_chunks --
-- Some chunks of locked documents, of versions that are neither visible nor in the making; vectors
-- go with them. OFFSET 0 keeps a lookup by key a lookup, on tables that were never analyzed.
WITH doomed AS (
    SELECT o.tenant_id, o.collection, o.document_id, c.version, c.chunk_index
    FROM unnest(%(tenant_ids)b::text[], %(collections)b::text[], %(document_ids)b::text[])
        AS o (tenant_id, collection, document_id)
    CROSS JOIN LATERAL (
        SELECT d.current_version
        FROM documents d
        WHERE (d.tenant_id, d.collection, d.document_id)
            = (o.tenant_id, o.collection, o.document_id)
        OFFSET 0
    ) d
    CROSS JOIN LATERAL (
        SELECT c.version, c.chunk_index
        FROM chunks c
        WHERE (c.tenant_id, c.collection, c.document_id)
            = (o.tenant_id, o.collection, o.document_id)
          AND c.version IS DISTINCT FROM d.current_version
          AND NOT EXISTS (
              SELECT
              FROM jobs j
              WHERE (j.tenant_id, j.collection, j.document_id, j.version)
                  = (c.tenant_id, c.collection, c.document_id, c.version)
                AND j.status IN ('queued', 'chunking', 'embedding', 'storing'))
        LIMIT %(limit)s
    ) c
    LIMIT %(limit)s
)
DELETE FROM chunks c
USING doomed o
WHERE (c.tenant_id, c.collection, c.document_id, c.version, c.chunk_index)
    = (o.tenant_id, o.collection, o.document_id, o.version, o.chunk_index)

-- end_compacting --
-- Documents that have nothing left which nobody sees.
UPDATE documents d
SET is_compacting = false
FROM unnest(%(tenant_ids)b::text[], %(collections)b::text[], %(document_ids)b::text[])
    AS o (tenant_id, collection, document_id)
WHERE (d.tenant_id, d.collection, d.document_id) = (o.tenant_id, o.collection, o.document_id)

-- sees_all --
-- Whether this role sees the rows of all tenants: to any other nothing is named.
SELECT pg_has_role(current_user, 'embedpipe_maintenance', 'USAGE') AS sees_all

-- unnamed --
-- URIs that no version names, each looked up by the index.
SELECT u.uri
FROM unnest(%(uris)b::text[]) AS u (uri)
WHERE NOT EXISTS (
    SELECT
    FROM document_versions v
    WHERE v.content_uri = u.uri)

-- finished --
-- Jobs that ended long ago, of all tenants.
SELECT j.tenant_id, j.job_id
FROM jobs j
WHERE j.finished_at < now() - make_interval(secs => %(days)s * 86400)
  AND NOT EXISTS (
      SELECT
      FROM job_skips s
      WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
        AND s.expires_at > now())
ORDER BY j.finished_at
LIMIT %(limit)s

-- lock_documents --
-- Every writer locks the document first; those that are busy come another time.
SELECT d.collection, d.document_id
FROM documents d
WHERE d.tenant_id = %(tenant_id)s
  AND (d.collection, d.document_id) IN (
      SELECT j.collection, j.document_id
      FROM jobs j
      WHERE j.tenant_id = %(tenant_id)s
        AND j.job_id = ANY (%(job_ids)s))
ORDER BY d.collection, d.document_id
FOR UPDATE SKIP LOCKED

-- remove_jobs --
-- Jobs of locked documents that still are finished for so long, with their batches; and messages of
-- theirs that nobody could send, which have no effect any more.
WITH gone AS (
    DELETE FROM jobs j
    USING unnest(%(collections)b::text[], %(document_ids)b::text[]) AS o (collection, document_id)
    WHERE j.tenant_id = %(tenant_id)s
      AND j.job_id = ANY (%(job_ids)s)
      AND (j.collection, j.document_id) = (o.collection, o.document_id)
      AND j.finished_at < now() - make_interval(secs => %(days)s * 86400)
      AND NOT EXISTS (
          SELECT
          FROM job_skips s
          WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
            AND s.expires_at > now())
    RETURNING j.job_id::text AS job_id
),
unsent AS (
    DELETE FROM outbox o
    USING gone g
    WHERE o.tenant_id = %(tenant_id)s
      AND o.queue IN ('chunk', 'embed', 'embed_high', 'embed_low', 'store')
      AND o.message_key BETWEEN g.job_id AND g.job_id || '~'
)
SELECT job_id
FROM gone

-- remove_versions --
-- Versions of locked documents that are over: not visible, not the latest, and no job names them.
DELETE FROM document_versions v
USING unnest(%(collections)b::text[], %(document_ids)b::text[]) AS o (collection, document_id)
JOIN documents d
    ON d.tenant_id = %(tenant_id)s
   AND (d.collection, d.document_id) = (o.collection, o.document_id)
WHERE v.tenant_id = %(tenant_id)s
  AND (v.collection, v.document_id) = (o.collection, o.document_id)
  AND v.version < d.latest_version
  AND v.version IS DISTINCT FROM d.current_version
  AND NOT EXISTS (
      SELECT
      FROM jobs j
      WHERE (j.tenant_id, j.collection, j.document_id, j.version)
          = (v.tenant_id, v.collection, v.document_id, v.version))

-- remove_audit --
-- The oldest entries of the audit log, as far as they are old: ids grow with time.
DELETE FROM audit_log a
USING (
    SELECT tenant_id, audit_id, at
    FROM audit_log
    ORDER BY audit_id
    LIMIT %(limit)s
) o
WHERE (a.tenant_id, a.audit_id) = (o.tenant_id, o.audit_id)
  AND o.at < now() - make_interval(secs => %(audit_days)s * 86400)

-- remove_heartbeats --
-- Workers that have said nothing for long are gone; others that beat remove them, too.
DELETE FROM worker_heartbeats
WHERE beat_at < now()
    - make_interval(secs => greatest(%(kept_s)s, %(kept_beats)s * interval_s))

-- remove_redrives --
-- Redrives that ended long ago.
DELETE FROM redrives
WHERE status IN ('completed', 'cancelled', 'failed')
  AND updated_at < now() - make_interval(secs => %(days)s * 86400)
