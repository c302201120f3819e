"""What the internal endpoint is asked."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_INPUTS = 2048

Id = Annotated[int, Field(ge=0, lt=2**31)]
Ids = Annotated[list[Id], Field(min_length=1)]
ModelId = Annotated[str, Field(min_length=1, max_length=128)]
#: Below the 30 s after which a load balancer or API Gateway gives up waiting; more for others.
Timeout = Annotated[float, Field(gt=0, le=600)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EmbedAsked(_Body):
    """The body of POST /embed.

    The model is named by its id, or by its fingerprint alone; given both, they must belong
    together. Inputs are texts, or the model's own token ids without special tokens.
    """

    model_id: ModelId | None = None
    fingerprint: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    inputs: (
        Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=MAX_INPUTS)]
    )
    kind: Literal["query", "document"] = "document"
    dimensions: int | None = Field(default=None, ge=1)
    tenant_id: str = Field(default="", max_length=128)
    timeout_s: Timeout = 25.0

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.model_id is None and self.fingerprint is None:
            raise ValueError("model_id or fingerprint")
        return self


class WarmUpAsked(_Body):
    """The body of POST /models/warmup."""

    provider: str = Field(min_length=1, max_length=128)
    model_id: ModelId
    timeout_s: Timeout = 25.0
