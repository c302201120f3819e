"""Circuit breakers of providers."""

from __future__ import annotations

from embedpipe.api.answers import BreakerAnswer, Listing
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.errors import NotFoundError

breakers = Noun("circuit breakers")


@breakers.get(
    "/embeddings/circuit-breakers",
    "List the circuit breakers",
    answer=Listing[BreakerAnswer],
    is_for_admins=True,
)
def list_circuit_breakers(call: Call) -> Reply:
    """List the providers by name, each with its breaker's state, which all workers share."""
    found = {one.provider: one for one in call.services.database.breakers.all()}
    for provider in call.services.models.providers() - set(found):
        found[provider] = call.services.database.breakers.get(provider)
    items = [BreakerAnswer.model_validate(found[provider]) for provider in sorted(found)]
    return Reply(Listing[BreakerAnswer](items=items, cursor=None))


@breakers.post(
    "/embeddings/circuit-breakers/{provider}/reset",
    "Close a circuit breaker",
    answer=BreakerAnswer,
    is_for_admins=True,
)
def reset_circuit_breaker(call: Call, provider: str) -> Reply:
    """Have a provider asked again at once."""
    act = call.act("breaker.reset", provider)
    has_failed = call.services.database.breakers.reset(provider, act)
    if not has_failed and provider not in call.services.models.providers():
        raise NotFoundError(
            "There is no such provider.", code="PROVIDER_NOT_FOUND", field="provider"
        )
    return Reply(BreakerAnswer.model_validate(call.services.database.breakers.get(provider)))
