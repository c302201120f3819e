"""Bodies that are sealed: to whom, for which place, and by which key."""

from __future__ import annotations

import base64
import os
import random

import pytest
from embedpipe.adapters.sealing import AesGcmSealer, LateSealer, PlainSealer, sealer_of
from embedpipe.errors import ConflictError
from embedpipe.ports.sealing import Place

OLD, NEW = os.urandom(32), os.urandom(32)
PLACE = Place("embed", "entry-1", "acme")
BODY = b"some body " * 100


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def code_of(sealer: AesGcmSealer, sealed: bytes, place: Place, key_id: str | None) -> str:
    with pytest.raises(ConflictError) as refused:
        sealer.open(sealed, place, key_id)
    return refused.value.code


def test_what_is_sealed_opens_in_its_place() -> None:
    sealer = AesGcmSealer({"k1": NEW})

    sealed = sealer.seal(BODY, PLACE)

    assert BODY[:20] not in sealed
    assert sealer.open(sealed, PLACE, "k1") == BODY
    assert sealed.startswith(b"EPS1\x02k1")


def test_no_nonce_is_used_twice() -> None:
    sealer = AesGcmSealer({"k": NEW})

    nonces = {sealer.seal(b"", PLACE)[6:18] for _ in range(10_000)}

    assert len(nonces) == 10_000


@pytest.mark.parametrize(
    "other",
    [
        Place("chunk", "entry-1", "acme"),
        Place("embed", "entry-2", "acme"),
        Place("embed", "entry-1", "globex"),
        Place("embed", "entry-1", ""),
        Place("embed", "entry-1", "acme", part="preview"),
        Place("embede", "ntry-1", "acme"),
        Place("embed", "entry-1acme", ""),
        Place("embed", "entry-", "1acme"),
    ],
    ids=str,
)
def test_moved_to_another_row_it_does_not_open(other: Place) -> None:
    sealer = AesGcmSealer({"k": NEW})

    sealed = sealer.seal(BODY, PLACE)

    assert code_of(sealer, sealed, other, "k") == "DLQ_BODY_DAMAGED"


def test_three_hundred_tamperings_are_all_seen() -> None:
    sealer, dice = AesGcmSealer({"k": NEW}), random.Random(7)
    sealed = sealer.seal(BODY, PLACE)
    seen = 0

    for _ in range(100):
        at, bit = dice.randrange(len(sealed)), 1 << dice.randrange(8)
        flipped = sealed[:at] + bytes([sealed[at] ^ bit]) + sealed[at + 1 :]
        cut = sealed[: dice.randrange(len(sealed))]
        longer = sealed + dice.randbytes(dice.randrange(1, 40))
        for changed in (flipped, cut, longer):
            seen += code_of(sealer, changed, PLACE, "k") == "DLQ_BODY_DAMAGED"

    assert seen == 300


def test_after_a_rotation_the_first_key_seals_and_the_old_one_opens() -> None:
    before = sealer_of(f"old:{text(OLD)}")
    after = sealer_of(f"new:{text(NEW)}, old:{text(OLD)}")

    sealed = before.seal(BODY, PLACE)

    assert after.key_id == "new"
    assert after.open(sealed, PLACE, "old") == BODY
    assert after.open(after.seal(BODY, PLACE), PLACE, "new") == BODY


def test_a_key_id_that_was_swapped_does_not_open() -> None:
    sealer = AesGcmSealer({"a": NEW, "b": NEW})
    sealed = sealer.seal(BODY, PLACE)
    swapped = sealed.replace(b"EPS1\x01a", b"EPS1\x01b", 1)

    assert code_of(sealer, sealed, PLACE, "b") == "DLQ_BODY_DAMAGED"
    assert code_of(sealer, swapped, PLACE, "b") == "DLQ_BODY_DAMAGED"
    assert code_of(sealer, swapped, PLACE, "a") == "DLQ_BODY_DAMAGED"


def test_another_key_of_the_same_name_does_not_open() -> None:
    sealed = AesGcmSealer({"k": OLD}).seal(BODY, PLACE)

    assert code_of(AesGcmSealer({"k": NEW}), sealed, PLACE, "k") == "DLQ_BODY_DAMAGED"


def test_a_key_that_is_not_at_hand_is_named_as_the_reason() -> None:
    sealed = AesGcmSealer({"gone": OLD}).seal(BODY, PLACE)

    assert code_of(AesGcmSealer({"k": NEW}), sealed, PLACE, "gone") == "DLQ_KEY_MISSING"
    with pytest.raises(ConflictError):
        PlainSealer().open(sealed, PLACE, "gone")


def test_without_a_key_nothing_is_sealed_and_a_later_key_reads_it_still() -> None:
    plain = PlainSealer()

    assert plain.seal(BODY, PLACE) == plain.open(BODY, PLACE, None) == BODY
    assert AesGcmSealer({"k": NEW}).open(BODY, PLACE, None) == BODY


def test_a_key_without_a_name_is_named_by_its_digest_and_needs_no_padding() -> None:
    unpadded = text(NEW).rstrip("=")

    assert sealer_of(text(NEW)).key_id == sealer_of(unpadded).key_id
    assert sealer_of(text(NEW)).key_id != sealer_of(text(OLD)).key_id


@pytest.mark.parametrize(
    "setting",
    [
        "short",
        text(b"x" * 31),
        text(b"x" * 33),
        "a:b",
        f"bad id:{text(NEW)}",
        "é" * 43,
        ",",
        f"k:{text(NEW)},k:{text(OLD)}",
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(setting: str) -> None:
    with pytest.raises(ValueError) as refused:
        sealer_of(setting)

    assert setting not in str(refused.value)


def test_a_late_sealer_reads_its_key_once_and_when_it_is_needed() -> None:
    reads = []

    def setting() -> str:
        reads.append(1)
        return f"k:{text(NEW)}"

    sealer = LateSealer(setting)
    before = len(reads)
    sealed = sealer.seal(BODY, PLACE)

    assert (before, sealer.key_id) == (0, "k")
    assert sealer.open(sealed, PLACE, "k") == BODY
    assert len(reads) == 1
