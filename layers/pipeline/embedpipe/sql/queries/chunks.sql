-- remove_version --
-- Chunks that an earlier epoch of the job may have left.
DELETE FROM chunks
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s
  AND document_id = %(document_id)s
  AND version = %(version)s

-- insert --
-- Chunks of a version, from arrays in binary form: COPY FROM is refused on a table with row-level
-- security. Heading paths come as JSON, as arrays of arrays cannot be ragged.
INSERT INTO chunks (
    tenant_id, collection, document_id, version, chunk_index, start_offset, end_offset, text,
    tokens, content_sha256, heading_path)
SELECT %(tenant_id)s, %(collection)s, %(document_id)s, %(version)s, c.chunk_index,
    c.start_offset, c.end_offset, c.text, c.tokens, c.content_sha256,
    CASE c.headings
        WHEN '' THEN '{}'
        ELSE ARRAY(SELECT jsonb_array_elements_text(c.headings::jsonb))
    END
FROM unnest(
    %(indexes)b::integer[], %(starts)b::integer[], %(ends)b::integer[], %(texts)b::text[],
    %(tokens)b::integer[], %(digests)b::text[], %(headings)b::text[]
) AS c (chunk_index, start_offset, end_offset, text, tokens, content_sha256, headings)

-- publish --
-- Make a version the visible one and remove those before it, vectors with their chunks. A version
-- that is older than the visible one removes itself; one that is newer, in progress, stays.
WITH shown AS (
    UPDATE documents
    SET current_version = greatest(current_version, %(version)s),
        updated_at = now(),
        deleted_at = NULL
    WHERE tenant_id = %(tenant_id)s
      AND collection = %(collection)s
      AND document_id = %(document_id)s
    RETURNING current_version
)
DELETE FROM chunks
USING shown
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s
  AND document_id = %(document_id)s
  AND version < shown.current_version

-- search --
-- The nearest chunks of visible versions. One statement, so one snapshot: never two versions of a
-- document, never a part of one. OFFSET 0 keeps a lookup by key a lookup, see `tune_search`.
WITH nearest AS (
    SELECT e.document_id, e.version, e.chunk_index, e.embedding <=> %(vector)s AS distance
    FROM documents d
    JOIN embeddings e
        ON (e.tenant_id, e.collection, e.document_id, e.version)
         = (d.tenant_id, d.collection, d.document_id, d.current_version)
    WHERE d.tenant_id = %(tenant_id)s
      AND d.collection = %(collection)s
      AND d.deleted_at IS NULL
      AND e.fingerprint = %(fingerprint)s
      AND e.kind = 'chunk'
      AND (%(filter)s::jsonb IS NULL OR EXISTS (
          SELECT
          FROM document_versions v
          WHERE (v.tenant_id, v.collection, v.document_id, v.version)
              = (d.tenant_id, d.collection, d.document_id, d.current_version)
            AND v.metadata @> %(filter)s::jsonb))
      AND (%(min_score)s::float8 IS NULL
           OR 1 - (e.embedding <=> %(vector)s) >= %(min_score)s::float8)
    ORDER BY distance, e.document_id, e.chunk_index
    LIMIT %(top_k)s
)
SELECT n.document_id, n.version, n.chunk_index, c.text, c.start_offset, c.end_offset,
    1 - n.distance AS score, c.heading_path, v.metadata
FROM nearest n
CROSS JOIN LATERAL (
    SELECT c.text, c.start_offset, c.end_offset, c.heading_path
    FROM chunks c
    WHERE c.tenant_id = %(tenant_id)s
      AND c.collection = %(collection)s
      AND (c.document_id, c.version, c.chunk_index) = (n.document_id, n.version, n.chunk_index)
    OFFSET 0
) c
CROSS JOIN LATERAL (
    SELECT v.metadata
    FROM document_versions v
    WHERE v.tenant_id = %(tenant_id)s
      AND v.collection = %(collection)s
      AND (v.document_id, v.version) = (n.document_id, n.version)
    OFFSET 0
) v
ORDER BY n.distance, n.document_id, n.chunk_index

-- tune_search --
-- How an HNSW index is searched, should the planner choose one; where pgvector can (from 0.8 on),
-- it goes on until enough rows pass the filters. And no nested loops over whole tables: on tables
-- that were never analyzed the planner takes a tenant's rows for one, and the loops get quadratic.
SELECT set_config('hnsw.ef_search', %(ef_search)s, true),
    set_config('enable_nestloop', 'off', true),
    CASE
        WHEN string_to_array(extversion, '.')::integer[] >= '{0,8}'
        THEN set_config('hnsw.iterative_scan', 'relaxed_order', true)
    END
FROM pg_extension
WHERE extname = 'vector'

-- vectors --
-- Vectors of a version's chunks, of one model, by chunk index.
SELECT chunk_index, embedding::real[] AS vector
FROM embeddings
WHERE tenant_id = %(tenant_id)s
  AND collection = %(collection)s
  AND document_id = %(document_id)s
  AND version = %(version)s
  AND fingerprint = %(fingerprint)s
  AND kind = 'chunk'
  AND ordinal = 0
  AND chunk_index > %(after)s
ORDER BY chunk_index
LIMIT %(limit)s
