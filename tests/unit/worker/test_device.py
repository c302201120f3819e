from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Thread
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder
from embedpipe.worker.counters import Counters
from embedpipe.worker.device import Device


class Gated(FakeEmbedder):
    """A model that waits for a test before each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.started = Event()
        self.go_on = Event()

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        self.started.set()
        assert self.go_on.wait(10)
        return super().embed(token_ids)


class Wrong(FakeEmbedder):
    """A model that forgets an input."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        return super().embed(token_ids)[1:]


def test_a_waiting_request_goes_before_the_next_queued_batch() -> None:
    model = Gated()
    device = Device(model, Counters())
    order = [([[1, 10, 2]], False), ([[1, 20, 2]], False), ([[1, 30, 2]], True)]
    threads = []
    for waiting, (inputs, urgent) in enumerate(order):
        thread = Thread(target=device.embed, args=(inputs,), kwargs={"urgent": urgent})
        thread.start()
        threads.append(thread)
        assert model.started.wait(10)
        while device.waiting < waiting:
            pass

    model.go_on.set()
    for thread in threads:
        thread.join(10)

    assert [call[0][1] for call in model.calls] == [10, 30, 20]


def test_passes_are_counted() -> None:
    counters = Counters()
    seconds = iter([0.0, 2.0, 5.0, 6.0])
    device = Device(FakeEmbedder(), counters, seconds=lambda: next(seconds))

    device.embed([[1, 5, 2], [1, 2]])
    device.embed([[1, 2]], urgent=True)

    counts = counters.read()
    assert (counts["passes"], counts["sync_passes"], counts["embed_s"]) == (2, 1, 3.0)
    assert (counts["chunks"], counts["tokens"], counts["padded_tokens"]) == (3, 7, 8)


def test_a_failed_pass_is_counted_and_raised() -> None:
    counters = Counters()
    device = Device(FakeEmbedder(poison_ids=[5]), counters)

    with pytest.raises(RuntimeError):
        device.embed([[1, 5, 2]])

    counts = counters.read()
    assert (counts["passes"], counts["failed_passes"], counts["chunks"]) == (1, 1, 0)


def test_vectors_of_another_shape_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        Device(Wrong(), Counters()).embed([[1, 2], [1, 3, 2]])


def test_a_device_is_sound_while_it_computes_its_warm_up() -> None:
    model = FakeEmbedder()
    device = Device(model, Counters())
    device.warm_up([[1, 5, 2]])

    sound = device.is_sound()
    model.poison_ids.add(5)

    assert sound
    assert not device.is_sound()
