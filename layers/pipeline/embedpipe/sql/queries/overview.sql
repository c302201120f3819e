-- limit_time --
-- For what is asked every other second: an answer that comes late is not worth waiting for.
SELECT set_config('statement_timeout', '2000', true)

-- open --
-- Jobs that are not final, and for how long the oldest has been in its stage.
SELECT status,
    count(*)::integer AS jobs,
    extract(epoch FROM now() - min(CASE status
        WHEN 'embedding' THEN embedding_at
        WHEN 'storing' THEN storing_at
        ELSE CASE WHEN rescues = 0 THEN created_at ELSE touched_at END
    END))::float8 AS age_s
FROM jobs
WHERE status IN ('queued', 'chunking', 'embedding', 'storing')
GROUP BY status

-- outbox --
-- Messages that nobody has sent yet.
SELECT count(*)::integer AS rows,
    coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age_s
FROM outbox

-- counts --
-- Jobs that left each stage within a window: ended ones and open ones, by an index each.
SELECT count(*) FILTER (WHERE m.embedding_at >= m.start)::integer AS chunk,
    count(*) FILTER (WHERE m.storing_at >= m.start)::integer AS embed,
    count(*) FILTER (WHERE m.status = 'succeeded')::integer AS store
FROM (
    SELECT status, embedding_at, storing_at, w.start
    FROM jobs, (SELECT now() - make_interval(secs => %(window_s)s) AS start) w
    WHERE finished_at >= now() - make_interval(secs => %(window_s)s)
    UNION ALL
    SELECT status, embedding_at, storing_at, w.start
    FROM jobs, (SELECT now() - make_interval(secs => %(window_s)s) AS start) w
    WHERE status IN ('queued', 'chunking', 'embedding', 'storing')
      AND touched_at >= now() - make_interval(secs => %(window_s)s)
) m

-- failures --
-- Jobs that failed within a window, by stage: their dead letter's, or else how far they had come.
SELECT coalesce(d.stage, CASE
        WHEN j.storing_at IS NOT NULL THEN 'store'
        WHEN j.embedding_at IS NOT NULL THEN 'embed'
        ELSE 'chunk'
    END) AS stage,
    count(*)::integer AS jobs
FROM jobs j
LEFT JOIN LATERAL (
    SELECT e.stage
    FROM dlq_entries e
    WHERE e.job_id = j.job_id
      AND e.epoch = j.epoch
    ORDER BY e.arrived_at
    LIMIT 1
) d ON true
WHERE j.status = 'failed'
  AND j.finished_at >= now() - make_interval(secs => %(window_s)s)
GROUP BY 1

-- arrivals --
-- Dead letters that were first seen within a window.
SELECT stage, count(*)::integer AS letters
FROM dlq_entries
WHERE arrived_at >= now() - make_interval(secs => %(window_s)s)
GROUP BY stage

-- figures --
-- What a window saw: percentiles of durations in seconds, ends, tokens, cost.
SELECT count(*) FILTER (WHERE m.status = 'succeeded')::integer AS succeeded,
    count(*) FILTER (WHERE m.status = 'failed')::integer AS failed,
    count(*) FILTER (WHERE m.status = 'cancelled')::integer AS cancelled,
    coalesce(sum(m.tokens_total) FILTER (WHERE m.status = 'succeeded'), 0)::bigint AS tokens,
    coalesce(sum(m.cost_usd) FILTER (WHERE m.status = 'succeeded'), 0)::float8 AS cost_usd,
    percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY
        extract(epoch FROM m.embedding_at - m.created_at)::float8)
        FILTER (WHERE m.embedding_at >= m.start) AS chunk,
    percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY
        extract(epoch FROM m.storing_at - m.embedding_at)::float8)
        FILTER (WHERE m.storing_at >= m.start) AS embed,
    percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY
        extract(epoch FROM m.finished_at - m.storing_at)::float8)
        FILTER (WHERE m.status = 'succeeded') AS store,
    percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY
        extract(epoch FROM m.finished_at - m.created_at)::float8)
        FILTER (WHERE m.status = 'succeeded') AS job
FROM (
    SELECT j.*, w.start
    FROM jobs j, (SELECT now() - make_interval(secs => %(window_s)s) AS start) w
    WHERE finished_at >= now() - make_interval(secs => %(window_s)s)
    UNION ALL
    SELECT j.*, w.start
    FROM jobs j, (SELECT now() - make_interval(secs => %(window_s)s) AS start) w
    WHERE status IN ('queued', 'chunking', 'embedding', 'storing')
      AND touched_at >= now() - make_interval(secs => %(window_s)s)
) m

-- recent --
-- A page of the jobs of all tenants, or of one, newest first.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM jobs j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
WHERE (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
  AND (%(after)s::timestamptz IS NULL
       OR (j.created_at, j.job_id) < (%(after)s::timestamptz, %(after_job)s::uuid))
ORDER BY j.created_at DESC, j.job_id DESC
LIMIT %(limit)s

-- failed --
-- A page of the jobs that failed, the last one first.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM jobs j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
WHERE j.status = 'failed'
  AND (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
  AND (%(after)s::timestamptz IS NULL
       OR (j.finished_at, j.job_id) < (%(after)s::timestamptz, %(after_job)s::uuid))
ORDER BY j.finished_at DESC, j.job_id DESC
LIMIT %(limit)s

-- unfinished --
-- A page of the jobs that are not final, the longest unmoved first.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM jobs j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
WHERE j.status IN ('queued', 'chunking', 'embedding', 'storing')
  AND (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
  AND (%(after)s::timestamptz IS NULL
       OR (j.touched_at, j.job_id) > (%(after)s::timestamptz, %(after_job)s::uuid))
ORDER BY j.touched_at, j.job_id
LIMIT %(limit)s

-- stuck --
-- A page of the jobs that stopped moving, the longest first: what a rescue would find, but with the
-- operator's patience. Keys in the outbox are `job` or `job/...`, in C collation: a range.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM jobs j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
WHERE j.status IN ('queued', 'chunking', 'embedding', 'storing')
  AND j.status = ANY (%(statuses)s)
  AND j.touched_at < now() - make_interval(secs => %(idle_s)s)
  AND (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
  AND (%(after)s::timestamptz IS NULL
       OR (j.touched_at, j.job_id) > (%(after)s::timestamptz, %(after_job)s::uuid))
  AND NOT EXISTS (
      SELECT
      FROM outbox o
      WHERE o.tenant_id = j.tenant_id
        AND o.queue IN ('chunk', 'embed', 'embed_high', 'embed_low', 'store')
        AND o.message_key BETWEEN j.job_id::text AND j.job_id::text || '~')
  AND NOT EXISTS (
      SELECT
      FROM job_skips s
      WHERE (s.tenant_id, s.job_id) = (j.tenant_id, j.job_id)
        AND s.expires_at > now())
  AND (j.status = ANY (%(emptied)s) OR EXISTS (
      SELECT
      FROM jobs k
      WHERE k.tenant_id = j.tenant_id
        AND k.collection = j.collection
        AND k.priority <= j.priority
        AND k.created_at > j.touched_at + make_interval(secs => %(idle_s)s)
        AND k.status = 'succeeded'))
ORDER BY j.touched_at, j.job_id
LIMIT %(limit)s

-- open_by_tenant --
-- How many jobs of each tenant are not final.
SELECT tenant_id, count(*)::integer AS jobs
FROM jobs
WHERE status IN ('queued', 'chunking', 'embedding', 'storing')
  AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(collection)s::text IS NULL OR collection = %(collection)s)
GROUP BY tenant_id
ORDER BY tenant_id
