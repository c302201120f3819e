-- Undo 0002. Refuses while a message waits for a lane that 0001 does not know.

DROP TABLE circuit_breakers;
ALTER TABLE outbox DROP CONSTRAINT outbox_queue_known;
ALTER TABLE outbox ADD CONSTRAINT outbox_queue_known CHECK (queue IN ('chunk', 'embed', 'store'));
