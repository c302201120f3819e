"""One target for the whole session; tests keep apart by collections of their own.

E2E_TARGET says which: `local`, a local cloud, or the stack of template.yaml on an emulator,
`ministack` or `localstack`. What a test needs of it, it says by its fixtures: `target` is any;
`cloud` has processes that can be frozen and killed, `stack` has what CloudFormation knows. A test
of one is skipped on the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from embedpipe.local.functions import WORKER_WAIT_S

from tests.e2e.client import Client, Queues
from tests.e2e.cloud import Cloud, running, with_model
from tests.e2e.targets import LOCAL, Target, chosen, deployed_to
from tests.localstack import NotStartedError, endpoint_url
from tests.postgres import is_ci
from tests.real_model import MODELS_DIR, the_real_model
from tests.stacks.deployed import DeployedStack

#: Where a page is that may call the cloud.
APP = "https://app.example.com"
WORK_QUEUES = ("ChunkQueue", "EmbedHighQueue", "EmbedQueue", "EmbedLowQueue", "StoreQueue")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The repository's models."""
    the_real_model()
    return MODELS_DIR


@pytest.fixture(scope="session")
def cloud(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud. A laptop that cannot start one skips, with the reason; the build fails."""
    if chosen() != LOCAL:
        pytest.skip(f"needs the processes of a local cloud, and runs on a stack on {chosen()}")
    data_dir = with_model(tmp_path_factory.mktemp("cloud"), models_dir)
    made = Cloud(
        data_dir,
        endpoint_url=endpoint_url(),
        EMBED_VISIBILITY_S="4",
        EMBED_TUNE_S="0",
        RETRY_BACKOFF_BASE_S="0.1",
        CORS_ALLOW_ORIGINS=APP,
    )
    with running(made):
        # What a killed process held comes back in seconds, and not in minutes.
        with made.queues() as queues:
            for queue in WORK_QUEUES:
                queues.set_visibility(queue, 4)
        # A poll that began before hides what it receives for as long as the template says; the
        # worker may be frozen with it, and keep a message for that minute.
        time.sleep(float(WORKER_WAIT_S) + 0.5)
        yield made


@pytest.fixture(scope="session")
def stack(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    """A deployed stack, gone afterwards. A laptop whose emulator does not start skips."""
    if chosen() == LOCAL:
        pytest.skip("needs a deployed stack, and runs on a local cloud")
    with ExitStack() as held:
        try:
            made = held.enter_context(
                deployed_to(chosen(), tmp_path_factory.mktemp("stack"), models_dir)
            )
        except NotStartedError as exc:
            if is_ci():
                raise
            pytest.skip(f"LocalStack does not start here: {exc}")
        yield made


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """What this session tests."""
    made: Target = request.getfixturevalue("cloud" if chosen() == LOCAL else "stack")
    return made


@pytest.fixture(scope="session")
def client(target: Target) -> Iterator[Client]:
    """The API, with the right key."""
    with target.client() as made:
        yield made


@pytest.fixture(scope="session")
def queues(target: Target) -> Iterator[Queues]:
    """The queues."""
    with target.queues() as made:
        yield made


@pytest.fixture
def collection(client: Client) -> str:
    """A collection of the test's own."""
    return client.create_collection()
