-- set_tenant --
-- First statement of every transaction: row-level security shows this tenant's rows only.
SELECT set_config('app.tenant', %(tenant_id)s, true)

-- set_tenant_lazily --
-- The same, for a change that may be lost in a crash of the server: its commit does not wait.
SELECT set_config('app.tenant', %(tenant_id)s, true),
       set_config('synchronous_commit', 'off', true)

-- be_durable --
-- Have the commit wait after all: what else is lost with it could not be done again.
SELECT set_config('synchronous_commit', 'on', true)

-- set_operator --
-- The same for an act of an operator, who may read the control plane of all tenants.
SELECT set_config('app.tenant', %(tenant_id)s, true),
       set_config('app.operator', 'on', true)

-- vector_type --
-- What a connection must know of pgvector.
SELECT t.oid::int8 AS oid, t.typarray::int8 AS array_oid
FROM pg_type t
JOIN pg_depend p
    ON p.classid = 'pg_type'::regclass
   AND p.objid = t.oid
   AND p.refclassid = 'pg_extension'::regclass
   AND p.deptype = 'e'
JOIN pg_extension e ON e.oid = p.refobjid
WHERE e.extname = 'vector'
  AND t.typname = 'vector'

-- answer --
-- Whether the database answers.
SELECT 1
