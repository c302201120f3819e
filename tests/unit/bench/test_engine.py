from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeTokenizer, MemoryQueue
from embedpipe.ports import Outgoing

from bench.engine import limit, report
from bench.engine.contest import Row, texts_for
from bench.engine.cpu import native_threads_s
from bench.engine.mixes import all_mixes, log_normal_lengths
from bench.engine.queues import FairQueue
from bench.engine.waits import figures


def a_row(engine: str, tokens_per_s: float, **overrides: Any) -> dict[str, Any]:
    row = {"mix": "m", "engine": engine, "label": "", "is_default": False}
    return row | {"tokens_per_s": tokens_per_s} | overrides


def a_fair_queue(*tenants: str) -> FairQueue:
    queue = FairQueue("embed", visibility_s=30, dlq=MemoryQueue("dlq"))
    for number, tenant in enumerate(tenants):
        queue.send([Outgoing("0", f"{tenant}-{number}", group_id=tenant)])
    return queue


@pytest.mark.parametrize("planner", limit.PLANNERS)
def test_every_way_to_cut_computes_each_input_once(planner: str) -> None:
    lengths = [3, 200, 9, 14, 256, 5, 5, 90]

    batches = limit.PLANNERS[planner](lengths, 64)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


def test_in_order_of_arrival_no_batch_is_larger_than_its_budget() -> None:
    lengths = [3, 9, 3, 10, 40]

    batches = limit.in_order(lengths, 20)

    assert batches == [[0, 1], [2, 3], [4]]


def test_padding_marks_what_is_real() -> None:
    feed = limit.padded([[7, 8], [9]])

    assert feed["input_ids"].tolist() == [[7, 8], [9, 0]]
    assert feed["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_mixes_are_the_same_every_time_and_fit_the_model() -> None:
    tokenizer = FakeTokenizer()

    first, again = (all_mixes(tokenizer, 2_000) for _ in range(2))

    assert first == again
    assert all(mix.tokens >= 2_000 for mix in first.values())
    assert all(max(map(len, mix.ids)) <= tokenizer.model.max_tokens for mix in first.values())
    assert all(tokenizer.encode(mix.texts) == mix.ids for mix in first.values())


def test_log_normal_lengths_have_the_percentiles_asked_for() -> None:
    lengths = log_normal_lengths(1, p50=40, p99=200, most=100)

    drawn = sorted(next(lengths) for _ in range(2_001))

    assert drawn[1_000] == pytest.approx(40, rel=0.1)
    assert drawn[-1] == 100
    assert drawn[0] >= 1


def test_a_fair_queue_gives_a_quiet_tenant_its_turn() -> None:
    queue = a_fair_queue(*["loud"] * 30, "quiet")

    received = queue.receive(max_messages=10, wait_s=0)

    assert len(received) == 10
    assert [one.body for one in received if one.group_id == "quiet"] == ["quiet-30"]


def test_a_fair_queue_settles_where_a_message_came_from() -> None:
    queue = a_fair_queue("acme", "globex", "acme")

    received = queue.receive(max_messages=10, wait_s=0)
    queue.ack(received[:2])
    queue.retry(received[2], 0)

    assert queue.backlog() == 1
    assert len(queue.receive(max_messages=10, wait_s=0)) == 1


def test_rows_are_placed_by_their_own_mix_and_engine() -> None:
    rows = [
        a_row("bare", 90.0),
        a_row("bare", 100.0),
        a_row("rival", 40.0, is_default=True),
        a_row("rival", 50.0),
        a_row("rival", 45.0),
        a_row("bare", 10.0, mix="other"),
    ]

    placed = report.with_places(rows, limit="bare")

    assert [row["of_limit"] for row in placed] == [0.9, 1.0, 0.4, 0.5, 0.45, 1.0]
    shown = [row["tokens_per_s"] for row in report.chosen(placed)]
    assert shown == [100.0, 40.0, 50.0, 10.0]


def test_a_row_says_medians_of_its_rounds() -> None:
    row = Row("m", "engine", "")
    for seconds in (1.0, 2.0, 4.0):
        row.add({"rows": 3, "seconds": seconds, "cpu_s": 4.0, "run_cpu_s": 3.0})

    summary = row.summary(tokens=100)

    assert summary["tokens_per_s"] == 50.0
    assert summary["tokens_per_s_range"] == [25.0, 100.0]
    assert summary["tokens_per_cpu_s"] == 25.0
    assert summary["outside_run_share"] == 0.25


def test_a_row_that_never_ran_is_shown_with_its_reason() -> None:
    row = Row("m", "engine", "", error="it does not start")

    [placed] = report.with_places([row.summary(tokens=100)], limit="bare")

    assert report.chosen([placed]) == [placed]
    assert "it does not start" in report.cells(placed)[1]


def test_texts_are_counted_by_their_tokens() -> None:
    assert texts_for([10, 10, 10], 15) == 2
    assert texts_for([10], 15) == 1


def test_waits_are_told_by_percentiles() -> None:
    waits = [float(number) for number in range(1, 101)]

    assert figures(waits) == {"count": 100, "p50": 50.0, "p95": 95.0, "max": 100.0}


def test_cpu_time_of_python_threads_is_not_taken_for_the_runtimes() -> None:
    is_done, may_end = threading.Event(), threading.Event()
    thread = threading.Thread(target=_busy, args=(is_done, may_end))
    before = native_threads_s()

    thread.start()
    is_done.wait(20)
    spent_s = native_threads_s() - before
    may_end.set()
    thread.join()

    assert spent_s < 0.05


def _busy(is_done: threading.Event, may_end: threading.Event) -> None:
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass
    is_done.set()
    may_end.wait(20)
