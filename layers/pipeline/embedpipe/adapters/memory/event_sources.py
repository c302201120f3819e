"""Event source mappings in memory."""

from __future__ import annotations

from collections.abc import Collection

from embedpipe.domain.controls import STAGES
from embedpipe.errors import EventSourceError


class MemoryEventSources:
    """`ports.EventSources` on a dictionary.

    Attributes
    ----------
    is_available
        Set it False and every call raises EventSourceError, as in an outage.
    """

    def __init__(self, stages: Collection[str] = (STAGES[0], STAGES[-1])) -> None:
        self.is_available = True
        self._states = dict.fromkeys(stages, "Enabled")

    def set_enabled(self, stage: str, is_enabled: bool) -> bool:
        """See `ports.EventSources.set_enabled`."""
        self._check()
        if stage not in self._states:
            return False
        self._states[stage] = "Enabled" if is_enabled else "Disabled"
        return True

    def states(self) -> dict[str, str]:
        """See `ports.EventSources.states`."""
        self._check()
        return dict(self._states)

    def _check(self) -> None:
        if not self.is_available:
            raise EventSourceError
