from __future__ import annotations

from collections import Counter

from embedpipe.ports import Received
from embedpipe.worker.buffer import Buffer
from embedpipe.worker.held import Held, Lease

from tests.unit.worker.bench import Jobs


def a_held(jobs: Jobs, tenant: str = "acme", *, weight: int = 10, receive_count: int = 1) -> Held:
    message = jobs.a_message(["text"], tenant=tenant)
    received = Received(message.job_id, "handle", "", receive_count)
    return Held([Lease(received, 0.0, 1.0)], weight, message=message)


def tenants(taken: list[Held]) -> Counter[str]:
    return Counter(held.message.tenant_id for held in taken if held.message)


def test_a_round_is_shared_evenly_when_there_is_more_than_fits() -> None:
    jobs, buffer = Jobs(), Buffer()
    for _ in range(90):
        buffer.put(a_held(jobs, "acme"))
    for _ in range(10):
        buffer.put(a_held(jobs, "globex"))

    rounds = [tenants(buffer.take(100)) for _ in range(3)]

    assert rounds[0] == {"acme": 5, "globex": 5}
    assert rounds[1] == {"acme": 5, "globex": 5}
    assert rounds[2] == {"acme": 10}


def test_a_round_is_all_that_is_ready_when_it_fits() -> None:
    jobs, buffer = Jobs(), Buffer()
    for _ in range(5):
        buffer.put(a_held(jobs))

    assert len(buffer.take(1000)) == 5
    assert len(buffer) == 0


def test_a_message_larger_than_a_round_is_a_round_of_its_own() -> None:
    jobs, buffer = Jobs(), Buffer()
    large = a_held(jobs, weight=500)
    buffer.put(large)
    buffer.put(a_held(jobs))

    assert buffer.take(100) == [large]


def test_messages_of_one_tenant_keep_their_order() -> None:
    jobs, buffer = Jobs(), Buffer()
    put = [a_held(jobs) for _ in range(6)]
    for held in put:
        buffer.put(held)

    assert [*buffer.take(30), *buffer.take(30)] == put


def test_messages_delivered_before_go_alone_and_in_turn_with_rounds_of_others() -> None:
    jobs, buffer = Jobs(), Buffer()
    for count in (2, 1, 3, 1, 1):
        buffer.put(a_held(jobs, receive_count=count))

    rounds = [[held.received.receive_count for held in buffer.take(1000)] for _ in range(3)]

    assert rounds == [[2], [1, 1, 1], [3]]


def test_an_empty_buffer_gives_an_empty_round() -> None:
    assert Buffer().take(100) == []


def test_a_closed_buffer_gives_back_what_it_held_and_takes_nothing_more() -> None:
    jobs, buffer = Jobs(), Buffer()
    put = [a_held(jobs), a_held(jobs, receive_count=2)]
    for held in put:
        buffer.put(held)

    left = buffer.close()

    assert {id(held) for held in left} == {id(held) for held in put}
    assert buffer.take(100, None) == []
    assert not buffer.put(a_held(jobs))
