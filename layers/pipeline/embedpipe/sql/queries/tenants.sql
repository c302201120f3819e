-- insert --
-- A tenant, unless there is one of that name.
INSERT INTO tenants (tenant_id, tier)
VALUES (%(tenant_id)s, %(tier)s)
ON CONFLICT DO NOTHING
RETURNING tenant_id

-- list --
-- All tenants, for the maintenance role.
SELECT tenant_id, tier, created_at
FROM tenants
ORDER BY tenant_id

-- audit --
-- What an administrator did.
INSERT INTO audit_log (tenant_id, actor, action, subject, result)
VALUES (%(tenant_id)s, %(actor)s, %(action)s, %(subject)s, 'done')
