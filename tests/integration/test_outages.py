"""Every dependency away, for every part: work waits, and goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from embedpipe.errors import BlobsUnavailableError, StoreUnavailableError, TransientError

from tests.faults.rig import DEPENDENCIES, QUEUES, Rig
from tests.ministack import ministack
from tests.postgres import PostgresServer, read_table

pytest.importorskip("ministack")

AWAY_S = 4.0
#: Calls per second that are no hot loop, though the outage has only begun.
MOST_PER_S = 12.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def rig(postgres_server: PostgresServer, url: str) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(postgres_server, url, stack)


def rows(rig: Rig, table: str) -> int:
    return len(read_table(rig.owner, table))


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_work_waits_for_what_is_away_and_goes_on_by_itself(rig: Rig, dependency: str) -> None:
    rig.submit(6)
    rig.submit(2, large=True)
    proxy, calls = rig.proxies[dependency], dict[str, float]()

    for part in ("chunk", "embed", "store", "maintenance"):
        assert part == "maintenance" or rig.depth(part) >= 8
        proxy.reset()
        before = proxy.accepted
        with rig.part(part):
            time.sleep(AWAY_S)
            calls[part] = (proxy.accepted - before) / AWAY_S
            proxy.heal()
            if dependency == "queue":
                rig.release_outbox()
            with rig.maintenance(every_s=1):
                until(lambda: part not in QUEUES or rig.depth(part) == 0)  # noqa: B023
                until(lambda: not rows(rig, "outbox"))

    assert rig.statuses() == {"succeeded": 8}
    assert rig.dead() == 0
    assert {part: rate for part, rate in calls.items() if rate > MOST_PER_S} == {}


def test_documents_are_admitted_while_the_queue_is_away_and_sent_later(rig: Rig) -> None:
    rig.proxies["queue"].reset()

    jobs = rig.submit(3)
    rig.proxies["queue"].heal()
    rig.release_outbox()
    with rig.maintenance(every_s=0.2):
        until(lambda: rig.depth("chunk") == 3)

    assert len(jobs) == 3
    assert rig.statuses() == {"queued": 3}


@pytest.mark.parametrize(
    ("dependency", "error"),
    [("database", StoreUnavailableError), ("bucket", BlobsUnavailableError)],
)
def test_nothing_is_admitted_by_halves(
    rig: Rig, dependency: str, error: type[TransientError]
) -> None:
    rig.proxies[dependency].reset()

    with pytest.raises(error):
        rig.submit(1, large=True)

    assert rig.statuses() == {}
    assert rig.depth("chunk") == 0
