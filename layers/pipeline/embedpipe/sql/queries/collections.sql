-- insert --
-- A collection, unless there is one of that name.
INSERT INTO collections (tenant_id, collection, model_id, fingerprint, dimensions, description,
    price_usd_per_million_tokens)
VALUES (%(tenant_id)s, %(collection)s, %(model_id)s, %(fingerprint)s, %(dimensions)s,
    %(description)s, %(price)s)
ON CONFLICT DO NOTHING
RETURNING collection, model_id, fingerprint, dimensions, distance, description,
    price_usd_per_million_tokens::float8, created_at

-- read --
-- One collection.
SELECT collection, model_id, fingerprint, dimensions, distance, description,
    price_usd_per_million_tokens::float8, created_at
FROM collections
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s

-- list --
-- A page of collections by name, after a given one.
SELECT collection, model_id, fingerprint, dimensions, distance, description,
    price_usd_per_million_tokens::float8, created_at
FROM collections
WHERE tenant_id = %(tenant_id)s
  AND collection > %(after)s
ORDER BY collection
LIMIT %(limit)s

-- remove --
-- A collection with everything in it, by cascade.
DELETE FROM collections
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s

-- take_time --
-- Removing a large collection takes longer than any other statement may.
SELECT set_config('statement_timeout', '25s', true)

-- statistics --
-- What a collection holds.
SELECT
    (SELECT count(*) FROM documents d
     WHERE (d.tenant_id, d.collection) = (k.tenant_id, k.collection)
       AND d.current_version IS NOT NULL AND d.deleted_at IS NULL) AS documents,
    (SELECT count(*) FROM documents d
     WHERE (d.tenant_id, d.collection) = (k.tenant_id, k.collection)
       AND d.deleted_at IS NOT NULL) AS deleted_documents,
    c.chunks,
    c.tokens,
    (SELECT count(*) FROM jobs j
     WHERE (j.tenant_id, j.collection) = (k.tenant_id, k.collection)
       AND j.status IN ('queued', 'chunking', 'embedding', 'storing')) AS jobs_in_progress
FROM collections k
CROSS JOIN LATERAL (
    SELECT coalesce(sum(c.chunks), 0)::int8 AS chunks, coalesce(sum(c.tokens), 0)::int8 AS tokens
    FROM documents d
    CROSS JOIN LATERAL (
        SELECT count(*) AS chunks, sum(c.tokens) AS tokens
        FROM chunks c
        WHERE (c.tenant_id, c.collection, c.document_id, c.version)
            = (d.tenant_id, d.collection, d.document_id, d.current_version)
    ) c
    WHERE (d.tenant_id, d.collection) = (k.tenant_id, k.collection)
      AND d.deleted_at IS NULL
) c
WHERE k.tenant_id = %(tenant_id)s
  AND k.collection = %(collection)s
