-- Undo 0001: every table and function of the first schema, with all that they hold.
-- The roles stay, as other databases of the server may use them; so does the extension.

DROP TABLE audit_log, job_skips, stage_controls, embeddings, chunks, outbox, batches, jobs,
    document_versions, documents, collections, api_keys, tenants;
DROP FUNCTION jobs_keep_terminal();
DROP FUNCTION current_tenant();
