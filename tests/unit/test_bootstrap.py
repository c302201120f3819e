"""How entry points are wired: nothing here connects to anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedpipe import bootstrap
from embedpipe.domain.lanes import QUEUES

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://unused",
    "CHUNK_QUEUE_URL": "http://127.0.0.1:1/chunk",
    "CHUNK_DLQ_URL": "http://127.0.0.1:1/chunk-dlq",
    "EMBED_QUEUE_URL": "http://127.0.0.1:1/embed",
    "EMBED_DLQ_URL": "http://127.0.0.1:1/embed-dlq",
    "STORE_QUEUE_URL": "http://127.0.0.1:1/store",
    "STORE_DLQ_URL": "http://127.0.0.1:1/store-dlq",
    "CONTENT_BUCKET": "content",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("EMBED_HIGH_QUEUE_URL", "EMBED_LOW_QUEUE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield
    bootstrap.chunk.cache_clear()
    bootstrap.maintenance.cache_clear()


def test_lanes_without_queues_of_their_own_share_the_normal_one() -> None:
    queues = bootstrap.chunk().embed_queues

    assert set(queues) == set(QUEUES.values())
    assert len(set(queues.values())) == 1


def test_every_lane_that_has_a_queue_is_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBED_HIGH_QUEUE_URL", "http://127.0.0.1:1/high")

    queues = bootstrap.maintenance().queues

    assert set(queues) == {"chunk", *QUEUES.values(), "store"}
    assert queues["embed_high"] is not queues["embed"]
    assert queues["embed_low"] is queues["embed"]
