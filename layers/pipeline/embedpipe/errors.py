"""Every error of the pipeline, with a stable code.

PipelineError
├── RequestError            the caller's request is at fault, never queued
│   ├── InvalidInputError       422
│   │   └── RejectedInputsError     which inputs of many
│   ├── MalformedRequestError   400
│   ├── UnauthenticatedError    401
│   ├── ForbiddenError          403
│   ├── NotFoundError           404
│   ├── ConflictError           409
│   ├── TooLargeError           413
│   ├── UnsupportedMediaError   415
│   └── OverloadedError         429 + Retry-After
├── PermanentError          can never succeed: to the DLQ, job failed
│   ├── MalformedMessageError   SCHEMA
│   ├── DimensionMismatchError  DIMENSION_MISMATCH
│   ├── ModelMismatchError      MODEL_MISMATCH
│   ├── BadVectorError          BAD_VECTOR
│   ├── PoisonChunkError        POISON_CHUNK
│   ├── ProcessDiedError        POISON_CRASH
│   ├── ContentLostError        CONTENT_LOST
│   ├── MessageTooLargeError    MESSAGE_TOO_LARGE
│   └── ProviderRejectedError   PROVIDER_REJECTED
├── ModelFilesError         MODEL_FILES: the files of a model are damaged or not the pinned ones
└── TransientError          may succeed later: retried with backoff; 503 at the API
    ├── StoreUnavailableError   STORE_UNAVAILABLE     an outage: spends no attempt
    ├── QueueUnavailableError   QUEUE_UNAVAILABLE     an outage: spends no attempt
    ├── BlobsUnavailableError   BLOBS_UNAVAILABLE     an outage: spends no attempt
    ├── ModelUnavailableError   MODEL_UNAVAILABLE     an outage: spends no attempt
    ├── ProviderUnavailableError PROVIDER_UNAVAILABLE an outage: spends no attempt
    │   ├── ProviderRefusedError    PROVIDER_REFUSED
    │   └── CircuitOpenError        CIRCUIT_OPEN
    ├── EmbedderUnavailableError EMBEDDER_UNAVAILABLE
    ├── AdmissionClosedError    PAUSED, DRAINING: nothing is admitted
    └── EventSourceError        EVENT_SOURCE_UNAVAILABLE

Anything else is a bug: logged with its traceback, transient in a stage, 500 at the API.
The docstring of a class is its default message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

FailureType = Literal["transient", "permanent"]


class PipelineError(Exception):
    """The pipeline failed."""

    code: str = "PIPELINE_ERROR"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        if code is not None:
            self.code = code
        super().__init__(self.message)


class RequestError(PipelineError):
    """The request cannot be served."""

    code = "BAD_REQUEST"

    def __init__(
        self, message: str | None = None, *, code: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.field = field


class InvalidInputError(RequestError):
    """The request has a value that is not allowed."""

    code = "INVALID_INPUT"


class RejectedInputsError(InvalidInputError):
    """The model cannot compute some of the inputs.

    Attributes
    ----------
    inputs
        Each with its `index`, and `tokens` where it is about the length.
    """

    code = "INPUT_REJECTED"

    def __init__(
        self,
        message: str | None = None,
        *,
        inputs: Sequence[Mapping[str, int]],
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code, field="input")
        self.inputs = [dict(one) for one in inputs]


class MalformedRequestError(RequestError):
    """The request body is not valid JSON in UTF-8."""

    code = "MALFORMED_REQUEST"


class UnauthenticatedError(RequestError):
    """The API key is missing or wrong."""

    code = "UNAUTHENTICATED"


class ForbiddenError(RequestError):
    """The API key does not allow this."""

    code = "FORBIDDEN"


class NotFoundError(RequestError):
    """There is no such resource."""

    code = "NOT_FOUND"


class ConflictError(RequestError):
    """The resource is in a state that does not allow this."""

    code = "CONFLICT"


class TooLargeError(RequestError):
    """The request is larger than the limit."""

    code = "TOO_LARGE"


class UnsupportedMediaError(RequestError):
    """The request body must be application/json."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class OverloadedError(RequestError):
    """The pipeline has too much work; try again later."""

    code = "OVERLOADED"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 30) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(PipelineError):
    """The message can never succeed."""

    code = "PERMANENT"


class MalformedMessageError(PermanentError):
    """The message does not match its schema."""

    code = "SCHEMA"


class DimensionMismatchError(PermanentError):
    """The vectors do not have the dimensions of the collection."""

    code = "DIMENSION_MISMATCH"


class ModelMismatchError(PermanentError):
    """The vectors come from another model than the collection's."""

    code = "MODEL_MISMATCH"


class BadVectorError(PermanentError):
    """The model gave a vector that is not finite or has no length."""

    code = "BAD_VECTOR"


class PoisonChunkError(PermanentError):
    """The model cannot compute this chunk."""

    code = "POISON_CHUNK"


class ProcessDiedError(PermanentError):
    """Processes died whenever they worked on this message alone."""

    code = "POISON_CRASH"


class ContentLostError(PermanentError):
    """The content of the document is gone or does not match its digest."""

    code = "CONTENT_LOST"


class MessageTooLargeError(PermanentError):
    """The message is larger than the queue takes."""

    code = "MESSAGE_TOO_LARGE"


class ProviderRejectedError(PermanentError):
    """The provider refuses this text, or gave vectors that the model does not promise."""

    code = "PROVIDER_REJECTED"


class ModelFilesError(PipelineError):
    """The files of a model are damaged, incomplete or not the ones of its manifest."""

    code = "MODEL_FILES"


class TransientError(PipelineError):
    """The work may succeed later.

    Attributes
    ----------
    retry_after_s
        Seconds that the failing service asked for, None when it did not say.
    spends_attempt
        False for an outage, of our own infrastructure or of a provider: no job may fail because
        of one.
    """

    code = "TRANSIENT"
    spends_attempt = True

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class StoreUnavailableError(TransientError):
    """The database is out of reach."""

    code = "STORE_UNAVAILABLE"
    spends_attempt = False


class QueueUnavailableError(TransientError):
    """The queue service is out of reach."""

    code = "QUEUE_UNAVAILABLE"
    spends_attempt = False


class BlobsUnavailableError(TransientError):
    """The object store is out of reach."""

    code = "BLOBS_UNAVAILABLE"
    spends_attempt = False


class ModelUnavailableError(TransientError):
    """The files of the model are not at hand, or damaged."""

    code = "MODEL_UNAVAILABLE"
    spends_attempt = False


class ProviderUnavailableError(TransientError):
    """The provider does not answer, or has no capacity."""

    code = "PROVIDER_UNAVAILABLE"
    spends_attempt = False


class ProviderRefusedError(ProviderUnavailableError):
    """The provider refuses the key, the account or the model."""

    code = "PROVIDER_REFUSED"


class CircuitOpenError(ProviderUnavailableError):
    """The provider's circuit breaker is open."""

    code = "CIRCUIT_OPEN"


class EmbedderUnavailableError(TransientError):
    """No embedder answers."""

    code = "EMBEDDER_UNAVAILABLE"


class AdmissionClosedError(TransientError):
    """Nothing is admitted for the moment."""

    code = "PAUSED"


class EventSourceError(TransientError):
    """The event source mapping could not be switched or asked."""

    code = "EVENT_SOURCE_UNAVAILABLE"


def failure_type(error: BaseException) -> FailureType:
    """Classify an error: what is not known to be permanent is transient."""
    return "permanent" if isinstance(error, PermanentError) else "transient"


def error_code(error: BaseException) -> str:
    """Give the stable code of an error, INTERNAL for one that is not ours."""
    return error.code if isinstance(error, PipelineError) else "INTERNAL"
