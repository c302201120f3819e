"""AES-256-GCM for the bodies of dead letters.

Sealed: `EPS1`, the length of the key id in one byte, the key id, 12 random bytes of nonce, and
ciphertext with its tag. Random nonces are good for 2**32 bodies a key (NIST SP 800-38D, 8.3);
rotate it long before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from functools import cache

from embedpipe.errors import ConflictError
from embedpipe.ports.sealing import Place

_MAGIC = b"EPS1"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_KEY_ID = re.compile(r"^[A-Za-z0-9_.-]{1,32}$")


class PlainSealer:
    """`ports.Sealer` without a key: nothing is sealed, and nothing sealed is opened."""

    key_id = None

    def seal(self, data: bytes, place: Place) -> bytes:
        """See `ports.Sealer.seal`."""
        return data

    def open(self, sealed: bytes, place: Place, key_id: str | None) -> bytes:
        """See `ports.Sealer.open`."""
        if key_id is not None:
            raise _missing()
        return sealed


class AesGcmSealer:
    """`ports.Sealer` with keys by id: the first seals, all open."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self.key_id: str = next(iter(self._keys))

    def seal(self, data: bytes, place: Place) -> bytes:
        """See `ports.Sealer.seal`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        name = self.key_id.encode()
        cipher = AESGCM(self._keys[self.key_id])
        sealed = cipher.encrypt(nonce, data, _bound_to(place, self.key_id))
        return b"".join([_MAGIC, bytes([len(name)]), name, nonce, sealed])

    def open(self, sealed: bytes, place: Place, key_id: str | None) -> bytes:
        """See `ports.Sealer.open`."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if key_id is None:
            return sealed
        if key_id not in self._keys:
            raise _missing()
        header = _MAGIC + bytes([len(key_id)]) + key_id.encode()
        start = len(header) + _NONCE_BYTES
        if not sealed.startswith(header) or len(sealed) < start:
            raise _damaged()
        cipher = AESGCM(self._keys[key_id])
        try:
            return cipher.decrypt(
                sealed[len(header) : start], sealed[start:], _bound_to(place, key_id)
            )
        except InvalidTag:
            raise _damaged() from None


class LateSealer:
    """`ports.Sealer` of a setting that is read when it is first needed."""

    def __init__(self, setting: Callable[[], str | None]) -> None:
        self._made = cache(lambda: sealer_of(setting()))

    @property
    def key_id(self) -> str | None:
        """See `ports.Sealer.key_id`."""
        return self._made().key_id

    def seal(self, data: bytes, place: Place) -> bytes:
        """See `ports.Sealer.seal`."""
        return self._made().seal(data, place)

    def open(self, sealed: bytes, place: Place, key_id: str | None) -> bytes:
        """See `ports.Sealer.open`."""
        return self._made().open(sealed, place, key_id)


def sealer_of(setting: str | None) -> PlainSealer | AesGcmSealer:
    """Make a sealer of a setting: a key, or several as `id:key`, parted by commas.

    Raises
    ------
    ValueError
        It is not that. The message does not quote it.
    """
    if not setting:
        return PlainSealer()
    keys: dict[str, bytes] = {}
    for part in setting.split(","):
        name, _, text = part.strip().rpartition(":")
        key = _key(text)
        # A key without a name is named by its digest, so that it can be told after a rotation.
        name = name or hashlib.sha256(key).hexdigest()[:8]
        if not _KEY_ID.match(name) or name in keys:
            raise ValueError("a key id is 1 to 32 of A-Z a-z 0-9 _ . - and given once")
        keys[name] = key
    return AesGcmSealer(keys)


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError("a key is 32 bytes in base64")
    return key


def _bound_to(place: Place, key_id: str) -> bytes:
    """Give what is authenticated beside the data, each part with its length."""
    parts = ("1", key_id, place.part, place.stage, place.entry_id, place.tenant_id)
    return b"".join(f"{len(part.encode())}:{part}|".encode() for part in parts)


def _missing() -> ConflictError:
    return ConflictError("the key that sealed it is not at hand", code="DLQ_KEY_MISSING")


def _damaged() -> ConflictError:
    return ConflictError("it was changed, or is another entry's", code="DLQ_BODY_DAMAGED")
