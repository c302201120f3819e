from __future__ import annotations

import pytest
from embedpipe.worker.cache import VectorCache
from embedpipe.worker.counters import SAMPLE_SIZE, Counters

from tests.emf import metrics_of
from tests.unit.worker.bench import Bench


def printed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> dict[str, list[float]]:
    bench.worker.meter.report("worker summary")
    return metrics_of(capsys.readouterr().out.splitlines())["embed"]


def test_a_minute_of_work_is_one_line_with_every_metric(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench(overrides={"cache": VectorCache(1_000_000)})
    messages = [bench.submit("a", "longer text"), bench.submit("a", "another one")]
    bench.worker.drain()

    found = printed(bench, capsys)

    assert found["MessagesProcessed"] == [2]
    assert found["ChunksEmbedded"] == [bench.counts["chunks"]]
    assert found["Tokens"] == [bench.counts["tokens"]]
    assert found["CacheMisses"] == [4]
    assert found["BatchSize"] == [2]
    assert sorted(found["PayloadBytes"]) == sorted(len(one.encode()) for one in messages)
    assert len(found["StageLatency"]) == 2
    assert 0 < found["PaddingEfficiency"][0] <= 1


def test_what_was_told_is_not_told_again_and_an_idle_worker_tells_zeros(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench()
    bench.submit("a")
    bench.worker.drain()
    printed(bench, capsys)

    found = printed(bench, capsys)

    assert {name: values for name, values in found.items() if any(values)} == {}
    assert found["MessagesProcessed"] == found["MessagesFailed"] == [0]
    assert "StageLatency" not in found
    assert "PaddingEfficiency" not in found


def test_what_fails_is_counted_as_failed(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    bench.send("not JSON")
    bench.worker.drain()

    found = printed(bench, capsys)

    assert (found["MessagesFailed"], found["MessagesRejected"]) == ([1], [1])
    assert found["MessagesProcessed"] == [0]


def test_the_latency_is_that_of_the_work_and_not_of_the_wait_in_the_buffer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench()
    bench.submit("a")
    bench.worker.receiver.step(0)
    bench.worker.arrivals.step()
    bench.clock.now += 20
    bench.worker.engine.step()
    bench.clock.now += 0.25
    while bench.worker.sender.step():
        pass

    assert printed(bench, capsys)["StageLatency"] == [250.0]


def test_of_many_values_a_sample_is_kept_and_each_has_its_chance() -> None:
    counters = Counters()
    for value in range(10_000):
        counters.observe("work_s", value)

    values = counters.sampled().values["work_s"]

    assert len(values) == len(set(values)) == SAMPLE_SIZE
    # Otherwise by chance, once in 2**49 runs.
    assert min(values) < 5_000 < max(values)
    assert counters.sampled().values == {}


def test_the_most_requests_at_once_are_told() -> None:
    counters = Counters()
    with counters.request() as first:
        with counters.request() as second:
            second.append(503)
        first.append(200)

    assert counters.sampled().most_active == 2
    assert counters.sampled().most_active == 0
    assert counters.active_requests == 0
    assert (counters.read()["requests"], counters.read()["failed_requests"]) == (2, 1)
