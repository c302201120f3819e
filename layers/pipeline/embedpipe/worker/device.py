"""Loaded models, as the streams use them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from embedpipe.errors import BadVectorError, EmbedderUnavailableError, ModelUnavailableError
from embedpipe.ports import Embedder, Embedders, ModelInfo, Models
from embedpipe.stages.embed import Ids, encode_document
from embedpipe.worker.counters import Counters

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

_SMALLEST_BUDGET = 16
# After so many batches without a memory error the budget is tried twice as large again.
_BATCHES_TO_RECOVER = 256
# float16 arithmetic gives lengths within 1e-3 of 1.
_UNIT_TOLERANCE = 5e-3


class Device:
    """One loaded model: counted, timed, with a budget that fits its memory. Threads share it.

    Parameters
    ----------
    known_good
        An input that it can compute. It is computed at once, and tells later whether the device
        still works.
    max_batch_tokens
        The budget, where it is not the one that was measured.

    Raises
    ------
    Exception
        Whatever the runtime raises: nothing can be computed.
    """

    def __init__(
        self,
        embedder: Embedder,
        known_good: Ids,
        counters: Counters,
        *,
        max_batch_tokens: int | None = None,
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._embedder = embedder
        self._known_good = known_good
        self._counters = counters
        self._seconds = seconds
        self.tuning = embedder.tuning
        self.overhead_tokens = self.tuning.overhead_tokens
        #: Padded tokens of a batch.
        self.budget = self._full_budget = max_batch_tokens or self.tuning.max_batch_tokens
        self._since_memory_error = 0
        self._is_unit = False
        started = seconds()
        length = float(np.linalg.norm(self._computed([known_good])))
        self.warm_up_s = seconds() - started
        # Some models do not normalize. One that does must do so always.
        self._is_unit = abs(length - 1.0) <= _UNIT_TOLERANCE

    @property
    def model(self) -> ModelInfo:
        """The model that is loaded."""
        return self._embedder.model

    def has(self, embedder: Embedder) -> bool:
        """Say whether it is this one that it uses."""
        return self._embedder is embedder

    def is_sound(self) -> bool:
        """Say whether it still computes what it computed at its start."""
        try:
            self._computed([self._known_good])
        except (KeyboardInterrupt, SystemExit):
            raise
        # A Rust panic derives from BaseException.
        except BaseException:  # noqa: BLE001
            return False
        return True

    def embed(self, inputs: Sequence[Ids], *, urgent: bool = False) -> Floats:
        """Compute one inference batch.

        Returns
        -------
        Shape (inputs, dimensions), float32.
        """
        start = self._seconds()
        is_done = False
        try:
            vectors = self._computed(inputs)
            is_done = True
        finally:
            self._count(inputs, self._seconds() - start, is_done=is_done, urgent=urgent)
        return vectors

    def shrink(self) -> None:
        """Note that a batch had not enough memory."""
        self.budget = max(self.budget // 2, _SMALLEST_BUDGET)
        self._since_memory_error = 0

    def recover(self) -> None:
        """Note that a batch is over."""
        self._since_memory_error += 1
        if self.budget < self._full_budget and self._since_memory_error >= _BATCHES_TO_RECOVER:
            self.budget = min(self.budget * 2, self._full_budget)
            self._since_memory_error = 0

    def _computed(self, inputs: Sequence[Ids]) -> Floats:
        vectors = self._embedder.embed(inputs)
        if vectors.shape != (len(inputs), self.model.dimensions):
            raise RuntimeError("the model gave vectors of another shape than it promises")
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        # Said this way round, NaN is refused as well.
        good = (lengths > 0) & (lengths < math.inf)
        if self._is_unit:
            good &= np.abs(lengths - 1.0) <= _UNIT_TOLERANCE
        if not good.all():
            raise BadVectorError
        return vectors

    def _count(self, inputs: Sequence[Ids], embed_s: float, *, is_done: bool, urgent: bool) -> None:
        self._counters.add(passes=1, sync_passes=int(urgent), embed_s=embed_s)
        if not is_done:
            self._counters.add(failed_passes=1)
            return
        lengths = [len(ids) for ids in inputs]
        self._counters.add(
            chunks=len(lengths), tokens=sum(lengths), padded_tokens=len(lengths) * max(lengths)
        )


class Devices:
    """One device for each loaded model."""

    def __init__(
        self,
        embedders: Embedders,
        models: Models,
        counters: Counters,
        *,
        max_batch_tokens: int | None = None,
    ) -> None:
        self._embedders = embedders
        self._models = models
        self._counters = counters
        self._max_batch_tokens = max_batch_tokens
        self._devices: dict[str, Device] = {}
        self._lock = Lock()

    def is_loaded(self, model_id: str) -> bool:
        """Say whether `get` gives it without loading it."""
        return any(one.model_id == model_id for one in self._embedders.loaded())

    def get(self, model_id: str) -> Device:
        """Give one; loads the model where it is not loaded.

        Raises
        ------
        ModelUnavailableError
            It cannot be loaded, or computes nothing.
        """
        try:
            embedder = self._embedders.get(model_id)
            device = self._devices.get(model_id)
            if device is None or not device.has(embedder):
                device = self._made(embedder)
        except (KeyboardInterrupt, SystemExit, ModelUnavailableError):
            raise
        # Files, memory, the runtime: it is the model's, and says nothing about a message.
        except BaseException as error:
            raise ModelUnavailableError("the model cannot be loaded") from error
        return device

    def describe(self) -> list[dict[str, object]]:
        """Say what is loaded, and how it is computed."""
        return [asdict(one) | self._described(one.model_id) for one in self._embedders.loaded()]

    def unload_idle(self) -> Sequence[str]:
        """Unload models that have been idle for long; give their ids."""
        unloaded = self._embedders.unload_idle()
        self.forget_unloaded()
        return unloaded

    def forget_unloaded(self) -> None:
        """Let go of models that are not loaded any more; whoever uses one goes on."""
        loaded = {one.model_id for one in self._embedders.loaded()}
        with self._lock:
            for model_id in self._devices.keys() - loaded:
                del self._devices[model_id]

    def check(self, device: Device, default_model_id: str) -> None:
        """Make sure that what failed was the fault of an input.

        Raises
        ------
        ModelUnavailableError
            The model does not compute any more what it did.
        EmbedderUnavailableError
            No model does.
        """
        if device.is_sound():
            return
        other = self._devices.get(default_model_id)
        if other is not None and other is not device and other.is_sound():
            raise ModelUnavailableError("the model fails on an input that it has computed")
        raise EmbedderUnavailableError("the device fails on an input that it has computed")

    def _described(self, model_id: str) -> dict[str, object]:
        device = self._devices.get(model_id)
        if device is None:
            return {}
        return {"max_batch_tokens": device.budget}

    def _made(self, embedder: Embedder) -> Device:
        model_id = embedder.model.model_id
        device = Device(
            embedder,
            encode_document("warm-up", self._models.tokenizer(model_id)),
            self._counters,
            max_batch_tokens=self._max_batch_tokens,
        )
        self.forget_unloaded()
        with self._lock:
            self._devices[model_id] = device
        return device
