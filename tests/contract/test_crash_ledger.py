"""The crash ledger: only what ended a process leaves a death behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.jobs import JobRef
from embedpipe.ports import CrashKey, CrashLedger

from tests.builders import admit

if TYPE_CHECKING:
    from tests.conftest import Backend


@pytest.fixture
def ledger(backend: Backend) -> CrashLedger:
    return backend.database.crash_ledger


@pytest.fixture
def ref(backend: Backend) -> JobRef:
    return admit(backend.database)


def test_work_that_ends_in_order_leaves_nothing(
    backend: Backend, ledger: CrashLedger, ref: JobRef
) -> None:
    key = CrashKey(ref, "embed", 3)

    first = ledger.begin([key])
    ledger.end([key])
    second = ledger.begin([key])
    ledger.end([key])

    assert [first, second] == [{key: 0}, {key: 0}]
    assert backend.rows("crash_ledger") == []


def test_every_work_that_never_ended_is_a_death(ledger: CrashLedger, ref: JobRef) -> None:
    key = CrashKey(ref, "chunk")

    deaths = [ledger.begin([key])[key] for _ in range(4)]
    ledger.end([key])

    assert deaths == [0, 1, 2, 3]
    assert ledger.begin([key]) == {key: 3}


def test_stages_batches_and_epochs_have_deaths_of_their_own(
    ledger: CrashLedger, ref: JobRef
) -> None:
    one = CrashKey(ref, "embed", 0)
    others = [
        CrashKey(ref, "embed", 1),
        CrashKey(ref, "store", 0),
        CrashKey(ref, "chunk"),
        CrashKey(replace(ref, epoch=2), "embed", 0),
    ]

    ledger.begin([one])

    assert ledger.begin(others) == dict.fromkeys(others, 0)


def test_messages_of_several_tenants_are_written_down_together(
    backend: Backend, ledger: CrashLedger
) -> None:
    keys = [
        CrashKey(admit(backend.database, tenant_id=one), "store", 0) for one in ("acme", "globex")
    ]

    ledger.begin(keys)
    again = ledger.begin(keys)
    ledger.end(keys)

    assert again == dict.fromkeys(keys, 1)
    assert ledger.begin(keys) == dict.fromkeys(keys, 1)


def test_a_message_of_no_job_leaves_nothing(
    backend: Backend, ledger: CrashLedger, ref: JobRef
) -> None:
    keys = [
        CrashKey(replace(ref, job_id="00000000-0000-4000-8000-000000000000"), "chunk"),
        CrashKey(replace(ref, tenant_id="nobody"), "chunk"),
    ]

    deaths = ledger.begin(keys)
    ledger.end(keys)

    assert deaths == dict.fromkeys(keys, 0)
    assert backend.rows("crash_ledger") == []


def test_an_end_too_many_changes_nothing(ledger: CrashLedger, ref: JobRef) -> None:
    key = CrashKey(ref, "embed", 0)

    ledger.end([key])

    assert ledger.begin([key]) == {key: 0}
