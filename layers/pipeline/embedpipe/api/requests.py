"""What the operations accept. Strict: no value is coerced, no field is ignored."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from embedpipe.api.fields import (
    MAX_DIMENSIONS,
    CollectionName,
    Content,
    Cursor,
    Dimensions,
    DimensionsParameter,
    DocumentId,
    EfSearch,
    Flag,
    Limit,
    Metadata,
    ModelId,
    Overlap,
    Priority,
    Query,
    Size,
    StatusName,
    TopK,
)
from embedpipe.api.inputs import Input, Inputs
from embedpipe.errors import InvalidInputError


class Shape(BaseModel):
    """A strict request."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class ChunkingRequest(Shape):
    """How the document is cut. What is left out follows from the collection's model."""

    size: Size | None = Field(
        default=None,
        description="Largest chunk. In tokens it counts the model's special tokens and is at most "
        "what the model takes; 256 if left out.",
    )
    overlap: Overlap | None = Field(
        default=None,
        description="What neighbouring chunks share; 32, or an eighth of a smaller size, if left "
        "out.",
    )
    unit: Literal["tokens", "chars"] | None = Field(
        default=None,
        description="tokens if left out; chars for a model whose tokens only its provider can "
        "count.",
    )

    @model_validator(mode="after")
    def _overlap_below_size(self) -> Self:
        if self.size is not None and self.overlap is not None and self.overlap >= self.size:
            raise InvalidInputError(
                "The overlap must be smaller than the size.",
                code="OVERLAP_TOO_LARGE",
                field="chunking.overlap",
            )
        return self


class DocumentRequest(Shape):
    """A document's content and how to process it."""

    content: Content
    content_type: Literal["text/plain", "text/markdown"] = "text/plain"
    metadata: Metadata = Field(default_factory=dict)
    chunking: ChunkingRequest | None = None
    priority: Priority = 50


class SubmitRequest(DocumentRequest):
    """A document to embed."""

    collection: CollectionName = "default"
    document_id: DocumentId | None = None


_ONLY_QUERY: dict[str, JsonValue] = {
    "required": ["query"],
    "properties": {"query": {"type": "string"}, "vector": {"type": "null"}},
}
_ONLY_VECTOR: dict[str, JsonValue] = {
    "required": ["vector"],
    "properties": {"vector": {"type": "array"}, "query": {"type": "null"}},
}


class SearchRequest(Shape):
    """What to look for: either `query` or `vector`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_ONLY_QUERY, _ONLY_VECTOR]})

    query: Query | None = None
    vector: list[float] | None = Field(default=None, min_length=1, max_length=MAX_DIMENSIONS)
    top_k: TopK = 5
    filter: Metadata | None = Field(
        default=None, description="Only documents whose metadata contains this object."
    )
    min_score: float | None = Field(default=None, ge=-1, le=1)
    ef_search: EfSearch | None = None

    @model_validator(mode="after")
    def _query_or_vector(self) -> Self:
        if (self.query is None) == (self.vector is None):
            raise InvalidInputError(
                "Give either a query or a vector.", code="QUERY_OR_VECTOR", field="query"
            )
        return self


class CollectionRequest(Shape):
    """A collection to create; without a model it gets the default one."""

    collection: CollectionName
    model_id: ModelId | None = None
    description: str = Field(default="", max_length=1000)


class EmbeddingsRequest(Shape):
    """What to embed, in the form of OpenAI's API."""

    input: Input
    model: ModelId
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="`base64`: float32, little-endian; half the size."
    )
    dimensions: Dimensions | None = Field(
        default=None, description="One of the model's `matryoshka_dimensions`, or its own."
    )
    user: str | None = Field(default=None, max_length=512, description="Not used.")


class BatchEmbeddingsRequest(Shape):
    """Many inputs to embed."""

    inputs: Inputs
    model: ModelId
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Dimensions | None = None
    collection: CollectionName | None = Field(
        default=None,
        description="Where a job of them keeps its vectors, a collection of this model; `default` "
        "if left out.",
    )


class WarmUpRequest(Shape):
    """A model to load."""

    provider: str = Field(min_length=1, max_length=128, examples=["onnx"])
    model_id: ModelId


class NoQuery(Shape):
    """No query parameters."""


class PageQuery(Shape):
    """Which page of a listing."""

    limit: Limit = 50
    cursor: Cursor | None = None


class JobsQuery(PageQuery):
    """Which jobs."""

    status: StatusName | None = None
    collection: CollectionName | None = None


class EmbeddingsQuery(PageQuery):
    """Which vectors of a job, and in which form."""

    encoding_format: Literal["float", "base64"] = "float"
    dimensions: DimensionsParameter | None = None


class DocumentsQuery(PageQuery):
    """Which documents."""

    include_deleted: Flag = False
