from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from embedpipe.adapters.embedders.remote.fallback import REST_S, FallbackEmbedder
from embedpipe.adapters.embedders.remote.http import KeyRefusedError
from embedpipe.adapters.memory.models import fake_model
from embedpipe.errors import (
    DimensionMismatchError,
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from embedpipe.models.known import BatchLimits
from embedpipe.ports.models import Kind
from numpy.typing import NDArray


class Remote:
    """Gives ones, or raises what `error` holds."""

    def __init__(self, *, fingerprint: str = "f", texts: int = 10, tokens: int = 100) -> None:
        self.model = fake_model("m", fingerprint=fingerprint, dimensions=1)
        self.limits = BatchLimits(texts, tokens)
        self.error: Exception | None = None
        self.calls = 0

    def requests(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(range(len(texts)))]

    def embed(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return np.ones((len(texts), 1), dtype=np.float32)

    def close(self) -> None:
        """Hold nothing."""


def test_another_model_never_stands_in() -> None:
    with pytest.raises(ValueError, match="only the same model"):
        FallbackEmbedder([Remote(), Remote(fingerprint="g")])


def test_requests_fit_all_of_them() -> None:
    embedder = FallbackEmbedder([Remote(texts=2), Remote(tokens=3)])

    assert embedder.limits == BatchLimits(2, 3)
    assert embedder.requests(["a", "b", "c"]) == [[0, 1], [2]]


@pytest.mark.parametrize("error", [ProviderUnavailableError, ProviderRefusedError, KeyRefusedError])
def test_the_next_is_asked_when_one_is_not_available(error: type[Exception]) -> None:
    first, second = Remote(), Remote()
    first.error = error()

    FallbackEmbedder([first, second]).embed(["a"], "document")

    assert (first.calls, second.calls) == (1, 1)


@pytest.mark.parametrize("error", [ProviderRejectedError, DimensionMismatchError, RuntimeError])
def test_no_other_is_asked_for_what_one_rejects(error: type[Exception]) -> None:
    first, second = Remote(), Remote()
    first.error = error()

    with pytest.raises(error):
        FallbackEmbedder([first, second]).embed(["a"], "document")

    assert second.calls == 0


def test_the_first_is_asked_again_after_its_rest() -> None:
    now = [1000.0]
    first, second = Remote(), Remote()
    first.error = ProviderUnavailableError()
    embedder = FallbackEmbedder([first, second], clock=lambda: now[0])
    embedder.embed(["a"], "document")
    first.error = None

    now[0] += REST_S - 1
    embedder.embed(["a"], "document")
    resting = first.calls
    now[0] += 2
    embedder.embed(["a"], "document")

    assert (resting, first.calls, second.calls) == (1, 2, 2)


def test_all_are_tried_when_all_rest() -> None:
    first, second = Remote(), Remote()
    first.error = ProviderUnavailableError(retry_after_s=60)
    second.error = ProviderUnavailableError(retry_after_s=30)
    embedder = FallbackEmbedder([first, second])
    with pytest.raises(ProviderUnavailableError):
        embedder.embed(["a"], "document")
    first.error = None

    assert embedder.embed(["a"], "document").shape == (1, 1)


@pytest.mark.parametrize(
    ("waits", "expected"), [((None, None), None), ((9.0, None), 9.0), ((9.0, 4.0), 4.0)]
)
def test_when_none_is_available_the_first_ones_error_is_raised(
    waits: tuple[float | None, float | None], expected: float | None
) -> None:
    first, second = Remote(), Remote()
    first.error = ProviderRefusedError("first", retry_after_s=waits[0])
    second.error = ProviderUnavailableError("second", retry_after_s=waits[1])

    with pytest.raises(ProviderRefusedError, match="first") as raised:
        FallbackEmbedder([first, second]).embed(["a"], "document")

    assert raised.value.retry_after_s == expected
