"""The faults. Each is one that somebody made, here or elsewhere, or might make tomorrow."""

from __future__ import annotations

from tests.mutants.mutant import Edit, Mutant

_CRASH = "tests/crashpoints/test_crash_points.py::test_a_process_may_die_at_any_point"
_AT_ONCE = "tests/crashpoints/test_schedules.py::test_two_at_once_come_to_one_good_end"
_RESCUES = "tests/contract/test_rescues.py"
_REQUEUES = "tests/contract/test_requeues.py"
_SKIPS = "tests/contract/test_skips.py"
_RLS = "tests/integration/test_row_level_security.py"
_TENANT = "tests/integration/test_tenant_of_a_transaction.py"
_MIGRATIONS = "tests/integration/test_migrations.py"
_TRIALS = "tests/unit/worker/test_trials.py"


def _crash(scenario: str) -> str:
    return f"{_CRASH}[{scenario}]"


def _at_once(first: str, second: str, scene: str) -> str:
    return f"{_AT_ONCE}[{first}-{second}-{scene}]"


def _sql(noun: str, statement: str, old: str, new: str) -> Edit:
    return Edit(f"sql/queries/{noun}.sql", old, new, statement)


def _schema(old: str, new: str, migration: str = "0001_initial") -> Edit:
    return Edit(f"sql/migrations/{migration}.up.sql", old, new)


_STORED_AGAIN = _sql("batches", "lock", "  AND b.state = 'pending'\n", "")
_OPEN = "  AND status IN ('queued', 'chunking', 'embedding', 'storing')\n"

SENDING = [
    Mutant(
        "dual write at admission: commit, then send, and no outbox",
        (
            _sql(
                "jobs",
                "insert_version_and_job",
                "    VALUES (%(tenant_id)s, %(queue)s, %(message_key)s, %(body)s)\n",
                "    SELECT %(tenant_id)s, %(queue)s, %(message_key)s, %(body)s WHERE false\n",
            ),
        ),
        (_crash("submit, a new document"),),
        "messages were lost",
    ),
    Mutant(
        "dual write after chunking",
        (
            Edit(
                "adapters/postgres/chunking.py",
                "    insert_outbox(connection, ref.tenant_id, outbox)\n",
                "    insert_outbox(connection, ref.tenant_id, outbox[:0])\n",
            ),
        ),
        (_crash("chunk, all is well"),),
        "messages were lost",
    ),
    Mutant(
        "outbox rows removed before they are sent",
        (
            Edit(
                "stages/relay.py",
                "    for queue, group in by_queue.items():\n",
                "    outbox.sent(rows)\n    for queue, group in by_queue.items():\n",
            ),
        ),
        (_crash("submit, a new document"), _crash("maintenance, rows nobody sent")),
        "messages were lost",
    ),
    Mutant(
        "rows that are sent stay in the outbox",
        (Edit("stages/relay.py", "    if accepted:\n", "    if not accepted:\n"),),
        (_crash("submit, a new document"),),
        "outbox left",
    ),
]

ENDING = [
    Mutant(
        "a consumer acknowledges before it has worked",
        (
            Edit(
                "consumer.py",
                "            message = decode(self._model,",
                "            self._inbox.ack([received])\n"
                "            message = decode(self._model,",
            ),
        ),
        (_crash("chunk, all is well"), _crash("store, all is well")),
        "messages were lost",
    ),
    Mutant(
        "the worker acknowledges before it has sent",
        (
            Edit(
                "worker/settlement.py",
                "            _make_answer(held)\n        try:\n",
                "            _make_answer(held)\n"
                "        for held in ready:\n"
                "            leases = self._holdings.live(held)\n"
                "            self._each_lane(leases, lambda inbox, received: inbox.ack(received))\n"
                "        try:\n",
            ),
        ),
        (_crash("embed, all is well"),),
        "messages were lost",
    ),
    Mutant(
        "acknowledged before it is copied to the DLQ",
        (
            Edit(
                "stages/settle.py",
                "    inbox.copy_to_dlq(received, error, about)\n",
                "    inbox.ack([received])\n    inbox.copy_to_dlq(received, error, about)\n",
            ),
        ),
        (_crash("chunk, poison"), _crash("embed, poison")),
        "dead letters|messages were lost",
    ),
    Mutant(
        "a rejected message fails no job",
        (
            Edit(
                "stages/settle.py",
                "        jobs.fail(ref, _job_error(error))\n",
                "        _job_error(error)\n",
            ),
        ),
        (
            "tests/unit/stages/test_settle.py"
            "::test_retries_spent_go_to_the_dlq_with_the_reason_and_fail_the_job",
        ),
        "assert",
    ),
]

FENCES = [
    Mutant(
        "fan-in by a counter of deliveries",
        (
            _STORED_AGAIN,
            _sql(
                "batches",
                "store",
                "    SELECT EXISTS (\n        SELECT\n        FROM batches\n",
                "    SELECT (SELECT attempts FROM jobs WHERE job_id = %(job_id)s) + 1 < (\n"
                "        SELECT count(*)\n        FROM batches\n",
            ),
            _sql(
                "batches",
                "store",
                "          AND batch_no <> %(batch_no)s\n          AND state = 'pending'\n",
                "",
            ),
            _sql(
                "batches",
                "store",
                "UPDATE jobs\nSET status =",
                "UPDATE jobs\nSET attempts = attempts + 1,\n    status =",
            ),
        ),
        (_crash("store, every message twice"),),
        "missing: ",
    ),
    Mutant(
        "no key of vectors, and a batch is stored as often as it comes",
        (
            _STORED_AGAIN,
            _schema(
                "    CONSTRAINT embeddings_pk PRIMARY KEY\n        (tenant_id, collection,"
                " document_id, version, chunk_index, fingerprint, kind, ordinal),\n",
                "",
            ),
            _sql(
                "batches",
                "store",
                "    ON CONFLICT (tenant_id, collection, document_id, version, chunk_index,"
                " fingerprint, kind,\n                 ordinal)\n"
                "        DO UPDATE SET embedding = EXCLUDED.embedding\n",
                "",
            ),
        ),
        (_crash("store, every message twice"),),
        "duplicate: one chunk has two vectors",
    ),
    Mutant(
        "the store stage does not look at the job's status",
        (
            _sql("batches", "lock", "  AND j.status IN ('embedding', 'storing')\n", ""),
            _sql(
                "jobs",
                "stop",
                "    WHERE (b.tenant_id, b.job_id) = (s.tenant_id, s.job_id)\n",
                "    WHERE (b.tenant_id, b.job_id) = (s.tenant_id, s.job_id) AND false\n",
            ),
        ),
        (_at_once("store", "cancel", "store"),),
        "pending batch of a job|cancellation did not hold|wrong terminal",
    ),
    Mutant(
        "the store stage does not look at the epoch",
        (_sql("batches", "lock", "  AND j.epoch = %(epoch)s\n", ""),),
        (_crash("store, beside an earlier epoch"),),
        "missing: ",
    ),
    Mutant(
        "chunking is finished whatever became of the job, and no trigger keeps its end",
        (
            _sql("jobs", "finish_chunking", "  AND status IN ('queued', 'chunking')\n", ""),
            _sql("jobs", "finish_chunking", "SET status =", "SET finished_at = NULL, status ="),
            _schema("NEW.epoch <= OLD.epoch THEN", "NEW.epoch < OLD.epoch THEN"),
        ),
        (_at_once("chunk", "cancel", "chunk"),),
        "wrong terminal",
    ),
    Mutant(
        "the document is not locked",
        (_sql("jobs", "lock_document", "FOR UPDATE\n", ""),),
        (_at_once("store", "submit", "store"),),
        "DeadlockDetected",
    ),
    Mutant(
        "a terminal status may be left",
        (_schema("NEW.epoch <= OLD.epoch THEN", "NEW.epoch < OLD.epoch THEN"),),
        (f"{_MIGRATIONS}::test_a_terminal_status_is_never_left_whoever_writes",),
        "DID NOT RAISE",
    ),
]

VERSIONS = [
    Mutant(
        "cancelled jobs keep their vectors",
        (
            _sql(
                "jobs",
                "stop",
                "        = (s.tenant_id, s.collection, s.document_id, s.version)\n",
                "        = (s.tenant_id, s.collection, s.document_id, s.version) AND false\n",
            ),
        ),
        (_crash("cancel, half stored"), _crash("delete, half stored")),
        "vectors of a failed or cancelled job",
    ),
    Mutant(
        "a new version leaves the job of the old one",
        (
            Edit(
                "adapters/postgres/submit.py",
                "        if version > 1:\n",
                "        if version > 1_000_000:\n",
            ),
        ),
        (_crash("submit, over a version being cut"),),
        "jobs: ",
    ),
    Mutant(
        "the version before stays when the next is published",
        (
            _sql(
                "chunks",
                "publish",
                "version < shown.current_version",
                "version < shown.current_version - 1",
            ),
        ),
        (_crash("store, all is well"),),
        "stale: chunks of a version that is over",
    ),
    Mutant(
        "an Idempotency-Key is not looked up",
        (
            Edit(
                "adapters/postgres/submit.py",
                "        if job.idempotency_key is not None:\n",
                "        if job.idempotency_key == job.document_id:\n",
            ),
        ),
        (_crash("submit, twice with one key"),),
        '"status":500',
    ),
]

RESCUES = [
    Mutant(
        "a job is rescued that moved meanwhile",
        (_sql("rescues", "restart", "  AND touched_at = %(touched_at)s\n", ""),),
        (f"{_RESCUES}::test_a_job_that_moved_since_it_was_seen_is_left_alone[postgres]",),
        "assert",
    ),
    Mutant(
        "a job is rescued whatever became of it",
        (
            _sql("rescues", "restart", "  AND touched_at = %(touched_at)s\n", ""),
            _sql("rescues", "restart", _OPEN, ""),
        ),
        (
            _at_once("maintenance", "cancel", "store"),
            f"{_RESCUES}::test_a_cancelled_job_stays_cancelled[postgres]",
        ),
        "cancellation did not hold|begun again|assert|CheckViolation",
    ),
    Mutant(
        "late is taken for lost",
        (Edit("stages/rescue.py", "        is_empty = not any(", "        is_empty = 1 or any("),),
        ("tests/unit/stages/test_rescue.py::test_a_job_is_late_while_its_queue_holds_messages",),
        "assert",
    ),
    Mutant(
        "what waits in the outbox is taken for lost",
        (
            _sql(
                "rescues",
                "stalled",
                "        AND o.message_key BETWEEN",
                "        AND false AND o.message_key BETWEEN",
            ),
        ),
        (f"{_RESCUES}::test_a_job_whose_message_waits_in_the_outbox_is_not_lost[postgres]",),
        "assert",
    ),
]

TENANTS = [
    Mutant(
        "the tenant is set for the session, and not for the transaction",
        (_sql("sessions", "set_tenant", "%(tenant_id)s, true)", "%(tenant_id)s, false)"),),
        (f"{_TENANT}::test_nothing_of_a_transaction_stays_on_its_connection[commits-plain]",),
        "assert",
    ),
    Mutant(
        "row-level security is not forced",
        (
            _schema(
                "        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);\n",
                "",
            ),
        ),
        (f"{_MIGRATIONS}::test_a_migrated_database_has_no_findings",),
        "forced",
    ),
    Mutant(
        "a tenant may write rows of another",
        (
            _schema(
                "(tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())",
                "(tenant_id = current_tenant()) WITH CHECK (true)",
            ),
        ),
        (f"{_RLS}::test_rows_cannot_be_given_to_another_tenant[jobs-globex]",),
        "UniqueViolation|DID NOT RAISE",
    ),
]

DEATHS = [
    Mutant(
        "the worker extends no lease",
        (
            Edit(
                "worker/heartbeat.py",
                "        groups = by_lane(self._holdings.extendable())\n",
                "        groups = by_lane(self._holdings.extendable()[:0])\n",
            ),
        ),
        ("tests/unit/worker/test_outages.py::test_a_beat_extends_what_waits_in_the_buffer",),
        "assert",
    ),
    Mutant(
        "an orderly end of the worker's takes no death back",
        (
            Edit(
                "worker/trials.py",
                "self._patiently(lambda: ledger.end([key]), is_last=True)",
                "pass",
            ),
        ),
        (f"{_TRIALS}::test_a_suspect_is_written_down_while_it_is_computed_and_not_after",),
        "assert",
    ),
    Mutant(
        "receives are blamed, and not deaths",
        (
            Edit(
                "worker/trials.py",
                "        if deaths >= self._max_deaths:\n",
                "        if batch.chunks[0].message.held.received.receive_count > 2:\n",
            ),
        ),
        (_crash("embed, after deaths of others"),),
        "POISON_CRASH",
    ),
]

OPERATORS = [
    Mutant(
        "what nobody approved is put back",
        (
            Edit(
                "adapters/postgres/requeues.py",
                '    if locked["state"] != EntryState.APPROVED:\n',
                '    if locked["state"] == EntryState.IGNORED:\n',
            ),
        ),
        (f"{_REQUEUES}::TestRefused::test_what_nobody_approved[postgres]",),
        "NOT_APPROVED",
    ),
    Mutant(
        "an entry is put back as often as it is asked for",
        (
            Edit(
                "adapters/postgres/requeues.py",
                '                "state": state.value,\n',
                '                "state": EntryState.APPROVED.value,\n',
            ),
        ),
        (f"{_REQUEUES}::TestRequeue::test_many_at_once_open_one_epoch[postgres]",),
        "NOT_APPROVED",
    ),
    Mutant(
        "the mover removes before it sends",
        (
            Edit(
                "stages/redrive.py",
                "            accepted = self.letters.send_back(batch)\n",
                "            self.letters.delete(batch)\n"
                "            accepted = self.letters.send_back(batch)\n",
            ),
        ),
        (_crash("redrive, of the chunk stage"),),
        "jobs: |messages were lost",
    ),
    Mutant(
        "a dead letter opens in another row than its own",
        (
            Edit(
                "adapters/sealing.py",
                '("1", key_id, place.part, place.stage, place.entry_id, place.tenant_id)\n',
                '("1", key_id)\n',
            ),
        ),
        ("tests/unit/adapters/test_sealing.py::test_moved_to_another_row_it_does_not_open",),
        "DLQ_BODY_DAMAGED|assert",
    ),
    Mutant(
        "a function does not look whether its stage is paused",
        (Edit("consumer.py", "is_paused(self._stage):", 'is_paused("submit"):'),),
        (
            "tests/unit/test_consumer.py"
            "::test_while_the_stage_is_paused_every_record_is_handed_back_unworked",
        ),
        "assert",
    ),
    Mutant(
        "the worker does not look whether its stage is paused",
        (Edit("worker/gate.py", "is_paused(_STAGE):", 'is_paused("submit"):'),),
        ("tests/unit/worker/test_gate.py::test_it_is_shut_while_the_stage_is_paused_and_no_other",),
        "assert",
    ),
    Mutant(
        "the store stage does not look for skips",
        (_sql("batches", "lock", "s.expires_at > now()", "s.expires_at < now()"),),
        (f"{_SKIPS}::test_the_store_stage_stores_nothing_of_it[postgres]",),
        "assert",
    ),
    Mutant(
        "a skipped job is requeued",
        (_sql("requeues", "lock_job", "s.expires_at > now()", "s.expires_at < now()"),),
        (f"{_REQUEUES}::TestRefused::test_a_job_that_is_skipped[postgres]",),
        "JOB_SKIPPED",
    ),
    Mutant(
        "a skip is not written down",
        (
            Edit(
                "adapters/postgres/skips.py",
                '            write_down(connection, act, "cancelled" if cancelled else',
                '            str("cancelled" if cancelled else',
            ),
        ),
        (f"{_SKIPS}::test_a_skipped_job_is_cancelled_and_the_act_written_down[postgres]",),
        "not enough values to unpack",
    ),
]

MUTANTS = [*SENDING, *ENDING, *FENCES, *VERSIONS, *RESCUES, *TENANTS, *DEATHS, *OPERATORS]
