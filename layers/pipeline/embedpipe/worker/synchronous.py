"""Vectors for texts that somebody waits for, from the model that the queue uses."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from embedpipe.domain.batching import plan_batches
from embedpipe.errors import ConflictError, InvalidInputError, PipelineError
from embedpipe.ports import Tokenizer
from embedpipe.stages.embed import embed_each, encode_document, encode_query
from embedpipe.worker.device import Device

_MAX_TEXTS = 32


class EmbedTexts(BaseModel):
    """The body of POST /embed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: list[str] = Field(min_length=1, max_length=_MAX_TEXTS)
    kind: Literal["query", "document"] = "document"
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")


class SynchronousEmbeddings:
    """Computes a request at once, before queued inference batches."""

    def __init__(self, device: Device, tokenizer: Tokenizer, *, max_batch_tokens: int) -> None:
        self._device = device
        self._tokenizer = tokenizer
        self._max_batch_tokens = max_batch_tokens

    def embed(self, request: EmbedTexts) -> list[list[float]]:
        """Give the vectors of some texts, in order.

        A query is cut to the longest input of the model, as sentence-transformers does; a document
        is refused instead, as nothing may be left out of it silently.

        Raises
        ------
        ConflictError
            MODEL_MISMATCH: another model is loaded.
        InvalidInputError
            TEXT_TOO_LONG: a document is longer than the model takes.
        PipelineError
            The model cannot compute a text.
        """
        model = self._device.model
        if request.fingerprint != model.fingerprint:
            raise ConflictError("another model is loaded", code="MODEL_MISMATCH")
        encode = encode_query if request.kind == "query" else encode_document
        inputs = [encode(text, self._tokenizer) for text in request.texts]
        if max(map(len, inputs)) > model.max_tokens:
            raise InvalidInputError(
                f"a text has more than {model.max_tokens} tokens",
                code="TEXT_TOO_LONG",
                field="texts",
            )
        return self._compute(inputs)

    def _compute(self, inputs: list[list[int]]) -> list[list[float]]:
        vectors: list[list[float]] = [[] for _ in inputs]
        plan = plan_batches(
            [len(ids) for ids in inputs], max_tokens=self._max_batch_tokens, overhead_tokens=0
        )
        for batch in plan:
            run = partial(self._device.embed, urgent=True)
            results = embed_each([inputs[index] for index in batch], run=run)
            for index, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    raise result if isinstance(result, PipelineError) else PipelineError()
                vectors[index] = result.tolist()
        return vectors
