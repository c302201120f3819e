-- insert --
-- Write down an act, in the transaction that does it.
INSERT INTO audit_log (tenant_id, actor, action, subject, result, note)
VALUES (%(tenant_id)s, %(actor)s, %(action)s, %(subject)s, %(result)s, left(%(note)s, 1000))
