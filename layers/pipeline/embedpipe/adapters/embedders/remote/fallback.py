"""The same model at several providers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from embedpipe.adapters.embedders.remote.embedder import parted
from embedpipe.errors import ProviderUnavailableError
from embedpipe.models.known import BatchLimits
from embedpipe.ports.models import Kind, ModelInfo, RemoteEmbedder

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

#: How long one that was not available is left alone, where it does not say.
REST_S = 30.0


class LimitedEmbedder(RemoteEmbedder, Protocol):
    """An embedder that says what its requests may hold."""

    @property
    def limits(self) -> BatchLimits:
        """What one request may hold."""
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


class FallbackEmbedder:
    """Asks the first that is available; what one rejects, no other is asked for.

    All must compute the same model: their vectors are mixed. Threads may share it.

    Raises
    ------
    ValueError
        They do not.
    """

    def __init__(
        self, embedders: Sequence[LimitedEmbedder], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if len({embedder.model.fingerprint for embedder in embedders}) != 1:
            raise ValueError("only the same model can stand in for a model")
        self._embedders = list(embedders)
        self._rests_until = [0.0] * len(embedders)
        self._clock = clock

    @property
    def model(self) -> ModelInfo:
        """The model it computes, as the first one names it."""
        return self._embedders[0].model

    @property
    def limits(self) -> BatchLimits:
        """What a request to any of them may hold."""
        return BatchLimits(
            min(embedder.limits.texts for embedder in self._embedders),
            min(embedder.limits.tokens for embedder in self._embedders),
        )

    def requests(self, texts: Sequence[str]) -> list[list[int]]:
        """Part texts into requests that each of them takes."""
        return parted(texts, self.limits)

    def embed(self, texts: Sequence[str], kind: Kind) -> Floats:
        """Ask one after the other until one answers.

        Raises
        ------
        ProviderUnavailableError
            None does: what the first one said, with the shortest wait of all.
        """
        failures: list[ProviderUnavailableError] = []
        for index in self._order():
            try:
                return self._embedders[index].embed(texts, kind)
            except ProviderUnavailableError as exc:
                failures.append(exc)
                wait_s = REST_S if exc.retry_after_s is None else exc.retry_after_s
                self._rests_until[index] = self._clock() + wait_s
        first = failures[0]
        waits = [one.retry_after_s for one in failures if one.retry_after_s is not None]
        raise type(first)(
            first.message, code=first.code, retry_after_s=min(waits, default=None)
        ) from first

    def close(self) -> None:
        """Close idle connections."""
        for embedder in self._embedders:
            embedder.close()

    def _order(self) -> list[int]:
        """Give who is to be asked, those that were not available lately last."""
        now = self._clock()
        return sorted(range(len(self._embedders)), key=lambda one: self._rests_until[one] > now)
