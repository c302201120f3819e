"""What the suite runs against: a local cloud, or a stack deployed to an emulator of AWS."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from tests.e2e.client import Client, Queues
from tests.localstack import for_stacks, localstack
from tests.ministack import ministack
from tests.stacks import ministack_gaps
from tests.stacks.deployed import DeployedStack

VARIABLE = "E2E_TARGET"
LOCAL, MINISTACK, LOCALSTACK = "local", "ministack", "localstack"
ORIGIN = "https://app.example"
#: MiniStack has the cheap start, and LocalStack everything that it can make.
CHOICES = {
    MINISTACK: {},
    LOCALSTACK: {
        "AlarmSet": "all",
        "ApiAccessLogging": "true",
        "ApiQuotaPerDay": "100000",
        "CorsAllowOrigins": ORIGIN,
        "ReserveConcurrency": "true",
    },
}


class Target(Protocol):
    """The pipeline somewhere."""

    @property
    def url(self) -> str:
        """Where its API answers."""

    def api_key(self) -> str:
        """Give the key that its API takes."""

    def client(self, key: str | None = None) -> AbstractContextManager[Client]:
        """Make a client; with the right API key, if no other is given."""

    def queues(self) -> AbstractContextManager[Queues]:
        """Make a client of its queues."""


def chosen() -> str:
    """Give the target of this session."""
    name = os.environ.get(VARIABLE) or LOCAL
    assert name in (LOCAL, MINISTACK, LOCALSTACK), f"{VARIABLE}={name}"
    return name


@contextmanager
def deployed_to(emulator: str, logs: Path, models: Path) -> Iterator[DeployedStack]:
    """Deploy the built template; give the stack, and delete it afterwards."""
    # Execution environments unpack the layer: too much to keep as pytest keeps directories.
    with tempfile.TemporaryDirectory(prefix="stack-") as made:
        scratch = Path(made)
        functions = {"MODELS_DIR": f"{scratch}/models"}
        with _emulator(emulator, logs, scratch, functions) as url:
            gaps = ministack_gaps.fill if emulator == MINISTACK else None
            stack = DeployedStack(
                url,
                logs,
                models,
                scratch=scratch,
                choices=CHOICES[emulator],
                after_deploy=gaps,
            )
            try:
                stack.start()
                yield stack
                stack.delete()
                _assert_gone(stack)
            finally:
                stack.stop()


def _emulator(
    name: str, logs: Path, scratch: Path, functions: dict[str, str]
) -> AbstractContextManager[str]:
    if name == MINISTACK:
        return ministack(logs, scratch=scratch, functions=functions)
    settings = for_stacks(scratch, **functions)
    return localstack(logs, files=scratch / "files", **settings)


def _assert_gone(stack: DeployedStack) -> None:
    assert stack.aws("lambda").list_functions()["Functions"] == []
    assert stack.aws("sqs").list_queues().get("QueueUrls", []) == []
    kept = [one["Name"] for one in stack.aws("s3").list_buckets()["Buckets"]]
    assert stack.resources["ContentBucket"] in kept
