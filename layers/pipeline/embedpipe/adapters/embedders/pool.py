"""Several models in one process, loaded when first asked for, bounded by number and memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from weakref import ReferenceType, ref

from embedpipe.errors import ModelUnavailableError, NotFoundError, PipelineError
from embedpipe.ports.models import Embedder, LoadedModel

# A model that cannot be loaded is asked for by every message of it: reading its files each time
# would keep the disk busy and the other models waiting.
FAILURE_REMEMBERED_S = 10.0


@dataclass(frozen=True)
class Loaded:
    """What loading gave. `memory_bytes` is what it takes, about."""

    embedder: Embedder
    precision: str
    device: str
    memory_bytes: int


@dataclass
class _Entry:
    loaded: Loaded
    used_at: float


@dataclass(frozen=True)
class _Left:
    """What was forgotten here and may still be in use elsewhere."""

    embedder: ReferenceType[Embedder]
    precision: str
    device: str
    memory_bytes: int


@dataclass(frozen=True)
class _Failure:
    error: PipelineError
    at: float


class ModelPool:
    """Embedders by model id. What was not asked for longest makes room for another.

    A model is loaded outside the lock, so that loaded ones are given out meanwhile; whoever asks
    for one that is being loaded waits for that. One that had to make room while somebody uses it is
    taken back, not loaded again: otherwise models in turn would be in memory any number of times.

    Parameters
    ----------
    load
        Loads a model; may raise anything.
    expect
        Gives what a model will take, about, so that room is made before it is loaded; None: it is
        known only afterwards, and memory may pass the limit by one model meanwhile.
    unload_timeout_s
        What was not asked for so long is forgotten by `unload_idle`.
    clock
        Seconds.
    """

    def __init__(
        self,
        load: Callable[[str], Loaded],
        *,
        expect: Callable[[str], int] | None = None,
        max_models: int = 5,
        max_memory_bytes: int = 24_000_000_000,
        unload_timeout_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._expect = expect
        self._max_models = max_models
        self._max_memory_bytes = max_memory_bytes
        self._unload_timeout_s = unload_timeout_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._left: dict[str, _Left] = {}
        self._failures: dict[str, _Failure] = {}
        self._loading: set[str] = set()
        # Of those, the ones that have room, with what they are expected to take.
        self._reserved: dict[str, int] = {}
        self._changed = Condition()

    def get(self, model_id: str) -> Embedder:
        """Give one, loaded; what was not used for longest makes room for it.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND, or it is computed by a service.
        ModelUnavailableError
            It cannot be loaded; said again for some seconds without trying.
        """
        with self._changed:
            while (found := self._found(model_id)) is None and model_id in self._loading:
                self._changed.wait()
            if found is not None:
                return found
            self._loading.add(model_id)
        try:
            loaded = self._loaded(model_id)
        except BaseException as exc:
            self._settle(model_id, failed=_translated(exc))
            if isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
            # What a Rust library panics with derives from BaseException as well.
            raise _translated(exc) from exc
        self._settle(model_id, loaded)
        return loaded.embedder

    def loaded(self) -> list[LoadedModel]:
        """List what is in memory, the last used first."""
        with self._changed:
            now = self._clock()
            return [_described(entry, now) for entry in reversed(self._entries.values())]

    def unload_idle(self) -> list[str]:
        """Forget what was not used for the unload timeout; give the ids."""
        with self._changed:
            latest = self._clock() - self._unload_timeout_s
            idle = [model_id for model_id, one in self._entries.items() if one.used_at <= latest]
            for model_id in idle:
                self._leave(model_id)
            self._changed.notify_all()
        return idle

    def _found(self, model_id: str) -> Embedder | None:
        """Give one that is loaded. Raises what its last load failed with, if that was just now."""
        entry = self._entries.get(model_id)
        if entry is not None:
            entry.used_at = self._clock()
            self._entries.move_to_end(model_id)
            return entry.loaded.embedder
        if model_id not in self._loading and (taken_back := self._taken_back(model_id)):
            return taken_back
        failure = self._failures.get(model_id)
        if failure is not None and self._clock() - failure.at < FAILURE_REMEMBERED_S:
            # A new one each time: threads that raise the same one add to its traceback.
            raise type(failure.error)(failure.error.message, code=failure.error.code)
        return None

    def _taken_back(self, model_id: str) -> Embedder | None:
        left = self._left.get(model_id)
        embedder = left.embedder() if left else None
        if left is None or embedder is None:
            return None
        self._make_room(left.memory_bytes)
        loaded = Loaded(embedder, left.precision, left.device, left.memory_bytes)
        self._entries[model_id] = _Entry(loaded, self._clock())
        return embedder

    def _leave(self, model_id: str) -> None:
        loaded = self._entries.pop(model_id).loaded
        self._left[model_id] = _Left(
            ref(loaded.embedder), loaded.precision, loaded.device, loaded.memory_bytes
        )

    def _loaded(self, model_id: str) -> Loaded:
        expected = self._expect(model_id) if self._expect else 0
        self._check_size(expected)
        with self._changed:
            self._changed.wait_for(lambda: self._make_room(expected))
            self._reserved[model_id] = expected
        loaded = self._load(model_id)
        self._check_size(loaded.memory_bytes)
        return loaded

    def _settle(
        self, model_id: str, loaded: Loaded | None = None, *, failed: PipelineError | None = None
    ) -> None:
        with self._changed:
            self._loading.discard(model_id)
            self._reserved.pop(model_id, None)
            self._failures.pop(model_id, None)
            if failed is not None:
                self._failures[model_id] = _Failure(failed, self._clock())
            if loaded is not None:
                self._make_room(loaded.memory_bytes)
                self._entries[model_id] = _Entry(loaded, self._clock())
            self._changed.notify_all()

    def _make_room(self, memory_bytes: int) -> bool:
        """Forget the least recently used until it fits; False while what others load bars it."""
        while not (fits := self._fits(memory_bytes)) and self._entries:
            self._leave(next(iter(self._entries)))
        return fits

    def _fits(self, memory_bytes: int) -> bool:
        held = sum(entry.loaded.memory_bytes for entry in self._entries.values())
        taken = held + sum(self._reserved.values()) + memory_bytes
        number = len(self._entries) + len(self._reserved) + 1
        return number <= self._max_models and taken <= self._max_memory_bytes

    def _check_size(self, memory_bytes: int) -> None:
        if memory_bytes > self._max_memory_bytes:
            raise ModelUnavailableError(
                f"the model takes {memory_bytes / 1e9:.1f} GB, "
                f"and models may take {self._max_memory_bytes / 1e9:.1f} GB"
            )


def _translated(exc: BaseException) -> PipelineError:
    if isinstance(exc, NotFoundError | ModelUnavailableError):
        return exc
    # What a library says may quote paths of the host: it stays in the log, as the cause.
    reason = exc.message if isinstance(exc, PipelineError) else type(exc).__name__
    return ModelUnavailableError(f"the model cannot be loaded: {reason}")


def _described(entry: _Entry, now: float) -> LoadedModel:
    loaded = entry.loaded
    return LoadedModel(
        model_id=loaded.embedder.model.model_id,
        fingerprint=loaded.embedder.model.fingerprint,
        precision=loaded.precision,
        device=loaded.device,
        memory_bytes=loaded.memory_bytes,
        idle_s=now - entry.used_at,
        tuning=loaded.embedder.tuning,
    )
