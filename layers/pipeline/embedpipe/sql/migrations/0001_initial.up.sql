-- The whole of the first schema: tenants and keys, collections, documents with versions, chunks,
-- embeddings, jobs with their batches and outbox, controls, skips, audit.
-- Locks nothing that exists. Every unique and foreign key starts with the tenant, every tenant
-- table has row-level security FORCEd, so that not even its owner sees a row without a tenant.

CREATE EXTENSION IF NOT EXISTS vector;

-- Roles belong to the whole server: another database may have made them already, or at this moment.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['embedpipe_app', 'embedpipe_maintenance'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format(
                    'CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', name);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

-- The tenant of the transaction; NULL, and so no row at all, when none is set.
CREATE FUNCTION current_tenant() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('app.tenant', true), '') $$;

CREATE TABLE tenants (
    tenant_id  text COLLATE "C" NOT NULL,
    tier       text NOT NULL DEFAULT 'free',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pk PRIMARY KEY (tenant_id),
    CONSTRAINT tenants_id_form CHECK (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT tenants_tier_known CHECK (tier IN ('free', 'premium', 'enterprise'))
);

CREATE TABLE api_keys (
    tenant_id  text COLLATE "C" NOT NULL,
    key_id     text NOT NULL,
    key_sha256 bytea NOT NULL,
    role       text NOT NULL DEFAULT 'user',
    name       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT api_keys_pk PRIMARY KEY (tenant_id, key_id),
    CONSTRAINT api_keys_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE,
    CONSTRAINT api_keys_id_form CHECK (key_id ~ '^[0-9a-f]{16}$'),
    CONSTRAINT api_keys_sha256_length CHECK (octet_length(key_sha256) = 32),
    CONSTRAINT api_keys_role_known CHECK (role IN ('user', 'admin'))
);
CREATE INDEX api_keys_by_key ON api_keys (key_id);

CREATE TABLE collections (
    tenant_id   text COLLATE "C" NOT NULL,
    collection  text COLLATE "C" NOT NULL,
    model_id    text NOT NULL,
    fingerprint text NOT NULL,
    dimensions  integer NOT NULL,
    distance    text NOT NULL DEFAULT 'cosine',
    description text NOT NULL DEFAULT '',
    price_usd_per_million_tokens numeric(12, 6) NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT collections_pk PRIMARY KEY (tenant_id, collection),
    CONSTRAINT collections_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE,
    CONSTRAINT collections_name_form CHECK (collection ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$'),
    CONSTRAINT collections_fingerprint_form CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    CONSTRAINT collections_dimensions_range CHECK (dimensions BETWEEN 1 AND 16000),
    CONSTRAINT collections_price_range CHECK (price_usd_per_million_tokens >= 0),
    CONSTRAINT collections_distance_known CHECK (distance IN ('cosine'))
);

CREATE TABLE documents (
    tenant_id       text COLLATE "C" NOT NULL,
    collection      text COLLATE "C" NOT NULL,
    document_id     text COLLATE "C" NOT NULL,
    latest_version  integer NOT NULL DEFAULT 1,
    current_version integer,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    deleted_at      timestamptz,
    CONSTRAINT documents_pk PRIMARY KEY (tenant_id, collection, document_id),
    CONSTRAINT documents_collection_fk FOREIGN KEY (tenant_id, collection)
        REFERENCES collections ON DELETE CASCADE,
    CONSTRAINT documents_id_length CHECK (char_length(document_id) BETWEEN 1 AND 256),
    CONSTRAINT documents_versions_ordered
        CHECK (current_version IS NULL OR current_version BETWEEN 1 AND latest_version)
);

CREATE TABLE document_versions (
    tenant_id      text COLLATE "C" NOT NULL,
    collection     text COLLATE "C" NOT NULL,
    document_id    text COLLATE "C" NOT NULL,
    version        integer NOT NULL,
    content        text,
    content_uri    text,
    content_sha256 text NOT NULL,
    content_bytes  integer NOT NULL,
    content_type   text NOT NULL,
    chunk_size     integer NOT NULL,
    chunk_overlap  integer NOT NULL,
    chunk_unit     text NOT NULL,
    metadata       jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT document_versions_pk PRIMARY KEY (tenant_id, collection, document_id, version),
    CONSTRAINT document_versions_document_fk FOREIGN KEY (tenant_id, collection, document_id)
        REFERENCES documents ON DELETE CASCADE,
    CONSTRAINT document_versions_one_content CHECK (num_nonnulls(content, content_uri) = 1),
    CONSTRAINT document_versions_chunk_range
        CHECK (chunk_size > 0 AND chunk_overlap >= 0 AND chunk_overlap < chunk_size),
    CONSTRAINT document_versions_unit_known CHECK (chunk_unit IN ('tokens', 'chars')),
    CONSTRAINT document_versions_metadata_object CHECK (jsonb_typeof(metadata) = 'object')
);
CREATE INDEX document_versions_by_metadata ON document_versions
    USING gin (metadata jsonb_path_ops);

CREATE TABLE jobs (
    tenant_id       text COLLATE "C" NOT NULL,
    job_id          uuid NOT NULL,
    collection      text COLLATE "C" NOT NULL,
    document_id     text COLLATE "C" NOT NULL,
    version         integer NOT NULL,
    epoch           integer NOT NULL DEFAULT 1,
    status          text NOT NULL DEFAULT 'queued',
    tier            text NOT NULL,
    priority        smallint NOT NULL DEFAULT 50,
    idempotency_key text COLLATE "C",
    request_sha256  text,
    traceparent     text,
    chunks_total    integer,
    tokens_total    bigint,
    cost_usd        numeric(18, 9),
    attempts        integer NOT NULL DEFAULT 0,
    rescues         integer NOT NULL DEFAULT 0,
    error_code      text,
    failure_type    text,
    error_message   text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    chunking_at     timestamptz,
    embedding_at    timestamptz,
    storing_at      timestamptz,
    finished_at     timestamptz,
    touched_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT jobs_pk PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT jobs_version_fk FOREIGN KEY (tenant_id, collection, document_id, version)
        REFERENCES document_versions ON DELETE CASCADE,
    CONSTRAINT jobs_idempotency_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT jobs_status_known CHECK (status IN
        ('queued', 'chunking', 'embedding', 'storing', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT jobs_tier_known CHECK (tier IN ('free', 'premium', 'enterprise')),
    CONSTRAINT jobs_priority_range CHECK (priority BETWEEN 0 AND 100),
    CONSTRAINT jobs_failure_type_known CHECK (failure_type IN ('transient', 'permanent')),
    CONSTRAINT jobs_finished_when_final
        CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
    CONSTRAINT jobs_failed_says_why CHECK (status <> 'failed' OR error_code IS NOT NULL)
);
CREATE INDEX jobs_newest ON jobs (tenant_id, created_at DESC, job_id DESC);
CREATE INDEX jobs_of_document ON jobs (tenant_id, collection, document_id, version);
CREATE INDEX jobs_in_progress ON jobs (touched_at)
    WHERE status IN ('queued', 'chunking', 'embedding', 'storing');

-- A terminal status is never left, but by a requeue, which opens a new epoch.
CREATE FUNCTION jobs_keep_terminal() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF OLD.status IN ('succeeded', 'failed', 'cancelled')
       AND NEW.status IS DISTINCT FROM OLD.status
       AND NEW.epoch <= OLD.epoch THEN
        RAISE EXCEPTION 'job % is %, and stays so in epoch %', OLD.job_id, OLD.status, OLD.epoch
            USING ERRCODE = 'check_violation', CONSTRAINT = 'jobs_keep_terminal';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER jobs_keep_terminal BEFORE UPDATE ON jobs
    FOR EACH ROW EXECUTE FUNCTION jobs_keep_terminal();

CREATE TABLE batches (
    tenant_id   text COLLATE "C" NOT NULL,
    job_id      uuid NOT NULL,
    epoch       integer NOT NULL,
    batch_no    integer NOT NULL,
    chunk_from  integer NOT NULL,
    chunk_count integer NOT NULL,
    state       text NOT NULL DEFAULT 'pending',
    attempts    integer NOT NULL DEFAULT 0,
    stored_at   timestamptz,
    CONSTRAINT batches_pk PRIMARY KEY (tenant_id, job_id, epoch, batch_no),
    CONSTRAINT batches_job_fk FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE,
    CONSTRAINT batches_state_known CHECK (state IN ('pending', 'stored')),
    CONSTRAINT batches_count_positive CHECK (chunk_from >= 0 AND chunk_count > 0)
);

CREATE TABLE outbox (
    tenant_id     text COLLATE "C" NOT NULL,
    queue         text COLLATE "C" NOT NULL,
    message_key   text COLLATE "C" NOT NULL,
    body          text NOT NULL,
    claimed_until timestamptz NOT NULL DEFAULT now() + interval '30 seconds',
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_pk PRIMARY KEY (tenant_id, queue, message_key),
    CONSTRAINT outbox_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE,
    CONSTRAINT outbox_queue_known CHECK (queue IN ('chunk', 'embed', 'store'))
);
CREATE INDEX outbox_unclaimed ON outbox (claimed_until);

CREATE TABLE chunks (
    tenant_id      text COLLATE "C" NOT NULL,
    collection     text COLLATE "C" NOT NULL,
    document_id    text COLLATE "C" NOT NULL,
    version        integer NOT NULL,
    chunk_index    integer NOT NULL,
    start_offset   integer NOT NULL,
    end_offset     integer NOT NULL,
    text           text NOT NULL,
    tokens         integer NOT NULL,
    content_sha256 text NOT NULL,
    heading_path   text[] NOT NULL DEFAULT '{}',
    CONSTRAINT chunks_pk PRIMARY KEY (tenant_id, collection, document_id, version, chunk_index),
    CONSTRAINT chunks_version_fk FOREIGN KEY (tenant_id, collection, document_id, version)
        REFERENCES document_versions ON DELETE CASCADE,
    CONSTRAINT chunks_offsets_ordered CHECK (start_offset >= 0 AND end_offset > start_offset),
    CONSTRAINT chunks_text_is_slice CHECK (char_length(text) = end_offset - start_offset)
);

-- Vectors of all dimensions live here; a collection fixes its own, and every write is checked.
CREATE TABLE embeddings (
    tenant_id   text COLLATE "C" NOT NULL,
    collection  text COLLATE "C" NOT NULL,
    document_id text COLLATE "C" NOT NULL,
    version     integer NOT NULL,
    chunk_index integer NOT NULL,
    kind        text NOT NULL DEFAULT 'chunk',
    ordinal     smallint NOT NULL DEFAULT 0,
    fingerprint text NOT NULL,
    embedding   vector NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT embeddings_pk PRIMARY KEY
        (tenant_id, collection, document_id, version, chunk_index, fingerprint, kind, ordinal),
    CONSTRAINT embeddings_chunk_fk
        FOREIGN KEY (tenant_id, collection, document_id, version, chunk_index)
        REFERENCES chunks ON DELETE CASCADE,
    CONSTRAINT embeddings_kind_known CHECK (kind IN ('chunk', 'question'))
);

CREATE TABLE stage_controls (
    stage      text NOT NULL,
    state      text NOT NULL DEFAULT 'running',
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stage_controls_pk PRIMARY KEY (stage),
    CONSTRAINT stage_controls_stage_known CHECK (stage IN ('submit', 'chunk', 'embed', 'store')),
    CONSTRAINT stage_controls_state_known CHECK (state IN ('running', 'paused', 'draining'))
);
INSERT INTO stage_controls (stage) VALUES ('submit'), ('chunk'), ('embed'), ('store');

CREATE TABLE job_skips (
    tenant_id  text COLLATE "C" NOT NULL,
    job_id     uuid NOT NULL,
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT job_skips_pk PRIMARY KEY (tenant_id, job_id),
    CONSTRAINT job_skips_job_fk FOREIGN KEY (tenant_id, job_id) REFERENCES jobs ON DELETE CASCADE
);

CREATE TABLE audit_log (
    tenant_id text COLLATE "C" NOT NULL,
    audit_id  bigint GENERATED ALWAYS AS IDENTITY,
    actor     text NOT NULL,
    action    text NOT NULL,
    subject   text NOT NULL,
    result    text NOT NULL,
    note      text NOT NULL DEFAULT '',
    at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_log_pk PRIMARY KEY (tenant_id, audit_id)
);

-- Row-level security: the application sees the tenant of its transaction and nothing else; the
-- maintenance role sees all tenants; an API key is found by its id before the tenant is known.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'api_keys', 'collections', 'documents',
        'document_versions', 'jobs', 'batches', 'outbox', 'chunks', 'embeddings', 'job_skips',
        'audit_log']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY %I ON %I TO embedpipe_app '
            'USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())',
            name || '_of_tenant', name);
        EXECUTE format(
            'CREATE POLICY %I ON %I TO embedpipe_maintenance USING (true) WITH CHECK (true)',
            name || '_maintenance', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO embedpipe_maintenance', name);
    END LOOP;
END
$$;

CREATE POLICY api_keys_by_key ON api_keys FOR SELECT TO embedpipe_app
    USING (key_id = nullif(current_setting('app.key_id', true), ''));

GRANT SELECT ON tenants, api_keys, stage_controls TO embedpipe_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON collections, documents, document_versions, jobs, batches,
    outbox, chunks, embeddings, job_skips TO embedpipe_app;
GRANT SELECT, INSERT ON audit_log TO embedpipe_app;
GRANT SELECT, UPDATE ON stage_controls TO embedpipe_maintenance;
