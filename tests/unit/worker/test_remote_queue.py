"""Whose requests the threads run."""

from __future__ import annotations

import heapq

import numpy as np
from embedpipe.adapters.memory import FakeRemoteEmbedder
from embedpipe.adapters.memory.remote_models import fake_remote_model
from embedpipe.worker.held import Held
from embedpipe.worker.remote_line import Request, Round
from embedpipe.worker.remote_queue import RemoteQueue

THREADS = 8


class Threads:
    """Threads that ask two models, whose answers take as long as they say, in simulated time."""

    def __init__(self, answer_s: dict[str, float]) -> None:
        self.now = 0.0
        self.answer_s = answer_s
        self.done = dict.fromkeys(answer_s, 0)
        self.queue = RemoteQueue(
            round_tokens=10, parked_tokens=10_000_000, seconds=lambda: self.now
        )
        self._running: list[tuple[float, int, Request]] = []
        self._begun = 0

    def put(self, model_id: str, count: int) -> None:
        embedder = FakeRemoteEmbedder(fake_remote_model(model_id))
        for _ in range(count):
            self.queue.put(Held([], weight=10), ["a text"], embedder)

    def run(self, until: float) -> None:
        while self.now < until:
            self._begin()
            self.now, _, request = heapq.heappop(self._running)
            model = request.line.embedder.model
            vectors = np.ones((len(request.chunks), model.dimensions), np.float32)
            self.queue.computed(request.line, request.chunks, vectors)
            self.queue.done(request)
            self.done[model.model_id] += 1

    def _begin(self) -> None:
        while len(self._running) < THREADS:
            match self.queue.next(wait=False):
                case Round() as taken:
                    self.queue.plan(taken.line, [taken.chunks])
                case Request() as request:
                    self.queue.begin(request.chunks)
                    self._begun += 1
                    at = self.now + self.answer_s[request.line.embedder.model.model_id]
                    heapq.heappush(self._running, (at, self._begun, request))
                case _:
                    return


def test_a_slow_provider_has_no_more_threads_than_a_fast_one() -> None:
    threads = Threads({"slow": 30.0, "fast": 0.25})
    threads.put("slow", 500)
    threads.put("fast", 2000)

    threads.run(60.0)

    assert threads.done["fast"] > 0.9 * 60 / 0.25 * THREADS / 2
    assert threads.done["slow"] >= THREADS / 2


def test_whoever_is_alone_has_all_threads() -> None:
    threads = Threads({"slow": 30.0})
    threads.put("slow", 500)

    threads.run(90.0)

    assert threads.done["slow"] >= 2 * THREADS
