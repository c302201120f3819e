"""Redrives: one at a time, held by a lease, cancelled for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.dead_letters import EntryState
from embedpipe.errors import ConflictError
from embedpipe.ports.redrives import Redrive, Redrives

from tests.contract.test_dlq_entries import an_entry

if TYPE_CHECKING:
    from tests.conftest import Backend

LEASE_S = 30.0
ACT = Act(Actor("acme", "key-1"), "dlq.redrive", "chunk", "mended")


@pytest.fixture
def redrives(backend: Backend) -> Redrives:
    return backend.database.redrives


@pytest.fixture
def redrive(redrives: Redrives) -> Redrive:
    started = redrives.start("chunk", max_per_second=50, to_move=3, act=ACT)
    assert redrives.lease("chunk", "me", LEASE_S)
    return started


def test_a_second_start_gives_the_first_and_is_not_written_down(
    backend: Backend, redrives: Redrives, redrive: Redrive
) -> None:
    again = redrives.start("chunk", max_per_second=5, to_move=9, act=ACT)

    acts = [row["action"] for row in backend.rows("audit_log")]
    assert (again.redrive_id, again.max_per_second) == (redrive.redrive_id, 50)
    assert acts.count("dlq.redrive") == 1


def test_one_has_the_lease_until_it_gives_it_back(redrives: Redrives, redrive: Redrive) -> None:
    denied = redrives.lease("chunk", "another", LEASE_S)
    redrives.release(redrive, "me")
    given = redrives.lease("chunk", "another", LEASE_S)

    assert denied is None
    assert given is not None
    assert not redrives.progress(redrive, "me", ["m-1"], LEASE_S)
    assert redrives.newest("chunk") == given


def test_what_moved_is_counted_and_marked(
    backend: Backend, redrives: Redrives, redrive: Redrive
) -> None:
    backend.database.dlq_entries.add([an_entry("m-1"), an_entry("m-2")])

    assert redrives.progress(redrive, "me", ["m-1", "unseen"], LEASE_S)

    now = redrives.newest("chunk")
    assert now is not None
    assert now.moved == 2
    states = backend.database.dlq_entries.states("chunk", ["m-1", "m-2"])
    assert states == {"m-1": EntryState.REQUEUED, "m-2": EntryState.QUARANTINED}


def test_what_moved_while_it_was_cancelled_is_marked_and_ends_it(
    backend: Backend, redrives: Redrives, redrive: Redrive
) -> None:
    backend.database.dlq_entries.add([an_entry("m-1")])
    redrives.cancel("chunk", ACT)

    goes_on = redrives.progress(redrive, "me", ["m-1"], LEASE_S)

    now = redrives.newest("chunk")
    assert now is not None
    assert (goes_on, now.moved, now.status) == (False, 1, "cancelling")
    assert backend.database.dlq_entries.states("chunk", ["m-1"]) == {"m-1": EntryState.REQUEUED}


def test_one_that_was_cancelled_meanwhile_does_not_run_again(
    redrives: Redrives, redrive: Redrive
) -> None:
    redrives.cancel("chunk", ACT)
    redrives.hand_over(redrive, "me", "task", 5)

    noted = redrives.update(redrive, status="running", moved=2)
    ended = redrives.update(redrive, status="cancelled", moved=3)

    assert (noted.status, noted.moved, noted.task_handle) == ("cancelling", 2, "task")
    assert (ended.status, ended.moved) == ("cancelled", 3)
    with pytest.raises(ConflictError):
        redrives.cancel("chunk", ACT)
