"""Port to the event source mappings, which receive for the functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class EventSources(Protocol):
    """The event source mappings of the stages that are functions."""

    def set_enabled(self, stage: str, is_enabled: bool) -> bool:
        """Have a stage's queue received from, or not. Takes effect within seconds.

        Returns
        -------
        False for a stage that has none that is known: then there is nothing to switch.

        Raises
        ------
        EventSourceError
            It could not be switched.
        """
        ...

    def states(self) -> Mapping[str, str]:
        """Give the state of each, in Lambda's words: Enabled, Disabling, Disabled, Enabling, ...

        Raises
        ------
        EventSourceError
            One could not be asked.
        """
        ...
