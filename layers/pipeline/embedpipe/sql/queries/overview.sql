-- limit_time --
-- For what is asked every other second: an answer that comes late is not worth waiting for.
SELECT set_config('statement_timeout', '2000', true)

-- prefer_indexes --
-- For pages in the order of an index. The planner takes a row for seldom visible, whoever asks, and
-- so a handful of rows for cheap to sort: it would go through all jobs for the newest ones.
SELECT set_config('enable_sort', 'off', true)

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
-- A page of the jobs of all tenants, or of one, newest first; its batches are counted afterwards.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM (
    SELECT j.*
    FROM jobs j
    WHERE (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
      AND (%(after)s::timestamptz IS NULL
           OR (j.created_at, j.job_id) < (%(after)s::timestamptz, %(after_job)s::uuid))
    ORDER BY j.created_at DESC, j.job_id DESC
    LIMIT %(limit)s
) j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
ORDER BY j.created_at DESC, j.job_id DESC

-- failed --
-- A page of the jobs that failed, the last one first.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM (
    SELECT j.*
    FROM jobs j
    WHERE (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
      AND (%(after)s::timestamptz IS NULL
           OR (j.finished_at, j.job_id) < (%(after)s::timestamptz, %(after_job)s::uuid))
      AND j.status = 'failed'
    ORDER BY j.finished_at DESC, j.job_id DESC
    LIMIT %(limit)s
) j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
ORDER BY j.finished_at DESC, j.job_id DESC

-- unfinished --
-- A page of the jobs that are not final, the longest unmoved first.
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM (
    SELECT j.*
    FROM jobs j
    WHERE (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
      AND (%(after)s::timestamptz IS NULL
           OR (j.touched_at, j.job_id) > (%(after)s::timestamptz, %(after_job)s::uuid))
      AND j.status IN ('queued', 'chunking', 'embedding', 'storing')
    ORDER BY j.touched_at, j.job_id
    LIMIT %(limit)s
) j
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
ORDER BY j.touched_at, j.job_id

-- stuck --
-- A page of the jobs that stopped moving, the longest first: what a rescue would find, but with the
-- operator's patience. Keys in the outbox are `job` or `job/...`, in C collation: a range. Whether
-- a job was overtaken is asked once for all that share tenant, collection and priority: for each
-- job, the jobs admitted after it would be gone through again. OFFSET 0 keeps lookups by key
-- lookups, one after another until the page is full.
WITH late AS MATERIALIZED (
    SELECT j.tenant_id, j.job_id, j.collection, j.priority, j.status, j.touched_at
    FROM jobs j
    WHERE j.status IN ('queued', 'chunking', 'embedding', 'storing')
      AND j.status = ANY (%(statuses)s)
      AND j.touched_at < now() - make_interval(secs => %(idle_s)s)
      AND (%(tenant_id)s::text IS NULL OR j.tenant_id = %(tenant_id)s)
      AND (%(after)s::timestamptz IS NULL
           OR (j.touched_at, j.job_id) > (%(after)s::timestamptz, %(after_job)s::uuid))
),
done AS MATERIALIZED (
    SELECT g.tenant_id, g.collection, g.priority, k.created_at
    FROM (
        SELECT tenant_id, collection, priority,
            min(touched_at) + make_interval(secs => %(idle_s)s) AS since
        FROM late
        WHERE NOT status = ANY (%(emptied)s)
        GROUP BY tenant_id, collection, priority
    ) g
    CROSS JOIN LATERAL (
        SELECT k.created_at
        FROM jobs k
        WHERE k.tenant_id = g.tenant_id
          AND k.collection = g.collection
          AND k.priority <= g.priority
          AND k.status = 'succeeded'
          AND k.created_at > g.since
        ORDER BY k.created_at DESC
        LIMIT 1
    ) k
),
overtaken AS (
    SELECT l.*
    FROM late l
    LEFT JOIN done d USING (tenant_id, collection, priority)
    WHERE l.status = ANY (%(emptied)s)
       OR d.created_at > l.touched_at + make_interval(secs => %(idle_s)s)
    ORDER BY l.touched_at, l.job_id
    OFFSET 0
),
lost AS (
    SELECT l.tenant_id, l.job_id
    FROM overtaken l
    WHERE NOT EXISTS (
          SELECT
          FROM outbox o
          WHERE o.tenant_id = l.tenant_id
            AND o.queue IN ('chunk', 'embed', 'embed_high', 'embed_low', 'store')
            AND o.message_key BETWEEN l.job_id::text AND l.job_id::text || '~'
          OFFSET 0)
      AND NOT EXISTS (
          SELECT
          FROM job_skips s
          WHERE (s.tenant_id, s.job_id) = (l.tenant_id, l.job_id)
            AND s.expires_at > now()
          OFFSET 0)
    ORDER BY l.touched_at, l.job_id
    LIMIT %(limit)s
)
SELECT j.*, j.cost_usd::float8 AS cost_usd, s.chunks_stored
FROM lost
JOIN jobs j USING (tenant_id, job_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.chunk_count), 0)::integer AS chunks_stored
    FROM batches b
    WHERE (b.tenant_id, b.job_id, b.epoch, b.state) = (j.tenant_id, j.job_id, j.epoch, 'stored')
) s
ORDER BY j.touched_at, j.job_id

-- open_by_tenant --
-- How many jobs of each tenant are not final.
SELECT tenant_id, count(*)::integer AS jobs
FROM jobs
WHERE status IN ('queued', 'chunking', 'embedding', 'storing')
  AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(collection)s::text IS NULL OR collection = %(collection)s)
GROUP BY tenant_id
ORDER BY tenant_id
