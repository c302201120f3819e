"""Token ids as they travel on the embed queue."""

from __future__ import annotations

import base64
import binascii
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from embedpipe.errors import MalformedMessageError

_TYPECODES = {"uint16": "H", "uint32": "I"}


class TokenBlock(BaseModel):
    """Token ids of several chunks, special tokens included.

    `data` is base64 of zlib of the ids one after another, little-endian, `dtype` wide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["uint16", "uint32"]
    lengths: list[Annotated[int, Field(ge=1, le=65536)]] = Field(min_length=1, max_length=1000)
    data: str


def pack(token_ids: Sequence[Sequence[int]]) -> TokenBlock:
    """Pack the ids of some chunks, two bytes each when all are below 65,536, else four.

    Examples
    --------
    >>> unpack(pack([[101, 7592, 102], [101, 102]]))
    [[101, 7592, 102], [101, 102]]
    """
    wide = any(max(ids, default=0) > 0xFFFF for ids in token_ids)
    dtype: Literal["uint16", "uint32"] = "uint32" if wide else "uint16"
    ids = array(_TYPECODES[dtype], chain.from_iterable(token_ids))
    _to_or_from_little_endian(ids)
    data = base64.b64encode(zlib.compress(ids.tobytes())).decode("ascii")
    return TokenBlock(dtype=dtype, lengths=[len(chunk) for chunk in token_ids], data=data)


def unpack(block: TokenBlock, *, max_tokens: int = 65536) -> list[list[int]]:
    """Give the ids of each chunk.

    Never inflates more than `lengths` announce, and nothing when one is over `max_tokens`.

    Raises
    ------
    MalformedMessageError
        The data is not what `dtype` and `lengths` say.
    """
    if max(block.lengths) > max_tokens:
        raise MalformedMessageError("tokens.lengths: a chunk is longer than the model takes")
    ids = array(_TYPECODES[block.dtype])
    ids.frombytes(_inflate(block.data, sum(block.lengths) * ids.itemsize))
    _to_or_from_little_endian(ids)
    ends = accumulate(block.lengths, initial=0)
    return [ids[start:end].tolist() for start, end in pairwise(ends)]


def _inflate(data: str, size_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(base64.b64decode(data, validate=True), size_bytes)
        # A stream that ends exactly at the bound may not have shown its end yet.
        surplus = inflater.decompress(inflater.unconsumed_tail, 1)
    except (binascii.Error, ValueError, zlib.error):
        raise MalformedMessageError("tokens.data: not base64 of zlib") from None
    if len(raw) != size_bytes or surplus or not inflater.eof or inflater.unused_data:
        raise MalformedMessageError("tokens.data: length is not what tokens.lengths say")
    return raw


def _to_or_from_little_endian(ids: array[int]) -> None:
    if sys.byteorder == "big":
        ids.byteswap()
