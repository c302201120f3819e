-- What operators and maintenance need: dead letters with their quarantine, the crash ledger,
-- heartbeats of workers, paced requeues, and reading across tenants.
-- Locks jobs, documents and document_versions for their indexes; on a large, busy database make
-- those first, by hand, CONCURRENTLY and under the same names.

-- An operator reads the control plane of all tenants. It is asked for transaction by transaction,
-- gives no right to write any tenant's row, and none to read documents, chunks or vectors.
CREATE FUNCTION is_operator() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT coalesce(current_setting('app.operator', true), '') = 'on' $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'jobs', 'batches', 'outbox', 'job_skips', 'audit_log']
    LOOP
        EXECUTE format(
            'CREATE POLICY %I ON %I FOR SELECT TO embedpipe_app USING (is_operator())',
            name || '_operator', name);
    END LOOP;
END
$$;

-- Who acted may belong to another tenant than the row that was acted on.
CREATE POLICY audit_log_operator_writes ON audit_log FOR INSERT TO embedpipe_app
    WITH CHECK (is_operator());
CREATE INDEX audit_log_newest ON audit_log (audit_id DESC);

-- The epoch that a requeued job failed in: the chunk message of that epoch, which the operator
-- puts back byte for byte, is taken for the new one.
ALTER TABLE jobs ADD COLUMN requeued_from integer;
CREATE INDEX jobs_newest_of_all ON jobs (created_at DESC, job_id DESC);
CREATE INDEX jobs_failed ON jobs (finished_at DESC, job_id DESC) WHERE status = 'failed';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
-- Of a document that was deleted long ago no version is visible any more; its chunks go in batches.
ALTER TABLE documents ADD COLUMN is_compacting boolean NOT NULL DEFAULT false;
CREATE INDEX documents_deleted ON documents (deleted_at)
    WHERE deleted_at IS NOT NULL AND current_version IS NOT NULL;
CREATE INDEX documents_compacting ON documents (tenant_id, collection, document_id)
    WHERE is_compacting;
CREATE INDEX document_versions_content ON document_versions (content_uri)
    WHERE content_uri IS NOT NULL;

ALTER TABLE stage_controls ADD COLUMN note text NOT NULL DEFAULT '';
GRANT UPDATE ON stage_controls TO embedpipe_app;
ALTER TABLE stage_controls ENABLE ROW LEVEL SECURITY;
CREATE POLICY stage_controls_read ON stage_controls FOR SELECT TO embedpipe_app USING (true);
CREATE POLICY stage_controls_operator ON stage_controls FOR UPDATE TO embedpipe_app
    USING (is_operator()) WITH CHECK (is_operator());
CREATE POLICY stage_controls_maintenance ON stage_controls TO embedpipe_maintenance
    USING (true) WITH CHECK (true);

-- How often a process died while it worked on one message alone: one more before the work, one
-- less after any orderly end of it.
CREATE TABLE crash_ledger (
    tenant_id  text COLLATE "C" NOT NULL,
    job_id     uuid NOT NULL,
    epoch      integer NOT NULL,
    stage      text NOT NULL,
    batch_no   integer NOT NULL DEFAULT -1,
    deaths     integer NOT NULL DEFAULT 0,
    touched_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT crash_ledger_pk PRIMARY KEY (tenant_id, job_id, epoch, stage, batch_no),
    CONSTRAINT crash_ledger_job_fk FOREIGN KEY (tenant_id, job_id)
        REFERENCES jobs ON DELETE CASCADE,
    CONSTRAINT crash_ledger_stage_known CHECK (stage IN ('chunk', 'embed', 'store')),
    CONSTRAINT crash_ledger_deaths_positive CHECK (deaths >= 0)
);
ALTER TABLE crash_ledger ENABLE ROW LEVEL SECURITY;
ALTER TABLE crash_ledger FORCE ROW LEVEL SECURITY;
CREATE POLICY crash_ledger_of_tenant ON crash_ledger TO embedpipe_app
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY crash_ledger_maintenance ON crash_ledger TO embedpipe_maintenance
    USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON crash_ledger TO embedpipe_app, embedpipe_maintenance;

-- The mirror of the dead-letter queues, which stay the place of record. For operators only; the
-- key is the queue's, and a message need not name a tenant: then tenant_id is NULL.
CREATE TABLE dlq_entries (
    stage         text NOT NULL,
    entry_id      text COLLATE "C" NOT NULL,
    tenant_id     text COLLATE "C",
    job_id        uuid,
    epoch         integer,
    batch_no      integer,
    source_queue  text NOT NULL,
    error_code    text,
    failure_type  text,
    attributes    jsonb NOT NULL DEFAULT '{}',
    body          bytea NOT NULL,
    preview       bytea,
    body_bytes    integer NOT NULL,
    body_sha256   text NOT NULL,
    key_id        text,
    receive_count integer NOT NULL DEFAULT 1,
    put_back      integer NOT NULL DEFAULT 0,
    state         text NOT NULL DEFAULT 'quarantined',
    note          text NOT NULL DEFAULT '',
    changed_by    text NOT NULL DEFAULT '',
    changed_at    timestamptz NOT NULL DEFAULT now(),
    sent_at       timestamptz NOT NULL,
    arrived_at    timestamptz NOT NULL DEFAULT now(),
    seen_at       timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    CONSTRAINT dlq_entries_pk PRIMARY KEY (stage, entry_id),
    CONSTRAINT dlq_entries_stage_known CHECK (stage IN ('chunk', 'embed', 'store')),
    CONSTRAINT dlq_entries_source_known
        CHECK (source_queue IN ('chunk', 'embed', 'embed_high', 'embed_low', 'store')),
    CONSTRAINT dlq_entries_state_known
        CHECK (state IN ('quarantined', 'approved_for_requeue', 'ignored', 'requeued')),
    CONSTRAINT dlq_entries_approved_says_why
        CHECK (state <> 'approved_for_requeue' OR note <> '')
);
CREATE INDEX dlq_entries_newest ON dlq_entries (arrived_at DESC, stage, entry_id);
CREATE INDEX dlq_entries_of_job ON dlq_entries (job_id) WHERE job_id IS NOT NULL;
ALTER TABLE dlq_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE dlq_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY dlq_entries_operator ON dlq_entries TO embedpipe_app
    USING (is_operator()) WITH CHECK (is_operator());
CREATE POLICY dlq_entries_maintenance ON dlq_entries TO embedpipe_maintenance
    USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON dlq_entries TO embedpipe_app, embedpipe_maintenance;

-- How fast entries may be put back: a token bucket for each stage, shared by whoever does it.
CREATE TABLE requeue_buckets (
    stage      text NOT NULL,
    tokens     double precision NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT requeue_buckets_pk PRIMARY KEY (stage),
    CONSTRAINT requeue_buckets_stage_known CHECK (stage IN ('chunk', 'embed', 'store'))
);

-- The redrive of a whole DLQ: one at a time for each stage. Whoever moves messages holds a lease.
CREATE TABLE redrives (
    stage          text NOT NULL,
    redrive_id     uuid NOT NULL,
    status         text NOT NULL DEFAULT 'running',
    task_handle    text,
    max_per_second integer NOT NULL,
    to_move        integer NOT NULL DEFAULT 0,
    moved          integer NOT NULL DEFAULT 0,
    started_by     text NOT NULL DEFAULT '',
    note           text NOT NULL DEFAULT '',
    started_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    lease_owner    text,
    lease_until    timestamptz,
    reason         text NOT NULL DEFAULT '',
    CONSTRAINT redrives_pk PRIMARY KEY (stage, redrive_id),
    CONSTRAINT redrives_stage_known CHECK (stage IN ('chunk', 'embed', 'store')),
    CONSTRAINT redrives_status_known
        CHECK (status IN ('running', 'completed', 'cancelling', 'cancelled', 'failed'))
);
CREATE UNIQUE INDEX redrives_one_at_a_time ON redrives (stage)
    WHERE status IN ('running', 'cancelling');

-- Workers that say that they live. No tenant: a worker serves all.
CREATE TABLE worker_heartbeats (
    worker_id  text NOT NULL,
    stage      text NOT NULL,
    state      text NOT NULL DEFAULT 'running',
    in_flight  integer NOT NULL DEFAULT 0,
    interval_s double precision NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT worker_heartbeats_pk PRIMARY KEY (worker_id),
    CONSTRAINT worker_heartbeats_id_length CHECK (char_length(worker_id) BETWEEN 1 AND 128),
    CONSTRAINT worker_heartbeats_stage_known CHECK (stage IN ('chunk', 'embed', 'store')),
    CONSTRAINT worker_heartbeats_state_known CHECK (state IN ('running', 'paused', 'stopping'))
);

-- Where maintenance that takes several runs goes on.
CREATE TABLE maintenance_cursors (
    name       text NOT NULL,
    cursor     text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT maintenance_cursors_pk PRIMARY KEY (name)
);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON requeue_buckets, redrives, worker_heartbeats, maintenance_cursors
    TO embedpipe_app, embedpipe_maintenance;
