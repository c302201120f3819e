"""Port to vectors that somebody waits for, from the embed worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from embedpipe.ports.models import Kind, ModelInfo

#: Texts, or the model's own token ids without special tokens; never both.
Inputs = Sequence[str] | Sequence[Sequence[int]]
#: `remote`: a provider computes it, and there is nothing to load.
WarmUpState = Literal["loaded", "already_loaded", "loading", "remote"]


@dataclass(frozen=True)
class Embedded:
    """The vectors of some inputs, in order.

    Attributes
    ----------
    provider
        Who computed them.
    tokens
        Tokens of each input, prefix and special tokens included; estimates where only the
        provider can count.
    vectors
        Float32, little-endian, `dimensions` numbers per input, unit length.
    """

    model_id: str
    fingerprint: str
    provider: str
    dimensions: int
    tokens: list[int]
    vectors: bytes


@dataclass(frozen=True)
class HeldModel:
    """A model in the memory of the worker that answered."""

    model_id: str
    precision: str
    device: str
    memory_bytes: int
    idle_s: float


@dataclass(frozen=True)
class WarmUp:
    """A model's state, and how long it took to come to it."""

    model_id: str
    provider: str
    state: WarmUpState
    milliseconds: float


class SynchronousEmbedder(Protocol):
    """A running embed worker. Threads may share it."""

    def embed(
        self,
        model: ModelInfo,
        inputs: Inputs,
        *,
        kind: Kind = "document",
        dimensions: int | None = None,
        tenant_id: str = "",
        timeout_s: float | None = None,
    ) -> Embedded:
        """Compute some inputs now.

        Parameters
        ----------
        dimensions
            What the vectors are to be cut to; the model's own if None.
        timeout_s
            How long to wait; the adapter's own limit if None.

        Raises
        ------
        RejectedInputsError
            INPUT_TOO_LONG or INPUT_REJECTED, with the inputs that cannot be computed.
        InvalidInputError
            DIMENSIONS_NOT_OFFERED, UNKNOWN_TOKEN, TOKENS_NOT_TAKEN.
        TransientError
            Nothing answers in time, or what answers cannot compute this model now.
        """
        ...

    def models(self) -> list[HeldModel]:
        """List what is in memory. Raises EmbedderUnavailableError."""
        ...

    def warm_up(self, provider: str, model_id: str) -> WarmUp:
        """Load a model, or find it being loaded still when the time is over.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND: the worker has no such model.
        TransientError
            Nothing answers, or it cannot be loaded.
        """
        ...
