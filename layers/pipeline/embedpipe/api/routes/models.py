"""Models: what there is, and what is loaded."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import Listing, ModelAnswer, WarmUpAnswer
from embedpipe.api.embedding import find_model
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.requests import WarmUpRequest
from embedpipe.errors import EmbedderUnavailableError, NotFoundError, PipelineError

models = Noun("models")


@models.get("/embeddings/models", "List the models", answer=Listing[ModelAnswer])
def list_models(call: Call) -> Reply:
    """List all models by id; `loaded` is null while no embed worker answers."""
    default = call.services.settings.default_model_id
    loaded = _loaded(call)
    items = [
        ModelAnswer.of(
            model,
            is_default=model.model_id == default,
            loaded=None if loaded is None else model.model_id in loaded,
        )
        for model in call.services.models.all()
    ]
    return Reply(Listing[ModelAnswer](items=items, cursor=None))


@models.post(
    "/embeddings/models/warmup",
    "Load a model",
    body=WarmUpRequest,
    answer=WarmUpAnswer,
    also={HTTPStatus.ACCEPTED: WarmUpAnswer},
    errors=(HTTPStatus.NOT_FOUND,),
    is_for_admins=True,
)
def warm_up_model(call: Call, body: WarmUpRequest) -> Reply:
    """Load a model into the embed worker that answers; 202 while it is being loaded still."""
    if find_model(call, body.model_id, "model_id").provider != body.provider:
        raise NotFoundError(
            "The provider has no such model.", code="MODEL_NOT_FOUND", field="provider"
        )
    if call.services.embedder is None:
        raise EmbedderUnavailableError
    try:
        done = call.services.embedder.warm_up(body.provider, body.model_id)
    except NotFoundError:
        # It is in our catalogue, and not in the worker's: a deployment half done.
        raise EmbedderUnavailableError(
            "The embedder has no such model.", code="MODEL_UNAVAILABLE"
        ) from None
    act = call.act("model.warm_up", f"{body.provider}/{body.model_id}")
    call.services.database.audits.write(act, done.state)
    status = HTTPStatus.ACCEPTED if done.state == "loading" else HTTPStatus.OK
    return Reply(WarmUpAnswer.model_validate(done), status)


def _loaded(call: Call) -> set[str] | None:
    if call.services.embedder is None:
        return None
    try:
        return {held.model_id for held in call.services.embedder.models()}
    except PipelineError:
        return None
