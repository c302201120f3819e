"""From the receivers to the buffer: what is known needs no model, and a model may have to load."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Condition

import numpy as np

from embedpipe.errors import ModelMismatchError, ModelUnavailableError
from embedpipe.worker.context import Context
from embedpipe.worker.device import Device, Devices
from embedpipe.worker.held import Held, Outcome

Decide = Callable[[Held, Outcome, Exception | None], None]


class Arrivals:
    """Takes messages over from the receivers.

    Models are loaded in one thread, so that neither receivers nor streams wait for it. A model that
    cannot be loaded fails its own messages and no others.

    Parameters
    ----------
    decide
        Hands a message on with what is to be done with it.
    """

    def __init__(self, context: Context, devices: Devices, decide: Decide) -> None:
        self._buffer = context.buffer
        self._cache = context.ports.cache
        self._counters = context.counters
        self._devices = devices
        self._decide = decide
        self._waiting: OrderedDict[str, list[tuple[Held, Sequence[int] | None]]] = OrderedDict()
        self._is_closed = False
        self._changed = Condition()

    def put(self, held: Held) -> bool:
        """Take over a message with token ids; False when the worker stops."""
        if held.message is None:
            raise ValueError("a message that could not be read cannot wait for the model")
        if self._is_closed:
            return False
        rows = self._unknown(held)
        if not held.missing:
            self._decide(held, Outcome.SEND, None)
            return True
        model_id = held.message.model_id
        with self._changed:
            # Whoever waits for the model goes first.
            if model_id in self._waiting or not self._devices.is_loaded(model_id):
                if not self._is_closed:
                    self._waiting.setdefault(model_id, []).append((held, rows))
                    self._changed.notify_all()
                return not self._is_closed
        return self._pass_on(held, rows)

    def loop(self) -> None:
        """Load models that messages wait for, until closed."""
        while not self._is_closed:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting)
            self.step()

    def step(self) -> bool:
        """Load a model that messages wait for and pass them on; False when none do."""
        with self._changed:
            model_id = next(iter(self._waiting), None)
        if model_id is None:
            return False
        error: ModelUnavailableError | None = None
        try:
            self._devices.get(model_id)
        except ModelUnavailableError as failure:
            error = failure
        with self._changed:
            waiting = self._waiting.pop(model_id, [])
        for held, rows in waiting:
            if error is not None:
                self._decide(held, Outcome.FAIL, error)
            elif not self._pass_on(held, rows):
                self._decide(held, Outcome.RELEASE, None)
        return True

    def withdraw(self, several: Sequence[Held]) -> list[Held]:
        """Let messages wait for their model no more; give those that did."""
        named = set(map(id, several))
        withdrawn: list[Held] = []
        with self._changed:
            for model_id, waiting in list(self._waiting.items()):
                withdrawn += [held for held, _ in waiting if id(held) in named]
                left = [(held, rows) for held, rows in waiting if id(held) not in named]
                if left:
                    self._waiting[model_id] = left
                else:
                    # Nobody wants the model any more; a load that is under way goes on.
                    del self._waiting[model_id]
        return withdrawn

    def close(self) -> list[Held]:
        """Take nothing more; give back what waited for a model."""
        with self._changed:
            self._is_closed = True
            left = [held for several in self._waiting.values() for held, _ in several]
            self._waiting.clear()
            self._changed.notify_all()
            return left

    def _pass_on(self, held: Held, rows: Sequence[int] | None) -> bool:
        try:
            device = self._device(held)
        except (ModelUnavailableError, ModelMismatchError) as error:
            self._decide(held, Outcome.FAIL, error)
            return True
        return self._buffer.put(held, device, rows)

    def _device(self, held: Held) -> Device:
        if held.message is None:
            raise ModelMismatchError
        device = self._devices.get(held.message.model_id)
        if device.model.fingerprint != held.message.fingerprint:
            # Its files were replaced while it was loaded.
            raise ModelUnavailableError("another version of the model is loaded")
        return device

    def _unknown(self, held: Held) -> Sequence[int] | None:
        """Fill in the vectors that are known; give the rows of the others, None for all."""
        if self._cache is None or held.message is None:
            return None
        message, count = held.message, len(held.token_ids)
        known = self._cache.get_many(message.tenant_id, message.fingerprint, held.token_ids)
        rows = [row for row, vector in enumerate(known) if vector is None]
        self._counters.add(cache_hits=count - len(rows), cache_misses=len(rows))
        for row, vector in enumerate(known):
            if vector is not None:
                if held.vectors is None:
                    held.vectors = np.empty((count, len(vector)), dtype=np.float32)
                held.vectors[row] = vector
        held.missing = len(rows)
        return rows
