"""What an entry point that consumes a queue is wired with."""

from __future__ import annotations

from typing import Protocol

from embedpipe.domain.retry import RetryPolicy
from embedpipe.ports import Blobs, Database, Inbox
from embedpipe.stages.controls import ControlReader


class Services(Protocol):
    """What every consumer's entry point is wired with."""

    @property
    def database(self) -> Database:
        """The database."""
        ...

    @property
    def inbox(self) -> Inbox:
        """The queue that it reads."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Large payloads."""
        ...

    @property
    def controls(self) -> ControlReader | None:
        """What operators let the stage do."""
        ...

    @property
    def policy(self) -> RetryPolicy:
        """How failures are retried."""
        ...
