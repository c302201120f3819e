"""Vectors for inputs that somebody waits for, from the models that the queues use."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from embedpipe.domain.pooling import shorten
from embedpipe.errors import (
    ConflictError,
    DimensionMismatchError,
    InvalidInputError,
    ModelUnavailableError,
    NotFoundError,
    PermanentError,
    PipelineError,
    RejectedInputsError,
)
from embedpipe.ports import ModelInfo, Models
from embedpipe.ports.models import Kind
from embedpipe.stages.dimensions import offered_dimensions
from embedpipe.worker.admission import Memory, Queue, overloaded
from embedpipe.worker.asked import EmbedAsked
from embedpipe.worker.encoding import Ids, check_lengths, count, encode
from embedpipe.worker.loading import Loader

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats
    from embedpipe.worker.cache import VectorCache

    Results = list[Floats | Exception]

# UTF-8 bytes of a token, about, where only the provider can count.
_BYTES_PER_TOKEN = 4


class Computes(Protocol):
    """Computes token ids here, before what the queues brought."""

    def compute(self, model_id: str, inputs: Sequence[Ids], timeout_s: float) -> Results:
        """Give each input's vector or error; EmbedderUnavailableError when the time is over."""
        ...


class ComputesTexts(Protocol):
    """Has texts computed by a provider."""

    def compute(self, model_id: str, texts: Sequence[str], kind: Kind, timeout_s: float) -> Results:
        """Give each text's vector or error; EmbedderUnavailableError when the time is over."""
        ...


@dataclass(frozen=True)
class Embedded:
    """Vectors of a request, shape (inputs, dimensions), and the tokens of each input."""

    model: ModelInfo
    vectors: Floats
    tokens: list[int]


class SynchronousEmbeddings:
    """Computes a request at once.

    Parameters
    ----------
    remote
        Without it, models of providers are not served.
    clock
        Seconds, for deadlines.
    """

    def __init__(
        self,
        models: Models,
        engine: Computes,
        loader: Loader,
        *,
        memory: Memory,
        remote: ComputesTexts | None = None,
        cache: VectorCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._engine = engine
        self._loader = loader
        self._memory = memory
        self._remote = remote
        self._cache = cache
        self._clock = clock
        self._queue = Queue()

    def embed(self, asked: EmbedAsked, deadline: float) -> Embedded:
        """Give the vectors of some inputs, in order, before the deadline.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND.
        ConflictError
            MODEL_MISMATCH: the model here is another one of that name.
        InvalidInputError
            The model does not take the inputs, or does not give the dimensions.
        TooLargeError
            The answer would be.
        TransientError
            It cannot be computed now, or not in time.
        """
        model = self.model(asked.model_id, asked.fingerprint)
        dimensions = offered_dimensions(model, asked.dimensions)
        with self._memory.for_answer(len(asked.inputs), model.dimensions):
            if model.is_remote:
                vectors, tokens = self._by_provider(asked, model, deadline)
            else:
                vectors, tokens = self._here(asked, model, deadline)
            if dimensions != model.dimensions:
                vectors = shorten(vectors, dimensions)
                _check_directions(vectors)
            return Embedded(model, vectors, tokens)

    def model(self, model_id: str | None, fingerprint: str | None) -> ModelInfo:
        """Find a model by its id or by its fingerprint. Raises as `embed` does."""
        if model_id is not None:
            model = self._models.get(model_id)
            if fingerprint not in (None, model.fingerprint):
                raise ConflictError("the model here is another one", code="MODEL_MISMATCH")
            return model
        try:
            return self._models.find(fingerprint or "")
        except NotFoundError:
            raise ConflictError("no model has that fingerprint", code="MODEL_MISMATCH") from None

    def _here(
        self, asked: EmbedAsked, model: ModelInfo, deadline: float
    ) -> tuple[Floats, list[int]]:
        tokenizer = self._models.tokenizer(model.model_id)
        inputs = encode(asked.inputs, kind=asked.kind, tokenizer=tokenizer)

        def compute(rows: Sequence[int]) -> Results:
            embedder, _ = self._loader.load(model.model_id, self._left_s(deadline))
            if embedder.model.fingerprint != model.fingerprint:
                raise ConflictError("the model here is another one", code="MODEL_MISMATCH")
            wanted = [inputs[row] for row in rows]
            rate, left_s = embedder.tuning.tokens_per_s, self._left_s(deadline)
            with self._queue.waiting(sum(map(len, wanted)), rate, left_s):
                return self._engine.compute(model.model_id, wanted, left_s)

        return self._vectors(asked, model, inputs, compute), [len(ids) for ids in inputs]

    def _by_provider(
        self, asked: EmbedAsked, model: ModelInfo, deadline: float
    ) -> tuple[Floats, list[int]]:
        remote = self._remote
        if remote is None:
            raise NotFoundError("no provider is asked here", code="MODEL_NOT_FOUND")
        texts = [one for one in asked.inputs if isinstance(one, str)]
        if len(texts) < len(asked.inputs):
            raise InvalidInputError(
                "The model's provider takes texts, not tokens.",
                code="TOKENS_NOT_TAKEN",
                field="input",
            )
        tokens = self._counted(texts, asked.kind, model)

        def compute(rows: Sequence[int]) -> Results:
            wanted = [texts[row] for row in rows]
            return remote.compute(model.model_id, wanted, asked.kind, self._left_s(deadline))

        keys = [(asked.kind, text) for text in texts]
        return self._vectors(asked, model, keys, compute), tokens

    def _counted(self, texts: list[str], kind: Kind, model: ModelInfo) -> list[int]:
        if not model.has_tokenizer:
            # Estimates refuse nothing: the provider says what is too long for it.
            return [max(1, len(text.encode()) // _BYTES_PER_TOKEN) for text in texts]
        counts = count(texts, kind, self._models.tokenizer(model.model_id))
        check_lengths(counts, model)
        return counts

    def _vectors(
        self,
        asked: EmbedAsked,
        model: ModelInfo,
        keys: Sequence[Any],
        compute: Callable[[Sequence[int]], Results],
    ) -> Floats:
        """Put together what is known and what has to be computed."""
        # Without a tenant nothing is kept: what one embedded must not show in the time of another.
        cache = self._cache if asked.tenant_id else None
        known: Sequence[Floats | None] = [None] * len(keys)
        if cache is not None:
            known = cache.get_many(asked.tenant_id, model.fingerprint, keys)
        missing = [row for row, vector in enumerate(known) if vector is None]
        vectors = np.empty((len(keys), model.dimensions), dtype=np.float32)
        for row, vector in enumerate(known):
            if vector is not None:
                vectors[row] = vector
        if missing:
            results = compute(missing)
            _raise_failures(results, missing)
            vectors[missing] = np.stack([one for one in results if not isinstance(one, Exception)])
            if cache is not None:
                fresh = [keys[row] for row in missing]
                cache.put_many(asked.tenant_id, model.fingerprint, fresh, vectors[missing])
        return vectors

    def _left_s(self, deadline: float) -> float:
        left_s = deadline - self._clock()
        if left_s <= 0:
            raise overloaded("the time is over", retry_after_s=5.0)
        return left_s


def _check_directions(vectors: Floats) -> None:
    """Refuse what the numbers that were cut off were all there was to."""
    lost = [int(row) for row in np.flatnonzero(~vectors.any(axis=1))]
    if lost:
        raise RejectedInputsError(
            f"{len(lost)} inputs have no vector of so few dimensions.",
            inputs=[{"index": row} for row in lost],
        )


def _raise_failures(results: Results, rows: Sequence[int]) -> None:
    failed = [(row, one) for row, one in zip(rows, results, strict=True) if _is_error(one)]
    if any(isinstance(one, DimensionMismatchError) for _, one in failed):
        # The catalogue is wrong about the model: no input is to blame.
        raise ModelUnavailableError("the model gives vectors of other dimensions than it should")
    rejected = [row for row, one in failed if isinstance(one, PermanentError)]
    if rejected:
        raise RejectedInputsError(
            f"{len(rejected)} inputs cannot be computed by the model or its provider.",
            inputs=[{"index": row} for row in rejected],
        )
    for _, error in failed:
        raise error if isinstance(error, PipelineError) else PipelineError("the model failed")


def _is_error(result: object) -> bool:
    return isinstance(result, Exception)
