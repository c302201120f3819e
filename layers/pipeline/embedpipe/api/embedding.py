"""Vectors for whoever waits: one way for `/embeddings` and `/embeddings/batch`."""

from __future__ import annotations

import base64
import json
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from embedpipe.api.operations import Call, Reply
from embedpipe.errors import (
    EmbedderUnavailableError,
    InvalidInputError,
    ModelFilesError,
    NotFoundError,
    TooLargeError,
)
from embedpipe.ports import ModelInfo
from embedpipe.ports.synchronous import Embedded
from embedpipe.stages.dimensions import offered_dimensions

EncodingFormat = Literal["float", "base64"]

#: Lambda hands back 6 MiB, in which the body is a JSON string and each of its quotes has a
#: backslash. Some room is for the headers.
MAX_ANSWER_BYTES = 6 * 1024 * 1024 - 64 * 1024
# All around the numbers of one input, its quotes counted twice.
_FRAME_BYTES = 90
# `-1.17549435e-38,`: nine digits tell any two float32 apart.
_FLOAT_BYTES = 16
PROVIDER, MODEL = "X-Embeddings-Provider", "X-Embeddings-Model"


@dataclass(frozen=True)
class Wanted:
    """What the caller wants embedded; `field` is what the request calls the inputs."""

    inputs: list[str] | list[list[int]]
    model_id: str
    encoding_format: EncodingFormat = "float"
    dimensions: int | None = None
    field: str = "input"


def embedded(call: Call, wanted: Wanted) -> Reply:
    """Have inputs computed now and answer their vectors.

    Raises
    ------
    NotFoundError
        MODEL_NOT_FOUND.
    InvalidInputError
        The model does not take the inputs, or does not give the dimensions.
    TooLargeError
        ANSWER_TOO_LARGE.
    TransientError
        It cannot be computed now, or not in time.
    """
    model = find_model(call, wanted.model_id, "model")
    dimensions = offered_dimensions(model, wanted.dimensions)
    check_answer(len(wanted.inputs), dimensions, wanted.encoding_format)
    embedder = call.services.embedder
    if embedder is None:
        raise EmbedderUnavailableError
    try:
        done = embedder.embed(model, wanted.inputs, dimensions=dimensions, tenant_id=call.tenant_id)
    except InvalidInputError as error:
        if error.field == "input":
            error.field = wanted.field
        raise
    headers = {PROVIDER: done.provider, MODEL: model.model_id}
    return Reply(_body(done, model.model_id, wanted.encoding_format), headers=headers)


def find_model(call: Call, model_id: str, field: str) -> ModelInfo:
    """Find a model of the catalogue.

    Raises
    ------
    NotFoundError
        MODEL_NOT_FOUND.
    EmbedderUnavailableError
        MODEL_UNAVAILABLE: its files are damaged.
    """
    try:
        return call.services.models.get(model_id)
    except NotFoundError:
        error = NotFoundError("There is no such model.", code="MODEL_NOT_FOUND")
        error.field = field
        raise error from None
    except ModelFilesError:
        raise EmbedderUnavailableError(
            "The model's files are damaged.", code="MODEL_UNAVAILABLE"
        ) from None


def most_inputs(dimensions: int, encoding_format: EncodingFormat) -> int:
    """Give how many inputs an answer holds for certain."""
    vector = -(-4 * dimensions // 3) * 4 if encoding_format == "base64" else 0
    vector = vector or dimensions * _FLOAT_BYTES
    return max(MAX_ANSWER_BYTES // (vector + _FRAME_BYTES), 1)


def check_answer(count: int, dimensions: int, encoding_format: EncodingFormat) -> None:
    """Raise TooLargeError (ANSWER_TOO_LARGE) for more than an answer may hold."""
    most = most_inputs(dimensions, encoding_format)
    if count <= most:
        return
    advice = f"send at most {most} inputs at a time"
    in_base64 = most_inputs(dimensions, "base64")
    if encoding_format == "float":
        advice += f", or up to {in_base64} with encoding_format base64"
    raise TooLargeError(
        f"The vectors of {count} inputs are more than an answer holds: {advice}.",
        code="ANSWER_TOO_LARGE",
        field="encoding_format" if count <= in_base64 else None,
    )


def rows(vectors: bytes, dimensions: int, encoding_format: EncodingFormat) -> Iterator[str]:
    """Give each vector as JSON. Of float32, little-endian, to nine digits: nothing is lost."""
    width = 4 * dimensions
    for at in range(0, len(vectors), width):
        row = vectors[at : at + width]
        if encoding_format == "base64":
            yield f'"{base64.b64encode(row).decode("ascii")}"'
        else:
            yield f"[{','.join([format(number, '.9g') for number in _numbers(row)])}]"


def _body(done: Embedded, model_id: str, encoding_format: EncodingFormat) -> str:
    data = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{row}}}'
        for index, row in enumerate(rows(done.vectors, done.dimensions, encoding_format))
    )
    tokens = sum(done.tokens)
    usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
    return f'{{"object":"list","data":[{data}],"model":{json.dumps(model_id)},"usage":{usage}}}'


def _numbers(row: bytes) -> array[float]:
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
