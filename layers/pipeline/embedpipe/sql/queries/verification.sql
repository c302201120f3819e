-- unforced_tables --
-- Tables of tenants whose rows are not guarded by row-level security, for their owner too.
SELECT c.relname AS subject
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace
  AND c.relkind IN ('r', 'p')
  AND EXISTS (
      SELECT
      FROM pg_attribute a
      WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity
           AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))
ORDER BY c.relname

-- unfiltered_policies --
-- Policies that show the application rows of every tenant. An operator may read those of the
-- control plane, note who did what, control stages, and keep the mirror of the dead-letter queues.
SELECT c.relname || '.' || p.polname AS subject
FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace = 'public'::regnamespace
  AND p.polpermissive
  AND p.polroles && ARRAY[0::oid, 'embedpipe_app'::regrole::oid]
  AND (coalesce(pg_get_expr(p.polqual, p.polrelid), '') !~ 'current_tenant|app\.key_id'
       OR p.polcmd <> 'r' AND pg_get_expr(p.polwithcheck, p.polrelid) !~ 'current_tenant')
  AND NOT (p.polcmd = 'r'
           AND pg_get_expr(p.polqual, p.polrelid) = 'is_operator()'
           AND c.relname IN ('tenants', 'jobs', 'batches', 'outbox', 'job_skips', 'audit_log'))
  AND NOT (p.polcmd = 'a'
           AND pg_get_expr(p.polwithcheck, p.polrelid) = 'is_operator()'
           AND c.relname = 'audit_log')
  AND NOT (pg_get_expr(p.polqual, p.polrelid) = 'is_operator()'
           AND pg_get_expr(p.polwithcheck, p.polrelid) = 'is_operator()'
           AND c.relname IN ('dlq_entries', 'stage_controls'))
  AND NOT (p.polcmd = 'r' AND c.relname = 'stage_controls')
ORDER BY subject

-- mighty_roles --
-- Roles of ours that row-level security does not bind, or that own a table.
SELECT r.rolname AS subject
FROM pg_roles r
WHERE r.rolname IN ('embedpipe_app', 'embedpipe_maintenance')
  AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole
       OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)
       OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))
ORDER BY r.rolname

-- missing_roles --
-- Roles of ours that are not there.
SELECT wanted.rolname AS subject
FROM unnest(ARRAY['embedpipe_app', 'embedpipe_maintenance']) AS wanted (rolname)
WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wanted.rolname)

-- tenantless_keys --
-- Unique keys and foreign keys of tenants' tables that do not start with the tenant: they would
-- tell one tenant what another has. Only operators see `dlq_entries`, and its keys are the queues'.
SELECT i.relname AS subject
FROM pg_index x
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace
  AND x.indisunique
  AND x.indkey[0] <> a.attnum
  AND c.relname <> 'dlq_entries'
UNION ALL
SELECT k.conname
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace
  AND k.contype = 'f'
  AND k.conkey[1] <> a.attnum
ORDER BY subject

-- definer_code --
-- Functions that run as their owner and views that read as theirs: both pass by row-level security.
SELECT f.proname AS subject
FROM pg_proc f
WHERE f.pronamespace = 'public'::regnamespace
  AND f.prosecdef
UNION ALL
SELECT c.relname
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace
  AND c.relkind IN ('v', 'm')
  AND NOT coalesce(c.reloptions, '{}') && ARRAY['security_invoker=true', 'security_invoker=on']
  AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY subject

-- vector_version --
-- Which pgvector the database has.
SELECT extversion AS subject
FROM pg_extension
WHERE extname = 'vector'
