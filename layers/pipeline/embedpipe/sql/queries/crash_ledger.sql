-- begin --
-- One death more, for a job that there is; answer how many there were before.
INSERT INTO crash_ledger (tenant_id, job_id, epoch, stage, batch_no, deaths)
SELECT tenant_id, job_id, %(epoch)s, %(stage)s, %(batch_no)s, 1
FROM jobs
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
ON CONFLICT (tenant_id, job_id, epoch, stage, batch_no) DO UPDATE
SET deaths = crash_ledger.deaths + 1,
    touched_at = now()
RETURNING deaths - 1 AS deaths

-- forget --
-- Remove the row of a message whose only death is taken back.
DELETE FROM crash_ledger
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND epoch = %(epoch)s
  AND stage = %(stage)s
  AND batch_no = %(batch_no)s
  AND deaths <= 1

-- take_back --
-- One death less, of several.
UPDATE crash_ledger
SET deaths = deaths - 1,
    touched_at = now()
WHERE tenant_id = %(tenant_id)s
  AND job_id = %(job_id)s
  AND epoch = %(epoch)s
  AND stage = %(stage)s
  AND batch_no = %(batch_no)s
  AND deaths > 1
