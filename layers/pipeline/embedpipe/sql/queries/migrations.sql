-- create_table --
-- Where applied migrations are recorded. Not a tenant's table.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer NOT NULL,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_migrations_pk PRIMARY KEY (version)
)

-- lock --
-- One migration at a time; held by the owner's own connection, never through a pool.
SELECT pg_advisory_lock(hashtextextended('embedpipe migrations', 0))

-- has_table --
-- Whether anything was ever migrated.
SELECT to_regclass('schema_migrations') IS NOT NULL AS has_table

-- applied --
-- What was applied, oldest first.
SELECT version, name, sha256
FROM schema_migrations
ORDER BY version

-- record --
-- A migration that was applied.
INSERT INTO schema_migrations (version, name, sha256)
VALUES (%(version)s, %(name)s, %(sha256)s)

-- forget --
-- A migration that was undone.
DELETE FROM schema_migrations
WHERE version = %(version)s
