"""Whose turn it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key")

# So many that do not wait are remembered before those with nothing to make up for are forgotten.
_REMEMBERED = 1000


class Turns(Generic[Key]):
    """Shares service among those who wait, by weight: next is who had least of it so far.

    Two questions are asked of it: who is to be served next; and, ahead of that, for whom more is to
    be set aside, where what was set aside counts as if it were served. Whoever begins to wait
    counts as having had as much as the one served last, so being away earns nothing, and a newcomer
    is among the next. Whoever had more than others, because it was there to fill up a batch, waits
    until they had as much, even if it was away meanwhile.

    Parameters
    ----------
    weights
        Shares, where they differ; 1 for whom is not named.

    Notes
    -----
    Start-time fair queueing: Goyal, Vin & Cheng (1996). Unlike deficit round robin it needs no
    quantum, and a debt that was made out of turn is paid back by itself.
    """

    def __init__(self, weights: Mapping[Key, float] | None = None) -> None:
        self._weights = weights or {}
        self._had: dict[Key, float] = {}
        self._reserved: dict[Key, float] = {}
        self._now = 0.0

    def enter(self, key: Key) -> None:
        """Note that somebody begins to wait; nothing changes for one who waits already."""
        if key not in self._reserved:
            self._had[key] = max(self._had.get(key, 0.0), self._now)
            self._reserved[key] = 0.0

    def leave(self, key: Key) -> None:
        """Note that somebody waits no longer; only what it had too much is remembered."""
        del self._reserved[key]
        if self._had[key] <= self._now:
            del self._had[key]
        elif len(self._had) > _REMEMBERED + 2 * len(self._reserved):
            waiting, now = self._reserved, self._now
            self._had = {one: had for one, had in self._had.items() if one in waiting or had > now}

    def reserve(self, key: Key, amount: float) -> None:
        """Set aside what is to be served later; a negative amount takes it back."""
        self._reserved[key] += amount / self._weight(key)

    def serve(self, key: Key, amount: float) -> None:
        """Note what was served."""
        self._had[key] += amount / self._weight(key)

    def next(self, among: Collection[Key]) -> Key:
        """Give whom to serve, of some who wait."""
        key = min(among, key=self._had.__getitem__)
        self._now = max(self._now, self._had[key])
        return key

    def standing(self, key: Key) -> float:
        """Say how much somebody who waits had or is to have: the least is set aside for next."""
        return self._had[key] + self._reserved[key]

    def _weight(self, key: Key) -> float:
        return self._weights.get(key, 1.0)
