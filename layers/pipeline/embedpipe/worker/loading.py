"""Models that somebody waits for: loaded in threads of their own, so that waiting has an end."""

from __future__ import annotations

import time
from concurrent.futures import Future
from threading import Lock, Thread

from embedpipe.errors import EmbedderUnavailableError
from embedpipe.ports import Embedder, Embedders

_RETRY_AFTER_S = 10.0


class Loader:
    """Gives loaded models, or says that one is being loaded."""

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders
        self._under_way: dict[str, Future[Embedder]] = {}
        self._lock = Lock()

    def is_loaded(self, model_id: str) -> bool:
        """Say whether it is in memory."""
        return any(one.model_id == model_id for one in self._embedders.loaded())

    def load(self, model_id: str, timeout_s: float) -> tuple[Embedder, float]:
        """Give a model and the seconds that it took; loading goes on when the time is over.

        Raises
        ------
        EmbedderUnavailableError
            MODEL_LOADING: it takes longer.
        ModelUnavailableError, NotFoundError
            It cannot be loaded.
        """
        start = time.monotonic()
        if self.is_loaded(model_id):
            embedder = self._embedders.get(model_id)
        else:
            try:
                embedder = self._loading(model_id).result(max(timeout_s, 0.0))
            except TimeoutError:
                raise EmbedderUnavailableError(
                    "the model is being loaded",
                    code="MODEL_LOADING",
                    retry_after_s=_RETRY_AFTER_S,
                ) from None
        return embedder, time.monotonic() - start

    def _loading(self, model_id: str) -> Future[Embedder]:
        with self._lock:
            future = self._under_way.get(model_id)
            if future is None:
                future = self._under_way[model_id] = Future()
                Thread(target=self._run, args=(model_id, future), name="load", daemon=True).start()
        return future

    def _run(self, model_id: str, future: Future[Embedder]) -> None:
        try:
            embedder = self._embedders.get(model_id)
        # Whoever waits gets it, whatever it is.
        except BaseException as error:  # noqa: BLE001
            outcome: Embedder | BaseException = error
        else:
            outcome = embedder
        with self._lock:
            del self._under_way[model_id]
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
