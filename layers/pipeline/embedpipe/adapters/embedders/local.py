"""What embedders of prepared models share: padding, pooling, and checks of what comes out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedpipe.domain.pooling import Floats, normalize, pool
from embedpipe.errors import BadVectorError, PoisonChunkError
from embedpipe.models.directory import Manifest, ModelDirectory
from embedpipe.ports.models import ModelInfo, Tuning

Ints = npt.NDArray[np.int64]

# float16 arithmetic gives lengths within 1e-3 of 1.
UNIT_TOLERANCE = 5e-3


class LocalEmbedder(ABC):
    """A loaded model of a model directory.

    Attributes
    ----------
    device
        Where it computes, such as `cpu`.
    precision
        How its numbers are held and computed, such as `fp32`.
    warm_up_s
        Seconds that the first run took, with an input of `max_tokens`.
    """

    def __init__(
        self, directory: ModelDirectory, *, device: str, precision: str, tuning: Tuning
    ) -> None:
        self._manifest: Manifest = directory.manifest
        self._model = directory.info
        self._tuning = tuning
        self.device = device
        self.precision = precision
        self.warm_up_s = 0.0

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        return self._model

    @property
    def tuning(self) -> Tuning:
        """How it is fastest on this device."""
        return self._tuning

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Compute one inference batch, padded to its longest input.

        Raises
        ------
        PoisonChunkError
            An input is empty or longer than the model takes.
        BadVectorError
            A vector is not finite or not of unit length.
        """
        if not token_ids:
            return np.empty((0, self._model.dimensions), dtype=np.float32)
        ids, mask = self._padded(token_ids)
        output = np.asarray(self._run(ids, mask), dtype=np.float32)
        if not self._manifest.pooling.in_graph:
            output = pool(output, mask, self._manifest.pooling.type)
            output = normalize(output) if self._manifest.normalize else output
        return self._checked(output, len(token_ids))

    @abstractmethod
    def _run(self, ids: Ints, mask: Ints) -> Floats:
        """Give what the graph gives for padded ids, shape (inputs, tokens), and their mask."""

    def _warm_up(self) -> None:
        started = time.perf_counter()
        self.embed([[0] * self._model.max_tokens])
        self.warm_up_s = time.perf_counter() - started

    def _padded(self, token_ids: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
        lengths = np.fromiter(map(len, token_ids), np.int64, len(token_ids))
        longest = int(lengths.max())
        if lengths.min() == 0 or longest > self._model.max_tokens:
            raise PoisonChunkError(f"an input must have 1 to {self._model.max_tokens} tokens")
        ids = np.zeros((len(lengths), longest), dtype=np.int64)
        for row, values in zip(ids, token_ids, strict=True):
            row[: len(values)] = values
        return ids, (np.arange(longest) < lengths[:, np.newaxis]).astype(np.int64)

    def _checked(self, vectors: Floats, count: int) -> Floats:
        if vectors.shape != (count, self._model.dimensions):
            raise BadVectorError(f"the model gave vectors of shape {vectors.shape}")
        lengths = np.linalg.norm(vectors, axis=1)
        # Said this way round, NaN and infinity are refused as well.
        good = np.abs(lengths - 1.0) <= UNIT_TOLERANCE if self._manifest.normalize else lengths > 0
        if not np.all(good & np.isfinite(lengths)):
            raise BadVectorError
        return vectors
