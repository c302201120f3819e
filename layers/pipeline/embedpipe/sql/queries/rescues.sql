-- stalled --
-- Jobs that did not move for long, oldest first. Late is not lost: where their queue holds anything,
-- a job counts as lost only if another one is done that was admitted that long after its last move,
-- to the same collection and so the same model, and was no more urgent. That is asked once for all
-- that share tenant, collection and priority, and of jobs that are young enough: in a backlog, each
-- job would go through all others, and the first ones of a collection through all there ever were.
-- Keys in the outbox are `job` or `job/...`, in C collation: a range of its primary key. OFFSET 0
-- keeps lookups by key lookups, one after another until there are enough.
WITH late AS MATERIALIZED (
    SELECT j.tenant_id, j.job_id, j.epoch, j.collection, j.document_id, j.version, j.rescues,
        j.touched_at, j.traceparent, j.priority,
        make_interval(secs => %(idle_s)s * 2 ^ least(j.rescues, 16)) AS patience
    FROM jobs j
    WHERE j.status = ANY (%(statuses)s)
      AND j.status IN ('queued', 'chunking', 'embedding', 'storing')
      AND j.touched_at < now() - make_interval(secs => %(idle_s)s)
      AND j.touched_at < now() - make_interval(secs => %(idle_s)s * 2 ^ least(j.rescues, 16))
),
done AS MATERIALIZED (
    SELECT g.tenant_id, g.collection, g.priority, k.created_at
    FROM (
        SELECT tenant_id, collection, priority, min(touched_at + patience) AS since
        FROM late
        WHERE NOT %(is_queue_empty)s
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
    WHERE %(is_queue_empty)s
       OR d.created_at > l.touched_at + l.patience
    ORDER BY l.touched_at
    OFFSET 0
)
SELECT l.tenant_id, l.job_id, l.epoch, l.collection, l.document_id, l.version, l.rescues,
    l.touched_at, l.traceparent
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
ORDER BY l.touched_at
LIMIT %(limit)s

-- restart --
-- Open a new epoch for a job that has not moved since it was seen; its document is locked.
UPDATE jobs
SET status = 'queued',
    epoch = epoch + 1,
    rescues = CASE WHEN %(counts_anew)s THEN 0 ELSE rescues + 1 END,
    requeued_from = NULL,
    chunks_total = NULL,
    tokens_total = NULL,
    cost_usd = NULL,
    chunking_at = NULL,
    embedding_at = NULL,
    storing_at = NULL,
    touched_at = now()
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND epoch = %(epoch)s
  AND touched_at = %(touched_at)s
  AND status IN ('queued', 'chunking', 'embedding', 'storing')
  AND NOT EXISTS (
      SELECT
      FROM job_skips s
      WHERE (s.tenant_id, s.job_id) = (jobs.tenant_id, jobs.job_id)
        AND s.expires_at > now())
RETURNING epoch

-- remove_batches --
-- The batches of a job's earlier epochs: their messages have no effect any more.
DELETE FROM batches
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
