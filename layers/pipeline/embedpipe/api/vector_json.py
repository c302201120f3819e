"""Vectors as JSON: numbers, or base64 of float32, and how many of them an answer holds."""

from __future__ import annotations

import base64
import json
import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Literal

from embedpipe.api.inputs import MAX_INPUTS
from embedpipe.errors import ConflictError, TooLargeError

EncodingFormat = Literal["float", "base64"]

#: Lambda hands back 6 MiB, in which the body is a JSON string and each of its quotes has a
#: backslash. Some room is for the headers.
MAX_ANSWER_BYTES = 6 * 1024 * 1024 - 64 * 1024
# All around the numbers of one input, its quotes counted twice.
_FRAME_BYTES = 90
# `-1.17549435e-38,`: nine digits tell any two float32 apart.
_FLOAT_BYTES = 16


def most_inputs(dimensions: int, encoding_format: EncodingFormat) -> int:
    """Give how many inputs an answer holds for certain."""
    in_base64 = encoding_format == "base64"
    vector_bytes = -(-4 * dimensions // 3) * 4 if in_base64 else dimensions * _FLOAT_BYTES
    return max(MAX_ANSWER_BYTES // (vector_bytes + _FRAME_BYTES), 1)


def check_answer(count: int, dimensions: int, encoding_format: EncodingFormat) -> None:
    """Raise TooLargeError (ANSWER_TOO_LARGE) for more than an answer may hold."""
    most = most_inputs(dimensions, encoding_format)
    if count <= most:
        return
    advice = f"send at most {most} inputs at a time"
    in_base64 = min(most_inputs(dimensions, "base64"), MAX_INPUTS)
    if encoding_format == "float":
        advice += f", or up to {in_base64} with encoding_format base64"
    raise TooLargeError(
        f"The vectors of {count} inputs are more than an answer holds: {advice}.",
        code="ANSWER_TOO_LARGE",
        field="encoding_format" if count <= in_base64 else None,
    )


def split_rows(vectors: bytes, dimensions: int) -> Iterable[array[float]]:
    """Part float32, little-endian, into one array per input."""
    for at in range(0, len(vectors), 4 * dimensions):
        row = array("f", vectors[at : at + 4 * dimensions])
        if sys.byteorder == "big":
            row.byteswap()
        yield row


def shortened(vector: Sequence[float], dimensions: int) -> array[float]:
    """Keep the first numbers of a vector, and make it one of unit length again.

    Raises
    ------
    ConflictError
        NO_DIRECTION: these are all zero.
    """
    if dimensions == len(vector):
        return array("f", vector)
    length = math.hypot(*vector[:dimensions])
    if not length:
        raise ConflictError(
            "A vector has no direction in so few dimensions.",
            code="NO_DIRECTION",
        )
    return array("f", [number / length for number in vector[:dimensions]])


def listing(vectors: Iterable[tuple[int, array[float]]], encoding_format: EncodingFormat) -> str:
    """Give vectors with the index of their input, in the form of OpenAI's API."""
    return ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{_json(vector, encoding_format)}}}'
        for index, vector in vectors
    )


def embeddings_json(data: str, model_id: str, **more: object) -> str:
    """Put an answer together around what `listing` gave."""
    rest = json.dumps({"model": model_id} | more, separators=(",", ":"))
    return f'{{"object":"list","data":[{data}],{rest[1:]}'


def _json(vector: array[float], encoding_format: EncodingFormat) -> str:
    if encoding_format == "float":
        return f"[{','.join([format(number, '.9g') for number in vector])}]"
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return f'"{base64.b64encode(vector.tobytes()).decode("ascii")}"'
