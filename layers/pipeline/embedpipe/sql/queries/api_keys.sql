-- find --
-- A key by its id, before the tenant is known; revoked ones are not found.
SELECT tenant_id, role, key_id, key_sha256
FROM api_keys
WHERE key_id = %(key_id)s
  AND revoked_at IS NULL

-- name_key --
-- Let row-level security show one key.
SELECT set_config('app.key_id', %(key_id)s, true)

-- insert --
-- A key; its SHA-256 only.
INSERT INTO api_keys (tenant_id, key_id, key_sha256, role, name)
VALUES (%(tenant_id)s, %(key_id)s, %(key_sha256)s, %(role)s, %(name)s)

-- revoke --
-- Make a key useless, now; the time of the first revocation stays.
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, now())
WHERE tenant_id = %(tenant_id)s
  AND key_id = %(key_id)s
RETURNING revoked_at = now() AS is_new

-- list --
-- The keys of a tenant, newest first, without their digests.
SELECT key_id, role, name, created_at, revoked_at
FROM api_keys
WHERE tenant_id = %(tenant_id)s
ORDER BY created_at DESC, key_id
