-- insert --
-- Write down an act, in the transaction that does it.
INSERT INTO audit_log (tenant_id, actor, action, subject, result, note)
VALUES (%(tenant_id)s, %(actor)s, %(action)s, %(subject)s, %(result)s, %(note)s)

-- list --
-- A page of the audit log of all tenants, newest first.
SELECT audit_id, tenant_id, actor, action, subject, result, note, at
FROM audit_log
WHERE (%(before)s::bigint IS NULL OR audit_id < %(before)s)
  AND (%(action)s::text IS NULL OR action = %(action)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
ORDER BY audit_id DESC
LIMIT %(limit)s
