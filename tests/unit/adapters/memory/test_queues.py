from __future__ import annotations

import time
from threading import Thread

import pytest
from embedpipe.adapters.memory import MemoryBlobs, MemoryQueue
from embedpipe.errors import BlobsUnavailableError, QueueUnavailableError
from embedpipe.ports import Outgoing


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def a_queue(count: int = 0, clock: Clock | None = None) -> MemoryQueue:
    queue = MemoryQueue("q", clock=clock or time.monotonic)
    queue.send([Outgoing(str(n), f'"{n}"', "tenant-a") for n in range(count)])
    return queue


def test_depth_and_in_flight_tell_waiting_from_held() -> None:
    clock = Clock()
    queue = a_queue(3, clock)
    queue.send([Outgoing("late", "{}", "tenant-a", delay_s=60)])
    before = queue.depth, queue.in_flight

    queue.receive(max_messages=2, wait_s=0)
    held = queue.depth, queue.in_flight
    clock.now = 31
    expired = queue.depth, queue.in_flight

    assert (before, held, expired) == ((3, 0), (1, 2), (3, 0))
    assert queue.bodies() == ['"0"', '"1"', '"2"', "{}"]


def test_a_long_poll_wakes_with_a_message() -> None:
    queue = a_queue()
    sender = Thread(target=lambda: queue.send([Outgoing("k", "{}", "tenant-a")]))

    sender.start()
    received = queue.receive(wait_s=20)
    sender.join()

    assert [message.body for message in received] == ["{}"]


def test_a_handle_of_an_earlier_delivery_settles_nothing() -> None:
    clock = Clock()
    queue = a_queue(1, clock)
    [first] = queue.receive(wait_s=0)
    clock.now = 31
    [second] = queue.receive(wait_s=0)

    queue.ack([first])
    queue.retry(first, 0)
    lost = queue.extend([first, second], 60)

    assert lost == [first]
    assert queue.in_flight == 1


def test_an_outage_can_be_had() -> None:
    queue, blobs = a_queue(1), MemoryBlobs()
    queue.is_available = blobs.is_available = False

    with pytest.raises(QueueUnavailableError):
        queue.receive(wait_s=0)
    with pytest.raises(QueueUnavailableError):
        queue.check()
    with pytest.raises(BlobsUnavailableError):
        blobs.put("key", b"")
