"""What the worker has done since it started."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from threading import Lock


@dataclass
class Counts:
    """One reading. Numbers only grow.

    Attributes
    ----------
    unwanted
        Messages acknowledged without a model pass: the fence said no.
    duplicates
        Deliveries of a batch that was held already; they cost no pass of their own.
    expired
        Messages given up because their lease was lost; they come back by themselves.
    suspects
        Inference batches of messages that were delivered before.
    padded_tokens
        Inputs times the longest, summed over the passes: what the device computed.
    sync_passes
        Passes for the internal endpoint, counted in `passes` too.
    embed_s
        Seconds in the model, all streams together.
    cache_hits, cache_misses
        Chunks whose vectors were known, and the others.
    remote_requests, remote_failures, remote_chunks
        Requests to providers, those that gave nothing, and chunks that providers computed.
    """

    received: int = 0
    done: int = 0
    retried: int = 0
    rejected: int = 0
    unwanted: int = 0
    duplicates: int = 0
    expired: int = 0
    released: int = 0
    suspects: int = 0
    chunks: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    passes: int = 0
    failed_passes: int = 0
    sync_passes: int = 0
    embed_s: float = 0.0
    cache_hits: int = 0
    cache_misses: int = 0
    remote_requests: int = 0
    remote_failures: int = 0
    remote_chunks: int = 0


class Counters:
    """Counts that several threads add to."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = Lock()

    def add(self, **amounts: float) -> None:
        """Add to the named counts."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self._counts, name, getattr(self._counts, name) + amount)

    def read(self) -> dict[str, float]:
        """Give all counts by name, of one moment."""
        with self._lock:
            return asdict(self._counts)
