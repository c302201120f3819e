"""A synchronous embedder without a worker."""

from __future__ import annotations

from collections.abc import Sequence

from embedpipe.adapters.memory.models import FakeEmbedder, FakeTokenizer
from embedpipe.errors import NotFoundError, RejectedInputsError
from embedpipe.ports.models import Kind, ModelInfo
from embedpipe.ports.synchronous import Embedded, HeldModel, Inputs, WarmUp
from embedpipe.stages.dimensions import offered_dimensions


class FakeSynchronousEmbedder:
    """Computes with the fakes. A model is loaded by its first use.

    Attributes
    ----------
    error
        Raised by whatever is asked next, and from then on.
    asked
        Tenant, model and number of inputs of every call, in order.
    """

    def __init__(self, *known: ModelInfo) -> None:
        self._known = {model.model_id: model for model in known}
        self._loaded: dict[str, ModelInfo] = {}
        self.error: Exception | None = None
        self.asked: list[tuple[str, str, int]] = []

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
        """Compute some inputs now."""
        del timeout_s
        self._raise()
        from embedpipe.domain.pooling import shorten

        self.asked.append((tenant_id, model.model_id, len(inputs)))
        prefix = model.query_prefix if kind == "query" else model.document_prefix
        ids = [_ids(one, prefix, FakeTokenizer(model)) for one in inputs]
        too_long = [
            {"index": index, "tokens": len(one)}
            for index, one in enumerate(ids)
            if len(one) > model.max_tokens
        ]
        if too_long:
            raise RejectedInputsError(code="INPUT_TOO_LONG", inputs=too_long)
        self._loaded[model.model_id] = model
        width = offered_dimensions(model, dimensions)
        vectors = FakeEmbedder(model).embed(ids)
        if width != model.dimensions:
            vectors = shorten(vectors, width)
        return Embedded(
            model_id=model.model_id,
            fingerprint=model.fingerprint,
            provider=model.provider,
            dimensions=width,
            tokens=[len(one) for one in ids],
            vectors=vectors.astype("<f4").tobytes(),
        )

    def models(self) -> list[HeldModel]:
        """List what was used."""
        self._raise()
        return [HeldModel(model_id, "fp32", "cpu", 1, 0.0) for model_id in self._loaded]

    def warm_up(self, provider: str, model_id: str) -> WarmUp:
        """Load a model."""
        self._raise()
        model = self._known.get(model_id)
        if model is None or model.provider != provider:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND")
        if model.is_remote:
            return WarmUp(model_id, provider, "remote", 0.0)
        was_loaded = model_id in self._loaded
        self._loaded[model_id] = model
        return WarmUp(model_id, provider, "already_loaded" if was_loaded else "loaded", 1.0)

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


def _ids(one: str | Sequence[int], prefix: str, tokenizer: FakeTokenizer) -> list[int]:
    if isinstance(one, str):
        [ids] = tokenizer.encode([prefix + one])
        return ids
    [around] = tokenizer.encode([prefix])
    return [*around[:-1], *one, around[-1]]
