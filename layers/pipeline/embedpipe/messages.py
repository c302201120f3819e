"""What travels on the queues: one model per queue, in a common envelope."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from embedpipe.domain import trace
from embedpipe.domain.jobs import BatchRef, JobRef
from embedpipe.domain.tokens import TokenBlock as TokenBlock
from embedpipe.errors import MalformedMessageError

SCHEMA_PATH = "/api/v1/schemas/{name}.json"

#: The database knows no larger integer and no U+0000: a message that has one names no job of ours,
#: and must not become an error of the database that fails its neighbours.
_MAX_INTEGER = 2**31 - 1
_NO_NUL = r"^[^\x00]+$"
_JOB_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_Text = Annotated[str, Field(pattern=_NO_NUL)]


def _schema_url(name: str) -> str:
    return SCHEMA_PATH.format(name=name)


class Message(BaseModel):
    """The envelope of every message.

    `schema_url` is a URI reference; it resolves against the base URL of the API, which serves the
    JSON Schema there without credentials. `epoch` and `document_version` are the fence: a message
    whose job has gone on without it has no effect. `traceparent` is a W3C trace context.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    msg_version: Literal[1] = 1
    msg_schema: str
    schema_url: str
    operation_id: str = Field(default_factory=lambda: uuid4().hex, max_length=64)
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    tenant_id: _Text = Field(min_length=1, max_length=64)
    job_id: str = Field(pattern=_JOB_ID)
    epoch: int = Field(ge=1, le=_MAX_INTEGER)
    collection: _Text = Field(min_length=1, max_length=64)
    document_id: _Text = Field(min_length=1, max_length=256)
    document_version: int = Field(ge=1, le=_MAX_INTEGER)
    traceparent: str | None = Field(default=None, max_length=55)

    @property
    def ref(self) -> JobRef:
        """The job that this message works for."""
        return JobRef(
            tenant_id=self.tenant_id,
            job_id=self.job_id,
            epoch=self.epoch,
            collection=self.collection,
            document_id=self.document_id,
            version=self.document_version,
        )

    def encode(self) -> str:
        """Give the body for the queue: JSON, ASCII only, as SQS refuses some characters raw."""
        return self.model_dump_json(exclude_none=True, ensure_ascii=True)


class ChunkRequested(Message):
    """Split a document version and fan its chunks out. The text is read from the database or S3."""

    msg_schema: Literal["embedpipe.chunk.v1"] = "embedpipe.chunk.v1"
    schema_url: str = _schema_url("embedpipe.chunk.v1")


class _Batch(Message):
    batch_no: int = Field(ge=0, le=_MAX_INTEGER)
    chunk_from: int = Field(ge=0, le=_MAX_INTEGER)
    chunk_count: int = Field(ge=1, le=1000)
    model_id: str = Field(min_length=1, max_length=128)
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def batch(self) -> BatchRef:
        """The batch that this message works for."""
        return BatchRef(self.ref, self.batch_no)


class EmbedRequested(_Batch):
    """Compute the vectors of one batch of chunks.

    `tokens` for a model that the worker computes, `texts` for one at a provider: never both.
    """

    msg_schema: Literal["embedpipe.embed.v1"] = "embedpipe.embed.v1"
    schema_url: str = _schema_url("embedpipe.embed.v1")
    tokens: TokenBlock | None = None
    texts: list[_Text] | None = Field(default=None, min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _one_input_per_chunk(self) -> Self:
        if (self.tokens is None) == (self.texts is None):
            raise ValueError("give either tokens or texts")
        inputs = self.tokens.lengths if self.tokens is not None else self.texts or []
        if len(inputs) != self.chunk_count:
            raise ValueError("there must be chunk_count inputs")
        return self


class StoreRequested(_Batch):
    """Store the vectors of one batch of chunks.

    `vectors` is base64 of float32, little-endian, shape (chunk_count, dimensions), row after row.
    """

    msg_schema: Literal["embedpipe.store.v1"] = "embedpipe.store.v1"
    schema_url: str = _schema_url("embedpipe.store.v1")
    dimensions: int = Field(ge=1, le=16000)
    vectors: str


SCHEMAS: dict[str, type[Message]] = {
    "embedpipe.chunk.v1": ChunkRequested,
    "embedpipe.embed.v1": EmbedRequested,
    "embedpipe.store.v1": StoreRequested,
}

M = TypeVar("M", bound=Message)


def hop(message: M) -> tuple[M, dict[str, str]]:
    """Begin a stage's work on a message.

    Returns
    -------
    The message with a span of the stage's own, so that what is made of it names that one as its
    parent, and the keys of every log line about it. `request_id` is the request that asked for it.
    """
    span = trace.child_of(message.traceparent)
    keys = {"request_id": message.operation_id, **keys_of(message.ref)}
    if span is None:
        return message.model_copy(update={"traceparent": None}), keys
    return message.model_copy(update={"traceparent": span.traceparent}), keys | span.keys()


def keys_of(ref: JobRef | None) -> dict[str, str]:
    """Give the keys of a log line about a job."""
    return {} if ref is None else {"job_id": ref.job_id, "tenant": ref.tenant_id}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Give the published JSON Schema of every message by its name; `$id` is its `schema_url`."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": _schema_url(name),
            **model.model_json_schema(),
        }
        for name, model in SCHEMAS.items()
    }


def decode(model: type[M], body: str) -> M:
    """Read a message body.

    Raises
    ------
    MalformedMessageError
        Not JSON, another schema or version, or a field that is missing, extra or out of range. The
        message names the fields, shortened, and never their values.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(_printable(part) for part in error['loc']) or 'body'}: {error['type']}"
            for error in exc.errors(include_input=False, include_url=False)[:5]
        )
        raise MalformedMessageError(f"message does not match its schema: {problems}") from None


def _printable(part: int | str) -> str:
    """Shorten a name that a stranger chose; the database, for one, takes no U+0000."""
    return ascii(str(part)[:40])[1:-1]


class _Fence(BaseModel):
    """What names a job in a body that does not match its schema, or in a claim check."""

    model_config = ConfigDict(frozen=True, strict=True)

    tenant_id: str = Field(max_length=64, pattern=_NO_NUL)
    job_id: str = Field(pattern=_JOB_ID)
    epoch: int = Field(ge=1, le=_MAX_INTEGER)
    collection: str = Field(max_length=64, pattern=_NO_NUL)
    document_id: str = Field(max_length=256, pattern=_NO_NUL)
    document_version: int = Field(ge=1, le=_MAX_INTEGER)
    batch_no: Any = None


def named_job(body: str) -> JobRef | None:
    """Find the job that an unreadable body names, to fail it; None when it names none.

    A wrong name does no harm: every change of a job is fenced by all these fields.
    """
    return named_work(body)[0]


def named_work(body: str) -> tuple[JobRef | None, int | None]:
    """Find the job, and the number of its batch, that a body names, readable or not."""
    try:
        fence = _Fence.model_validate_json(body)
    except ValidationError:
        return None, None
    batch_no = fence.batch_no if type(fence.batch_no) is int else -1
    ref = JobRef(
        tenant_id=fence.tenant_id,
        job_id=fence.job_id,
        epoch=fence.epoch,
        collection=fence.collection,
        document_id=fence.document_id,
        version=fence.document_version,
    )
    return ref, batch_no if 0 <= batch_no <= _MAX_INTEGER else None
