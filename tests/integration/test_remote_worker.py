"""Whole workers, a provider over HTTP that goes away, and breakers in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest
from embedpipe.adapters.memory import FakeModels
from embedpipe.adapters.memory.remote_models import FakeRemoteEmbedders
from embedpipe.domain.breakers import BreakerRules, BreakerState
from embedpipe.messages import EmbedRequested
from embedpipe.worker import Context, Worker

from tests.integration.providers.fakes import (
    FORMS,
    an_embedder,
    serving,
    silence,
    status,
    vector_of,
)
from tests.unit.worker.bench import MODEL, Bench, some_settings, vectors_of

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

    from tests.integration.providers.fakes import FakeProvider

RULES = BreakerRules(failure_threshold=5, recovery_s=0.3)


@pytest.fixture
def database(app_conninfo: str) -> Iterator[PostgresDatabase]:
    from embedpipe.adapters.postgres import PostgresDatabase

    database = PostgresDatabase(app_conninfo, min_size=0, max_size=4, breaker_rules=RULES)
    yield database
    database.close()


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with serving(FORMS["openai"]) as server:
        yield server


class Site:
    """Two workers on one queue; each computes one model here and has another computed."""

    def __init__(self, server: FakeProvider, database: PostgresDatabase) -> None:
        embedder = an_embedder(server, timeout_s=2.0)
        self.model = embedder.model
        self.server = server
        self.breakers = database.breakers
        self.bench = Bench.with_pauses(settings=some_settings(EMBED_STOP_TIMEOUT_S=3))
        ports = replace(
            self.bench.ports(),
            models=FakeModels(MODEL, self.model),
            remotes=FakeRemoteEmbedders(embedder),
            breakers=database.breakers,
        )
        self.workers = [Worker(Context.of(ports)) for _ in range(2)]
        self.threads = [Thread(target=worker.run) for worker in self.workers]

    def __enter__(self) -> Site:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> float:
        started = time.monotonic()
        for worker in self.workers:
            worker.stop()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        return time.monotonic() - started

    def submit_texts(self, *texts: str) -> EmbedRequested:
        message = self.bench.jobs.a_message(texts)
        remote = message.model_copy(
            update={
                "model_id": self.model.model_id,
                "fingerprint": self.model.fingerprint,
                "tokens": None,
                "texts": list(texts),
            }
        )
        self.bench.send(remote)
        return remote

    def done(self) -> int:
        return len(self.bench.answers())

    def counts(self, name: str) -> float:
        return sum(worker.context.counters.read()[name] for worker in self.workers)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_a_provider_that_goes_away_costs_few_requests_no_receive_and_no_message(
    server: FakeProvider, database: PostgresDatabase
) -> None:
    texts = {}
    with Site(server, database) as site:
        for at in range(20):
            texts[site.submit_texts(f"before {at}").batch] = f"before {at}"
        until(lambda: site.done() == 20)
        server.always = status(503)
        asked = len(server.asked)
        for at in range(20):
            texts[site.submit_texts(f"after {at}").batch] = f"after {at}"
        provider = site.model.provider
        until(lambda: site.breakers.get(provider).state is BreakerState.OPEN)
        here = [site.bench.submit(f"here {at}").batch for at in range(20)]
        until(lambda: site.done() == 40)
        time.sleep(1.5)
        down = site.bench.queue.peek()
        asked = len(server.asked) - asked
        server.always = None
        until(lambda: site.done() == 60)
        until(lambda: not site.bench.queue.peek())
        answers = {answer.batch: answer for answer in site.bench.answers()}

    assert site.breakers.get(provider).state is BreakerState.CLOSED
    assert {one.receive_count for one in down} == {1}
    # Up to eight of each worker are under way when the fifth fails; then one probe at a time.
    assert asked <= 16 + 5
    assert not site.bench.dlq.peek()
    assert set(answers) == {*texts, *here}
    for batch, text in texts.items():
        expected = np.array(vector_of(text), np.float32)
        expected /= np.linalg.norm(expected)
        [found] = vectors_of(answers[batch])
        assert np.allclose(found, expected, atol=1e-6)


def test_a_stop_ends_in_time_though_the_provider_is_silent_and_nothing_is_lost(
    server: FakeProvider, database: PostgresDatabase
) -> None:
    server.always = silence
    with Site(server, database) as site:
        messages = [site.submit_texts(f"text {at}") for at in range(5)]
        until(lambda: server.asked)

        took_s = site.stop()

    assert took_s < 4
    assert site.done() == 0
    until(lambda: site.bench.queue.depth == len(messages))
