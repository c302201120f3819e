from __future__ import annotations

from collections.abc import Sequence

import pytest
from embedpipe.domain.jobs import BatchRef
from embedpipe.errors import StoreUnavailableError
from embedpipe.worker.recheck import RECHECK_S, TENANTS_AT_ONCE

from tests.unit.worker.bench import Bench, Jobs
from tests.unit.worker.remote_bench import RemoteBench
from tests.unit.worker.test_engine import of_other, two_models


def test_what_waits_for_a_cancelled_job_is_dropped_and_not_computed() -> None:
    bench = Bench()
    cancelled, kept = bench.submit("cancelled"), bench.submit("kept")
    bench.worker.receiver.step(0.0)
    bench.jobs.database.jobs.cancel(cancelled.tenant_id, cancelled.job_id)
    bench.clock.now += RECHECK_S

    dropped = bench.worker.recheck.look()
    bench.worker.drain()

    assert dropped == 1
    assert [answer.job_id for answer in bench.answers()] == [kept.job_id]
    assert bench.counts["unwanted"] == 1
    assert bench.counts["chunks"] == 1
    assert not bench.queue.peek()
    assert bench.held == 0


def test_what_waits_for_a_model_to_load_is_dropped_and_loads_none() -> None:
    bench, _ = two_models()
    # The other model is not loaded yet.
    messages = [of_other(bench, "cancelled"), of_other(bench, "cancelled later")]
    bench.worker.receiver.step(0.0)
    bench.clock.now += RECHECK_S
    dropped = []

    for message in messages:
        bench.jobs.database.jobs.cancel(message.tenant_id, message.job_id)
        dropped.append(bench.worker.recheck.look())
    is_anything_loaded = bench.worker.arrivals.step()
    bench.worker.drain()

    assert dropped == [1, 1]
    assert not is_anything_loaded
    assert bench.answers() == []
    assert not bench.queue.peek()
    assert bench.held == 0


def test_many_tenants_are_asked_about_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    tenants = [f"tenant-{number:02}" for number in range(2 * TENANTS_AT_ONCE + 1)]
    bench = Bench(jobs=Jobs(tenants))
    for tenant in tenants:
        bench.submit("a text", tenant=tenant)
    while bench.worker.receiver.step(0.0):
        pass
    bench.clock.now += RECHECK_S
    asked: list[set[str]] = []

    def pending(batches: Sequence[BatchRef]) -> set[BatchRef]:
        asked.append({batch.job.tenant_id for batch in batches})
        return set(batches)

    monkeypatch.setattr(bench.jobs.database.jobs, "pending", pending)
    for _ in range(3):
        bench.worker.recheck.look()

    assert [len(some) for some in asked] == [TENANTS_AT_ONCE] * 3
    assert set.union(*asked) == set(tenants)
    assert asked[0] & asked[1] == set()


def test_what_has_just_come_is_not_asked_about() -> None:
    bench = Bench()
    message = bench.submit("cancelled")
    bench.worker.receiver.step(0.0)
    bench.jobs.database.jobs.cancel(message.tenant_id, message.job_id)
    bench.clock.now += RECHECK_S / 2

    assert bench.worker.recheck.look() == 0


def test_a_database_that_is_away_drops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.submit("wanted")
    bench.worker.receiver.step(0.0)
    bench.clock.now += RECHECK_S

    def pending(_: object) -> object:
        raise StoreUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(bench.jobs.database.jobs, "pending", pending)
        with pytest.raises(StoreUnavailableError):
            bench.worker.recheck.look()
    bench.worker.drain()

    assert len(bench.answers()) == 1


def test_a_provider_is_not_asked_for_a_cancelled_job() -> None:
    bench = RemoteBench()
    message = bench.submit("cancelled")
    bench.worker.receive()
    bench.database.jobs.cancel(message.tenant_id, message.job_id)
    bench.clock.now += RECHECK_S

    bench.worker.recheck.look()
    bench.worker.drain()

    assert bench.embedder.calls == []
    assert bench.answers() == []
    assert bench.worker.context.counters.read()["unwanted"] == 1
    assert not bench.queue.peek()
    assert len(bench.worker.context.holdings) == 0
