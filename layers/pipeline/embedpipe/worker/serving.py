"""What the internal endpoint answers: vectors, models, warm-ups."""

from __future__ import annotations

import base64
from dataclasses import asdict

from starlette.responses import JSONResponse, Response

from embedpipe.errors import BlobsUnavailableError, EmbedderUnavailableError, NotFoundError
from embedpipe.ports import Embedders, ModelInfo, Models, RemoteEmbedders
from embedpipe.worker.asked import EmbedAsked, WarmUpAsked
from embedpipe.worker.loading import Loader
from embedpipe.worker.synchronous import SynchronousEmbeddings


class Serving:
    """Answers requests, each in a thread of its own. `arrived` is when one came, monotonic."""

    def __init__(
        self,
        embeddings: SynchronousEmbeddings,
        *,
        models: Models,
        embedders: Embedders,
        loader: Loader,
        remotes: RemoteEmbedders | None = None,
    ) -> None:
        self._embeddings = embeddings
        self._models = models
        self._embedders = embedders
        self._loader = loader
        self._remotes = remotes

    def embed(self, body: bytes, arrived: float) -> Response:
        """Answer POST /embed."""
        asked = EmbedAsked.model_validate_json(body)
        done = self._embeddings.embed(asked, arrived + asked.timeout_s)
        return JSONResponse(
            {
                "model_id": done.model.model_id,
                "fingerprint": done.model.fingerprint,
                "provider": done.model.provider,
                "dimensions": done.vectors.shape[1],
                "tokens": done.tokens,
                "vectors": base64.b64encode(done.vectors.astype("<f4").tobytes()).decode("ascii"),
            }
        )

    def models(self, body: bytes, arrived: float) -> Response:
        """Answer GET /models: all there are, and how those are held that are in memory.

        Only the latter while the bucket cannot be read: they are what the API asks for.
        """
        del body, arrived
        loaded = {one.model_id: asdict(one) for one in self._embedders.loaded()}
        try:
            models = self._models.all()
        except BlobsUnavailableError:
            models = [self._models.get(model_id) for model_id in sorted(loaded)]
        listed = [_described(model) | {"loaded": loaded.get(model.model_id)} for model in models]
        return JSONResponse({"models": listed})

    def warm_up(self, body: bytes, arrived: float) -> Response:
        """Answer POST /models/warmup; 202 while the model is being loaded."""
        del arrived
        asked = WarmUpAsked.model_validate_json(body)
        model = self._models.get(asked.model_id)
        if model.provider != asked.provider:
            raise NotFoundError("the provider has no such model", code="MODEL_NOT_FOUND")
        if model.is_remote:
            return JSONResponse(_warmed(model, self._remote_state(model.model_id), 0.0))
        was_loaded = self._loader.is_loaded(asked.model_id)
        try:
            _, seconds = self._loader.load(asked.model_id, asked.timeout_s)
        except EmbedderUnavailableError as error:
            if error.code != "MODEL_LOADING":
                raise
            return JSONResponse(_warmed(model, "loading", asked.timeout_s), status_code=202)
        state = "already_loaded" if was_loaded else "loaded"
        return JSONResponse(_warmed(model, state, seconds))

    def _remote_state(self, model_id: str) -> str:
        """Make sure that its provider could be asked; that has nothing to load."""
        if self._remotes is None:
            raise NotFoundError("no provider is asked here", code="MODEL_NOT_FOUND")
        self._remotes.get(model_id)
        return "remote"


def _described(model: ModelInfo) -> dict[str, object]:
    return {
        "model_id": model.model_id,
        "provider": model.provider,
        "fingerprint": model.fingerprint,
        "dimensions": model.dimensions,
        "max_tokens": model.max_tokens,
        "matryoshka_dimensions": list(model.matryoshka_dimensions),
    }


def _warmed(model: ModelInfo, state: str, seconds: float) -> dict[str, object]:
    return {
        "model_id": model.model_id,
        "provider": model.provider,
        "fingerprint": model.fingerprint,
        "state": state,
        "milliseconds": round(seconds * 1000, 1),
    }
