"""One local cloud for the whole session; tests keep apart by collections of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Client, Queues
from tests.e2e.cloud import Cloud, with_model
from tests.localstack import endpoint_url
from tests.real_model import MODELS_DIR, the_real_model


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The repository's models."""
    the_real_model()
    return MODELS_DIR


@pytest.fixture(scope="session")
def cloud(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud. A laptop that cannot start one skips, with the reason; the build fails."""
    data_dir = with_model(tmp_path_factory.mktemp("cloud"), models_dir)
    made = Cloud(
        data_dir,
        endpoint_url=endpoint_url(),
        EMBED_VISIBILITY_S="4",
        EMBED_TUNE_S="0",
        RETRY_BACKOFF_BASE_S="0.1",
    )
    try:
        made.start()
    except AssertionError as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the local cloud does not start here: {exc}")
    # What a killed process held comes back in seconds, and not in minutes.
    with made.queues() as queues:
        for queue in ("ChunkQueue", "EmbedHighQueue", "EmbedQueue", "EmbedLowQueue", "StoreQueue"):
            queues.set_visibility(queue, 4)
    yield made
    assert made.stop() == 0, made.log()


@pytest.fixture(scope="session")
def client(cloud: Cloud) -> Iterator[Client]:
    """The API, with the right key."""
    with cloud.client() as made:
        yield made


@pytest.fixture(scope="session")
def queues(cloud: Cloud) -> Iterator[Queues]:
    """The queues."""
    with cloud.queues() as made:
        yield made


@pytest.fixture
def collection(client: Client) -> str:
    """A collection of the test's own."""
    return client.create_collection()
