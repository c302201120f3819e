"""Port to the controls of stages."""

from __future__ import annotations

from typing import Protocol

from embedpipe.domain.audit import Act
from embedpipe.domain.controls import Control, ControlAction, StageState


class Controls(Protocol):
    """What each stage is let do, for all tenants; and who said so.

    Every method raises StoreUnavailableError when the database is out of reach.
    """

    def all(self) -> list[Control]:
        """Give the control of every stage, in the order of the pipeline."""
        ...

    def get(self, stage: str) -> Control:
        """Give one. Raises NotFoundError (STAGE_NOT_FOUND)."""
        ...

    def states(self) -> dict[str, StageState]:
        """Give the states alone, at the least cost: who works asks every other second."""
        ...

    def set(self, stage: str, action: ControlAction, act: Act) -> Control:
        """Set one, and write the act down in the same transaction; give what it is now.

        Once more the same changes nothing, who did it first included; the act is written down
        all the same, with result `unchanged`.

        Raises
        ------
        NotFoundError
            STAGE_NOT_FOUND.
        """
        ...

    def with_work(self) -> frozenset[str]:
        """Name the stages that have work, as far as the database knows: jobs, rows to be sent."""
        ...
