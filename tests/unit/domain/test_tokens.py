from __future__ import annotations

import base64
import doctest
import zlib
from typing import Any

import pytest
from embedpipe.domain import tokens
from embedpipe.domain.tokens import TokenBlock, pack, unpack
from embedpipe.errors import MalformedMessageError
from hypothesis import given
from hypothesis import strategies as st

IDS = st.lists(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), min_size=1, max_size=10
)


def a_block(ids: list[list[int]] | None = None, **overrides: Any) -> TokenBlock:
    return TokenBlock(**(pack(ids or [[101, 7592, 102]]).model_dump() | overrides))


def encoded(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw)).decode()


def test_the_examples_hold() -> None:
    assert doctest.testmod(tokens).failed == 0


@given(IDS)
def test_what_is_packed_comes_back(ids: list[list[int]]) -> None:
    assert unpack(pack(ids)) == ids


def test_ids_below_65536_take_two_bytes_and_others_four() -> None:
    assert pack([[65_535]]).dtype == "uint16"
    assert pack([[65_536], [1]]).dtype == "uint32"


def test_ids_are_little_endian() -> None:
    assert zlib.decompress(base64.b64decode(pack([[1, 258]]).data)) == b"\x01\x00\x02\x01"


@pytest.mark.parametrize(
    "data",
    [
        "not base64!",
        "é",
        base64.b64encode(b"not zlib").decode(),
        encoded(b""),
        encoded(b"\x00" * 4),
        encoded(b"\x00" * 7),
        encoded(b"\x00" * 8),
        base64.b64encode(zlib.compress(b"\x00" * 6)[:-2]).decode(),
        base64.b64encode(zlib.compress(b"\x00" * 6) + b"more").decode(),
    ],
)
def test_data_that_is_not_what_the_lengths_say_is_refused(data: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        unpack(a_block(data=data))

    assert data not in str(caught.value)


def test_a_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[int] = []
    real = zlib.decompressobj

    class Spy:
        def __init__(self) -> None:
            self._real = real()

        def decompress(self, data: bytes, max_length: int) -> bytes:
            out = self._real.decompress(data, max_length)
            inflated.append(len(out))
            return out

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    monkeypatch.setattr(zlib, "decompressobj", Spy)
    bomb = a_block(data=encoded(b"\x00" * 50_000_000))

    with pytest.raises(MalformedMessageError):
        unpack(bomb)

    assert sum(inflated) <= 7


def test_a_chunk_longer_than_the_model_takes_is_refused_before_inflating() -> None:
    with pytest.raises(MalformedMessageError, match="longer than the model"):
        unpack(a_block([[1] * 257]), max_tokens=256)
