"""How much each lane may hold: a part that is its own, and what it borrows of the rest."""

from __future__ import annotations

from collections.abc import Collection

from embedpipe.domain.lanes import LANES


class Room:
    """Counts what lanes hold against one limit. Its user keeps threads apart.

    Half of the limit is parted among the lanes by their weights, for each alone: whatever floods
    one lane, the others are received all the same. The other half goes to whoever comes first.

    Parameters
    ----------
    limit
        What all lanes may hold together.
    """

    def __init__(self, limit: int, lanes: Collection[str]) -> None:
        reserved = limit // 2 if len(lanes) > 1 else limit
        total = sum(LANES[lane] for lane in lanes)
        self._own = {lane: max(reserved * LANES[lane] // total, 1) for lane in lanes}
        self._shared = limit - sum(self._own.values())
        self._taken = dict.fromkeys(lanes, 0)

    @property
    def taken(self) -> int:
        """How much all lanes hold."""
        return sum(self._taken.values())

    def left(self, lane: str) -> int:
        """How much more a lane may hold; 0 when it holds as much as it may."""
        borrowed = sum(max(taken - self._own[name], 0) for name, taken in self._taken.items())
        return max(self._own[lane] - self._taken[lane], 0) + max(self._shared - borrowed, 0)

    def take(self, lane: str, amount: int) -> None:
        """Count more; nothing keeps a lane from taking more than there is left."""
        self._taken[lane] += amount

    def give_back(self, lane: str, amount: int) -> None:
        """Count less."""
        self._taken[lane] -= amount
