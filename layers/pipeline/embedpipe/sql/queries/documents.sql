-- read --
-- One document; metadata, type and digest are the visible version's, else the latest's.
SELECT d.collection, d.document_id, d.current_version AS version, d.latest_version, v.metadata,
    v.content_type, v.content_sha256, c.chunks, d.created_at, d.updated_at, d.deleted_at
FROM documents d
CROSS JOIN LATERAL (
    SELECT v.metadata, v.content_type, v.content_sha256
    FROM document_versions v
    WHERE (v.tenant_id, v.collection, v.document_id, v.version)
        = (d.tenant_id, d.collection, d.document_id, coalesce(d.current_version, d.latest_version))
    OFFSET 0
) v
CROSS JOIN LATERAL (
    SELECT count(*) AS chunks
    FROM chunks c
    WHERE (c.tenant_id, c.collection, c.document_id, c.version)
        = (d.tenant_id, d.collection, d.document_id, d.current_version)
) c
WHERE d.tenant_id = %(tenant_id)s
  AND d.collection = %(collection)s
  AND d.document_id = %(document_id)s

-- list --
-- A page of documents by id, after a given one.
SELECT d.collection, d.document_id, d.current_version AS version, d.latest_version, v.metadata,
    v.content_type, v.content_sha256, c.chunks, d.created_at, d.updated_at, d.deleted_at
FROM documents d
CROSS JOIN LATERAL (
    SELECT v.metadata, v.content_type, v.content_sha256
    FROM document_versions v
    WHERE (v.tenant_id, v.collection, v.document_id, v.version)
        = (d.tenant_id, d.collection, d.document_id, coalesce(d.current_version, d.latest_version))
    OFFSET 0
) v
CROSS JOIN LATERAL (
    SELECT count(*) AS chunks
    FROM chunks c
    WHERE (c.tenant_id, c.collection, c.document_id, c.version)
        = (d.tenant_id, d.collection, d.document_id, d.current_version)
) c
WHERE d.tenant_id = %(tenant_id)s
  AND d.collection = %(collection)s
  AND d.document_id > %(after)s
  AND (%(include_deleted)s OR d.deleted_at IS NULL)
ORDER BY d.document_id
LIMIT %(limit)s

-- hide --
-- Soft-delete a document, and lock it; the time of the first deletion stays.
UPDATE documents
SET deleted_at = coalesce(deleted_at, now()),
    updated_at = CASE WHEN deleted_at IS NULL THEN now() ELSE updated_at END
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s
  AND document_id = %(document_id)s
RETURNING document_id

-- restore --
-- Bring a soft-deleted document back.
UPDATE documents
SET deleted_at = NULL,
    updated_at = now()
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s
  AND document_id = %(document_id)s
  AND deleted_at IS NOT NULL
