"""Port to what keeps the bodies of dead letters from who can read the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Place:
    """Where something sealed belongs; moved elsewhere, it does not open.

    `part` tells the body of an entry from its preview.
    """

    stage: str
    entry_id: str
    tenant_id: str
    part: str = "body"


class Sealer(Protocol):
    """Seals and opens."""

    @property
    def key_id(self) -> str | None:
        """What seals; None where nothing does."""
        ...

    def seal(self, data: bytes, place: Place) -> bytes:
        """Seal data for a place; without a key it stays as it is."""
        ...

    def open(self, sealed: bytes, place: Place, key_id: str | None) -> bytes:
        """Open what was sealed with a key.

        Raises
        ------
        ConflictError
            DLQ_KEY_MISSING: that key is not at hand. DLQ_BODY_DAMAGED: it was changed, cut, or
            belongs to another place.
        """
        ...
