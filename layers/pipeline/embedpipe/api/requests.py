"""What the operations accept. Strict: no value is coerced, no field is ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from embedpipe.errors import InvalidInputError

COLLECTION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
MAX_QUERY_CHARACTERS = 8192
MAX_DIMENSIONS = 16_000


def document_id(value: str) -> str:
    """Check a document id: it must survive being a path segment, a log line and a message."""
    bad = not value.isprintable() or value != value.strip() or value in (".", "..")
    if bad or "/" in value or "\\" in value:
        raise PydanticCustomError("INVALID_FORMAT", "not a document id")
    return value


def _not_blank(code: Literal["EMPTY_CONTENT", "EMPTY_QUERY"]) -> AfterValidator:
    def check(value: str) -> str:
        if not value or value.isspace():
            raise PydanticCustomError(code, "empty or white space")
        return value

    return AfterValidator(check)


def _integer(value: Any) -> Any:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        return value
    # Python refuses to read very long numbers; any that long is out of range.
    return int(value) if len(value) < 19 else 10**18


def _boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class Shape(BaseModel):
    """A strict request."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


CollectionName = Annotated[str, Field(pattern=COLLECTION_PATTERN, examples=["default"])]
DocumentId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        examples=["guide-1"],
        description="1 to 256 printable characters; no slash, no backslash, no outer white space, "
        "not `.` or `..`.",
        json_schema_extra={"pattern": r"^[^/\\\u0000-\u001f\u007f]+$"},
    ),
    AfterValidator(document_id),
]
Metadata = Annotated[
    dict[str, Any],
    Field(description="Any JSON object, nested at most 9 levels, of limited size."),
]
StatusName = Literal[
    "queued", "chunking", "embedding", "storing", "succeeded", "failed", "cancelled"
]
Limit = Annotated[int, BeforeValidator(_integer), Field(ge=1, le=100)]
Cursor = Annotated[str, Field(min_length=1, max_length=2048, description="From the last page.")]
Flag = Annotated[bool, BeforeValidator(_boolean)]


class ChunkingRequest(Shape):
    """How the document is cut. What is left out follows from the collection's model."""

    size: int | None = Field(
        default=None,
        ge=1,
        description="Largest chunk. In tokens it counts the model's special tokens and is at most "
        "what the model takes; 256 if left out.",
    )
    overlap: int | None = Field(
        default=None,
        ge=0,
        description="What neighbouring chunks share; 32, or an eighth of a smaller size, if left "
        "out.",
    )
    unit: Literal["tokens", "chars"] = "tokens"

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

    content: Annotated[str, _not_blank("EMPTY_CONTENT")] = Field(
        json_schema_extra={"minLength": 1}, description="The text, in full."
    )
    content_type: Literal["text/plain", "text/markdown"] = "text/plain"
    metadata: Metadata = Field(default_factory=dict)
    chunking: ChunkingRequest | None = None
    priority: int = Field(default=50, ge=0, le=100)


class SubmitRequest(DocumentRequest):
    """A document to embed."""

    collection: CollectionName = "default"
    document_id: DocumentId | None = None


class SearchRequest(Shape):
    """What to look for: either `query` or `vector`."""

    query: Annotated[str, _not_blank("EMPTY_QUERY")] | None = Field(
        default=None, max_length=MAX_QUERY_CHARACTERS
    )
    vector: list[float] | None = Field(default=None, min_length=1, max_length=MAX_DIMENSIONS)
    top_k: int = Field(default=5, ge=1, le=100)
    filter: Metadata | None = Field(
        default=None, description="Only documents whose metadata contains this object."
    )
    min_score: float | None = Field(default=None, ge=-1, le=1)
    ef_search: int | None = Field(default=None, ge=1, le=1000)

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
    model_id: str | None = Field(default=None, min_length=1, max_length=128)
    description: str = Field(default="", max_length=1000)


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


class DocumentsQuery(PageQuery):
    """Which documents."""

    include_deleted: Flag = False
