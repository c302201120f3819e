-- insert --
-- Messages of a change; a key that is there already stays as it is.
INSERT INTO outbox (tenant_id, queue, message_key, body)
SELECT %(tenant_id)s, o.queue, o.message_key, o.body
FROM unnest(%(queues)b::text[], %(keys)b::text[], %(bodies)b::text[])
    AS o (queue, message_key, body)
ON CONFLICT DO NOTHING

-- remove --
-- Messages that their queue has accepted.
DELETE FROM outbox
WHERE tenant_id = %(tenant_id)s
  AND queue = %(queue)s
  AND message_key = ANY (%(keys)s)

-- claim --
-- Take messages that nobody sent in time, oldest first, past those that another sweep holds.
WITH due AS (
    SELECT tenant_id, queue, message_key
    FROM outbox
    WHERE claimed_until <= now()
    ORDER BY claimed_until
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
taken AS (
    UPDATE outbox o
    SET claimed_until = now() + make_interval(secs => %(claim_s)s)
    FROM due d
    WHERE (o.tenant_id, o.queue, o.message_key) = (d.tenant_id, d.queue, d.message_key)
    RETURNING o.tenant_id, o.queue, o.message_key, o.body, o.created_at
)
SELECT tenant_id, queue, message_key, body
FROM taken
ORDER BY created_at, tenant_id, queue, message_key
