"""What the worker has done since it started."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Lock

#: Of the values of one minute so many are kept, all with the same chance: enough for percentiles.
SAMPLE_SIZE = 50


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
    requests, failed_requests
        Requests to the internal endpoint for vectors, and those answered with 500 or above.
    payload_bytes
        What the bodies of received messages took, claim checks and not what they stand for.
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
    requests: int = 0
    failed_requests: int = 0
    payload_bytes: int = 0


@dataclass(frozen=True)
class Sampled:
    """What was observed since it was read last; `most_active` of requests at once."""

    values: dict[str, list[float]]
    most_active: int


class Counters:
    """Counts that several threads add to, and samples of what was observed."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = Lock()
        self._samples: dict[str, list[float]] = {}
        self._seen: dict[str, int] = {}
        self._active = self._most_active = 0

    def add(self, **amounts: float) -> None:
        """Add to the named counts."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self._counts, name, getattr(self._counts, name) + amount)

    def observe(self, name: str, value: float) -> None:
        """Note a value, to be sampled: each has the same chance to be kept."""
        with self._lock:
            self._observe(name, value)

    @property
    def active_requests(self) -> int:
        """How many requests are in work."""
        return self._active

    @contextmanager
    def request(self) -> Iterator[list[int]]:
        """Count a request while it is in work; its status is to be put into what is given."""
        started, status = time.perf_counter(), list[int]()
        with self._lock:
            self._active += 1
            self._most_active = max(self._most_active, self._active)
        try:
            yield status
        finally:
            with self._lock:
                self._active -= 1
                self._counts.requests += 1
                self._counts.failed_requests += int(not status or status[0] >= 500)
                self._observe("request_s", time.perf_counter() - started)

    def sampled(self) -> Sampled:
        """Give what was observed since the last time."""
        with self._lock:
            found = Sampled(self._samples, self._most_active)
            self._samples, self._seen, self._most_active = {}, {}, self._active
            return found

    def _observe(self, name: str, value: float) -> None:
        kept = self._samples.setdefault(name, [])
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        if len(kept) < SAMPLE_SIZE:
            kept.append(value)
        elif (at := random.randrange(seen)) < SAMPLE_SIZE:
            kept[at] = value

    def read(self) -> dict[str, float]:
        """Give all counts by name, of one moment."""
        with self._lock:
            return asdict(self._counts)
