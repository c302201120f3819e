"""The transactional outbox: born claimed, swept when late, gone when sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from embedpipe.ports import OutboxRow

from tests.builders import a_message, a_new_job

if TYPE_CHECKING:
    from embedpipe.ports import Database

    from tests.conftest import Backend


def _written(database: Database, key: str, tenant_id: str = "acme") -> OutboxRow:
    job = a_new_job(document_id=f"doc-{key}", tenant_id=tenant_id)
    row = a_message(job, key)
    database.jobs.admit(job, lambda _: row)
    return row


def test_rows_are_born_claimed(backend: Backend) -> None:
    _written(backend.database, "k")

    assert backend.maintenance.outbox.claim() == []


def test_rows_of_all_tenants_that_nobody_sent_are_claimed(backend: Backend) -> None:
    rows = {_written(backend.database, "k", tenant) for tenant in ("acme", "globex")}
    backend.expire_claims()

    claimed = backend.maintenance.outbox.claim()

    assert set(claimed) == rows


def test_claimed_rows_are_hidden_until_the_claim_runs_out(backend: Backend) -> None:
    row = _written(backend.database, "k")
    backend.expire_claims()

    claims = [backend.maintenance.outbox.claim(claim_s=30) for _ in range(2)]
    backend.expire_claims()
    again = backend.maintenance.outbox.claim()

    assert claims == [[row], []]
    assert again == [row]


def test_sent_rows_are_gone(backend: Backend) -> None:
    rows = [_written(backend.database, key) for key in ("a", "b", "c")]

    backend.database.outbox.sent(rows[:2])
    backend.database.outbox.sent(rows[:1])
    backend.database.outbox.sent([])

    assert [row["message_key"] for row in backend.rows("outbox")] == ["c"]


def test_rows_of_several_tenants_are_removed_at_once(backend: Backend) -> None:
    rows = [_written(backend.database, "k", tenant) for tenant in ("acme", "globex")]

    backend.maintenance.outbox.sent(rows)

    assert backend.rows("outbox") == []


def test_the_same_key_on_another_queue_stays(backend: Backend) -> None:
    row = _written(backend.database, "k")

    backend.database.outbox.sent([OutboxRow(row.tenant_id, "embed", row.key, row.body)])

    assert len(backend.rows("outbox")) == 1


def test_no_more_than_the_limit_is_claimed(backend: Backend) -> None:
    for number in range(5):
        _written(backend.database, f"k{number}")
    backend.expire_claims()

    pages = [len(backend.maintenance.outbox.claim(limit=2)) for _ in range(4)]

    assert pages == [2, 2, 1, 0]


def test_concurrent_sweeps_share_the_rows(backend: Backend) -> None:
    rows = {_written(backend.database, f"k{number}") for number in range(20)}
    backend.expire_claims()

    with ThreadPoolExecutor(4) as threads:
        claims = list(threads.map(lambda _: backend.maintenance.outbox.claim(limit=3), range(12)))

    claimed = [row for claim in claims for row in claim]
    assert len(claimed) == len(set(claimed)) == len(rows)
