"""Types of the fields that requests are made of, checked and described."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from embedpipe.stages.submit import MAX_CHARS

COLLECTION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
MAX_QUERY_CHARACTERS = 8192
MAX_DIMENSIONS = 16_000
NOT_BLANK: dict[str, JsonValue] = {"minLength": 1, "pattern": r"\S"}
DOCUMENT_ID_PATTERN = r"^[^/\\\u0000-\u001f\u007f-\u009f]+$"


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


def digits(value: Any) -> Any:
    """Take "50" for 50, as a query has only text."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        return value
    # Python refuses to read very long numbers; any that long is out of range.
    return int(value) if len(value) < 19 else 10**18


def whole(value: Any) -> Any:
    """Take 50.0 for 50, as JSON and JSON Schema do."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


CollectionName = Annotated[str, Field(pattern=COLLECTION_PATTERN, examples=["default"])]
DocumentId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        examples=["guide-1"],
        description="1 to 256 printable characters; no slash, no backslash, no outer white space, "
        "not `.` or `..`.",
        json_schema_extra={"pattern": DOCUMENT_ID_PATTERN},
    ),
    AfterValidator(document_id),
]
Content = Annotated[
    str,
    Field(json_schema_extra=NOT_BLANK, description="The text, in full."),
    _not_blank("EMPTY_CONTENT"),
]
Query = Annotated[
    str,
    Field(max_length=MAX_QUERY_CHARACTERS, json_schema_extra=NOT_BLANK),
    _not_blank("EMPTY_QUERY"),
]
Metadata = Annotated[
    dict[str, Any],
    Field(description="Any JSON object, nested at most 9 levels, of limited size."),
]
StatusName = Literal[
    "queued", "chunking", "embedding", "storing", "succeeded", "failed", "cancelled"
]
# The constraint comes first: after a validator it would not get into the JSON Schema.
Limit = Annotated[int, Field(ge=1, le=100), BeforeValidator(digits)]
Cursor = Annotated[str, Field(max_length=2048, description="From the last page.")]
Flag = Annotated[bool, BeforeValidator(_boolean)]
Priority = Annotated[int, Field(ge=0, le=100), BeforeValidator(whole)]
Size = Annotated[int, Field(ge=1, le=MAX_CHARS), BeforeValidator(whole)]
Overlap = Annotated[int, Field(ge=0), BeforeValidator(whole)]
TopK = Annotated[int, Field(ge=1, le=100), BeforeValidator(whole)]
Dimensions = Annotated[int, Field(ge=1, le=MAX_DIMENSIONS), BeforeValidator(whole)]
DimensionsParameter = Annotated[int, Field(ge=1, le=MAX_DIMENSIONS), BeforeValidator(digits)]
ModelId = Annotated[str, Field(min_length=1, max_length=128)]
EfSearch = Annotated[int, Field(ge=1, le=1000), BeforeValidator(whole)]
