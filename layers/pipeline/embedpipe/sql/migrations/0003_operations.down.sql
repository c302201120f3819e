-- Undo 0003. What the dead-letter queues hold stays there; notes and states of entries are lost.

DROP TABLE maintenance_cursors, worker_heartbeats, redrives, requeue_buckets, dlq_entries, crash_ledger;
REVOKE UPDATE ON stage_controls FROM embedpipe_app;
DROP POLICY stage_controls_maintenance ON stage_controls;
DROP POLICY stage_controls_operator ON stage_controls;
DROP POLICY stage_controls_read ON stage_controls;
ALTER TABLE stage_controls DISABLE ROW LEVEL SECURITY;
ALTER TABLE stage_controls DROP COLUMN note;
DROP INDEX documents_deleted, documents_compacting, document_versions_content, jobs_finished, jobs_failed, jobs_newest_of_all, audit_log_newest;
ALTER TABLE documents DROP COLUMN is_compacting;
ALTER TABLE jobs DROP COLUMN requeued_from;
DROP POLICY audit_log_operator_writes ON audit_log;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'jobs', 'batches', 'outbox', 'job_skips', 'audit_log']
    LOOP
        EXECUTE format('DROP POLICY %I ON %I', name || '_operator', name);
    END LOOP;
END
$$;
DROP FUNCTION is_operator();
