from __future__ import annotations

import io
from threading import Event
from uuid import uuid4

from aws_lambda_powertools import Logger
from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction, StageState
from embedpipe.errors import StoreUnavailableError
from embedpipe.stages.controls import ControlReader
from embedpipe.worker.gate import Gate
from embedpipe.worker.outage import Outage

ACTOR = Actor("acme", "key")


class Away:
    """Controls whose database may be away."""

    def __init__(self) -> None:
        self.controls = MemoryDatabase().controls
        self.error: Exception | None = None

    def states(self) -> dict[str, StageState]:
        if self.error is not None:
            raise self.error
        return self.controls.states()

    def act(self, action: ControlAction, stage: str = "embed") -> None:
        self.controls.set(stage, action, Act(ACTOR, f"stage.{action}", stage))


def a_gate(away: Away) -> tuple[Gate, Outage]:
    logger = Logger(service=f"test-{uuid4().hex}", stream=io.StringIO())
    outage = Outage("controls", logger)
    return Gate(ControlReader(away), outage, Event()), outage  # type: ignore[arg-type]


def test_without_controls_it_is_always_open() -> None:
    _, outage = a_gate(Away())
    gate = Gate(None, outage, Event())
    gate.look()

    assert gate.is_open
    assert gate.wait(0)


def test_it_is_shut_until_the_state_is_known() -> None:
    away = Away()
    gate, outage = a_gate(away)
    away.error = StoreUnavailableError()
    gate.look()
    unknown = gate.is_open, outage.is_on

    away.error = None
    gate.look()

    assert unknown == (False, True)
    assert gate.is_open
    assert not outage.is_on


def test_it_is_shut_while_the_stage_is_paused_and_no_other() -> None:
    away = Away()
    gate, _ = a_gate(away)
    seen = []
    for action in (ControlAction.PAUSE, ControlAction.DRAIN, ControlAction.PAUSE):
        away.act(action)
        gate.look()
        seen.append(gate.is_open)
    away.act(ControlAction.RESUME)
    away.act(ControlAction.PAUSE, "chunk")
    gate.look()

    assert seen == [False, True, False]
    assert gate.is_open


def test_an_outage_pauses_nothing_and_resumes_nothing() -> None:
    away = Away()
    gate, _ = a_gate(away)
    seen = []
    for action in (ControlAction.RESUME, ControlAction.PAUSE):
        away.error = None
        away.act(action)
        gate.look()
        for error in (StoreUnavailableError(), RuntimeError("a bug")):
            away.error = error
            gate.look()
            seen.append(gate.is_open)

    assert seen == [True, True, False, False]
