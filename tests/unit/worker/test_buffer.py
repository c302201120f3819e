from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder
from embedpipe.adapters.memory.models import fake_model
from embedpipe.ports import Received
from embedpipe.worker.buffer import Buffer, InferenceBatch
from embedpipe.worker.counters import Counters
from embedpipe.worker.device import Device
from embedpipe.worker.held import Held, Lease, Outcome
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.worker.bench import Jobs

JOBS = Jobs()
MESSAGE = JOBS.a_message(["text"])


def a_device(model_id: str = "fake", budget: int = 512) -> Device:
    embedder = FakeEmbedder(fake_model(model_id))
    return Device(embedder, [1, 5, 2], Counters(), max_batch_tokens=budget)


def a_held(
    lengths: Sequence[int] = (10,), *, tenant: str = "acme", lane: str = "normal", **fields: Any
) -> Held:
    receive_count = fields.pop("receive_count", 1)
    message = MESSAGE.model_copy(update={"tenant_id": tenant})
    return Held(
        [Lease(Received("id", "handle", "", receive_count), 0.0, 1.0)],
        sum(lengths),
        message=message,
        token_ids=[[5] * length for length in lengths],
        missing=len(lengths),
        lane=lane,
        **fields,
    )


def all_of(buffer: Buffer) -> list[InferenceBatch]:
    batches = []
    while (batch := buffer.take()) is not None:
        batches.append(batch)
    return batches


def tokens_by(batches: Sequence[InferenceBatch], name: str) -> Counter[str]:
    had: Counter[str] = Counter()
    for batch in batches:
        for chunk in batch.chunks:
            held = chunk.message.held
            assert held.message
            had[held.lane if name == "lane" else held.message.tenant_id] += len(chunk.ids)
    return had


def padded(batch: InferenceBatch) -> int:
    return max(map(len, batch.inputs)) * len(batch.inputs)


def useful(batches: Sequence[InferenceBatch]) -> float:
    return sum(batch.tokens for batch in batches) / sum(map(padded, batches))


def holds(batch: InferenceBatch, held: Held) -> bool:
    return any(chunk.message.held is held for chunk in batch.chunks)


def log_normal(generator: random.Random) -> int:
    """Draw a length: median 40, 99 % below 512, cut to what the model takes."""
    return min(max(round(generator.lognormvariate(math.log(40), 1.096)), 3), 256)


def some_messages(
    count: int, generator: random.Random, *, chunks: int = 8, **fields: Any
) -> list[Held]:
    return [a_held([log_normal(generator) for _ in range(chunks)], **fields) for _ in range(count)]


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 256), min_size=1, max_size=12),
            st.sampled_from(["acme", "globex"]),
            st.sampled_from(["high", "normal", "low"]),
            st.integers(1, 2),
        ),
        max_size=15,
    ),
    st.integers(16, 600),
)
def test_every_chunk_is_taken_once_in_a_batch_within_the_budget(
    messages: list[tuple[list[int], str, str, int]], budget: int
) -> None:
    device, buffer = a_device(budget=budget), Buffer()
    put = [
        a_held(lengths, tenant=tenant, lane=lane, receive_count=count)
        for lengths, tenant, lane, count in messages
    ]
    for held in put:
        buffer.put(held, device)
    waiting = buffer.tokens

    batches = all_of(buffer)

    taken = Counter((id(one.message.held), one.row) for batch in batches for one in batch.chunks)
    assert taken == Counter((id(held), row) for held in put for row in range(held.missing))
    assert all(len(batch.chunks) == 1 or padded(batch) <= budget for batch in batches)
    assert waiting == sum(batch.tokens for batch in batches)
    assert (len(buffer), buffer.tokens) == (0, 0)


def test_batches_are_full_of_chunks_of_like_length_whatever_message_they_are_from() -> None:
    generator, device, buffer = random.Random(2), a_device(), Buffer()
    for held in some_messages(40, generator) + some_messages(40, generator, tenant="globex"):
        buffer.put(held, device)

    batches = all_of(buffer)

    assert useful(batches) >= 0.97
    assert sum(map(padded, batches)) / len(batches) >= 300


def test_they_stay_so_while_more_comes_than_is_taken() -> None:
    generator, device, buffer = random.Random(3), a_device(), Buffer()
    batches = []
    for held in some_messages(200, generator):
        buffer.put(held, device)
        if buffer.tokens > 16_000:
            batches += [batch for _ in range(2) if (batch := buffer.take()) is not None]

    assert len(batches) > 100
    assert useful(batches) >= 0.97


def test_batches_follow_the_lengths_that_come() -> None:
    generator, device, buffer = random.Random(3), a_device(), Buffer()
    buffer.put(a_held([3, 255, 256]), device)
    buffer.take()

    for held in some_messages(80, generator):
        buffer.put(held, device)

    assert useful(all_of(buffer)) >= 0.97


@pytest.mark.parametrize("length", [14, 60, 250])
def test_a_newcomer_is_in_one_of_the_next_batches_whatever_waits_before_it(length: int) -> None:
    generator, device, buffer = random.Random(4), a_device(), Buffer()
    for held in some_messages(80, generator, chunks=64):
        buffer.put(held, device)
    for _ in range(10):
        buffer.take()
    newcomer = a_held([length], tenant="globex")

    buffer.put(newcomer, device)

    assert any(holds(batch, newcomer) for _ in range(2) if (batch := buffer.take()) is not None)


def test_newcomers_do_not_keep_others_waiting() -> None:
    generator, device, buffer = random.Random(5), a_device(), Buffer()
    old = some_messages(3, generator)
    for held in old:
        buffer.put(held, device)

    batches = []
    for number in range(60):
        buffer.put(a_held([250], tenant=f"tenant-{number % 5}"), device)
        batches += [batch for _ in range(1) if (batch := buffer.take()) is not None]

    assert all(any(holds(batch, held) for batch in batches[:40]) for held in old)


def test_tenants_have_the_same_however_many_chunks_they_sent() -> None:
    generator, device, buffer = random.Random(6), a_device(), Buffer()
    for held in some_messages(300, generator, tenant="large"):
        buffer.put(held, device)
    for held in some_messages(60, generator, tenant="small"):
        buffer.put(held, device)

    had = tokens_by([batch for _ in range(50) if (batch := buffer.take())], "tenant")

    assert 0.4 < had["small"] / sum(had.values()) < 0.6


@pytest.mark.parametrize("length", [None, 14, 210])
def test_lanes_have_their_shares_while_all_have_work(length: int | None) -> None:
    generator, device, buffer = random.Random(7), a_device(), Buffer()
    for lane, tenants in (("low", 4), ("normal", 2), ("high", 1)):
        for tenant in range(tenants):
            for held in some_messages(400 // tenants, generator, tenant=f"{tenant}", lane=lane):
                if length is not None:
                    held.token_ids = [[5] * length] * 8
                buffer.put(held, device)

    had = tokens_by([batch for _ in range(60) if (batch := buffer.take())], "lane")

    shares = [had[lane] / sum(had.values()) for lane in ("high", "normal", "low")]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.06)


def test_a_lane_that_is_alone_has_everything() -> None:
    device, buffer = a_device(), Buffer()
    for _ in range(100):
        buffer.put(a_held([200], lane="low"), device)

    assert sum(batch.tokens for batch in all_of(buffer)) == 20_000


def test_the_oldest_message_of_a_tenant_is_begun_first_whatever_its_length() -> None:
    generator, device, buffer = random.Random(8), a_device(), Buffer()
    first = a_held([256])
    buffer.put(first, device)
    for held in some_messages(50, generator):
        buffer.put(held, device)

    batch = buffer.take()

    assert batch is not None
    assert holds(batch, first)


def test_batches_never_mix_models_and_each_has_its_own_budget() -> None:
    generator, buffer = random.Random(9), Buffer()
    small, large = a_device("small", 256), a_device("large", 2048)
    for held in some_messages(50, generator):
        buffer.put(held, small)
    for held in some_messages(50, generator, tenant="globex"):
        buffer.put(held, large)

    batches = all_of(buffer)

    assert all({one.message.packing.device for one in b.chunks} == {b.device} for b in batches)
    widest = {
        device: max(padded(b) for b in batches if b.device is device) for device in (small, large)
    }
    assert widest[small] <= 256 < widest[large] <= 2048
    assert {batch.device for batch in batches[:4]} == {small, large}


def test_a_model_is_let_go_when_nothing_of_it_waits() -> None:
    device, buffer = a_device(), Buffer()
    buffer.put(a_held(), device)
    all_of(buffer)

    assert len(buffer._packings) == 0


def test_only_the_rows_asked_for_are_taken() -> None:
    buffer = Buffer()
    buffer.put(a_held([10, 11, 12]), a_device(), [0, 2])

    [batch] = all_of(buffer)

    assert sorted(chunk.row for chunk in batch.chunks) == [0, 2]


def test_a_message_that_is_over_costs_nothing_more() -> None:
    device, buffer = a_device(), Buffer()
    failed, waiting = a_held([200] * 10), a_held([200] * 3, tenant="globex")
    buffer.put(failed, device)
    buffer.put(waiting, device)
    buffer.take()
    failed.outcome = Outcome.FAIL

    rest = all_of(buffer)

    assert not any(holds(batch, failed) for batch in rest)
    assert len(buffer) == 0


def test_a_message_that_is_not_ours_any_more_is_not_begun() -> None:
    lost, kept = a_held([200] * 10), a_held([200] * 3)
    device, buffer = a_device(), Buffer(lambda held: held is kept)
    buffer.put(lost, device)
    buffer.put(kept, device)

    batches = all_of(buffer)

    assert sum(batch.tokens for batch in batches) == 600
    assert len(buffer) == 0


def test_messages_delivered_before_go_alone_and_in_turn_with_batches_of_others() -> None:
    device, buffer = a_device(), Buffer()
    for count in (2, 1, 3, 1, 1):
        buffer.put(a_held([10], receive_count=count), device)

    batches = [
        [one.message.held.received.receive_count for one in b.chunks] for b in all_of(buffer)
    ]

    assert batches == [[2], [1, 1, 1], [3]]


def test_an_empty_buffer_gives_nothing() -> None:
    assert Buffer().take() is None


def test_a_closed_buffer_gives_back_what_was_not_begun_and_finishes_the_rest() -> None:
    device, buffer = a_device(budget=64), Buffer()
    begun = a_held([30] * 6)
    buffer.put(begun, device)
    buffer.take()
    waiting = [a_held([30] * 6, tenant="globex"), a_held([30], receive_count=2), a_held([40] * 9)]
    for held in waiting:
        buffer.put(held, device)

    left = buffer.close()

    assert {id(held) for held in left} == {id(held) for held in waiting}
    assert buffer.tokens == 120
    assert sum(batch.tokens for batch in all_of(buffer)) == 120
    assert buffer.take(None) is None
    assert not buffer.put(a_held(), device)


def test_what_is_withdrawn_is_given_back_once_and_only_if_it_is_not_begun() -> None:
    buffer, device = Buffer(), a_device()
    begun = a_held([300, 300])
    planned, suspect, kept = a_held([20]), a_held(receive_count=2), a_held([30])
    for held in (begun, planned, kept):
        buffer.put(held, device)
    first = buffer.take(may_be_suspect=lambda: False)
    assert first is not None
    assert [chunk.message.held for chunk in first.chunks] == [begun]
    buffer.put(suspect, device)

    withdrawn = buffer.withdraw([begun, planned, suspect])

    assert withdrawn == [planned, suspect]
    assert buffer.withdraw([begun, planned, suspect]) == []
    assert buffer.tokens == 300 + 30
    rest = all_of(buffer)
    assert {id(chunk.message.held) for one in rest for chunk in one.chunks} == {id(begun), id(kept)}
    assert len(buffer) == 0
    assert buffer.take(may_be_suspect=lambda: False) is None


def test_who_waits_goes_on_waiting_when_all_that_came_is_given_up() -> None:
    lost, kept = a_held(), a_held()
    buffer, taken = Buffer(lambda held: held is not lost), SimpleQueue[InferenceBatch | None]()
    waiting = Thread(target=lambda: taken.put(buffer.take(None)), daemon=True)
    waiting.start()

    buffer.put(lost, a_device())
    with pytest.raises(Empty):
        taken.get(timeout=0.2)
    buffer.put(kept, a_device())
    batch = taken.get(timeout=5)

    assert batch is not None
    assert [chunk.message.held for chunk in batch.chunks] == [kept]


def test_a_suspect_that_lets_others_go_first_does_not_wait_for_ever() -> None:
    buffer, device = Buffer(), a_device()
    known = a_held([10], receive_count=2)
    for held in (known, a_held([11], receive_count=2)):
        buffer.put(held, device)
    first = buffer.take()
    assert first is not None
    assert buffer.put_back(first.chunks)

    gone_before = 0
    while not holds(batch := buffer.take() or first, known):
        gone_before += 1
        assert gone_before < 1000
        buffer.put(a_held([11], receive_count=2), device)

    assert gone_before > 10
    assert not buffer.put_back(batch.chunks)
