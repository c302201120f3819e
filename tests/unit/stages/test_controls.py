from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.adapters.memory.event_sources import MemoryEventSources
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction, StageState
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import AdmissionClosedError, EventSourceError, StoreUnavailableError
from embedpipe.ports import Outgoing
from embedpipe.stages.controls import ControlReader, align, hand_back, misaligned

PAUSE, RESUME, DRAIN = ControlAction.PAUSE, ControlAction.RESUME, ControlAction.DRAIN


@dataclass
class Counted:
    """Controls that count how often they are read, and whose database may be away."""

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    reads: int = 0
    is_away: bool = False

    def states(self) -> dict[str, StageState]:
        self.reads += 1
        if self.is_away:
            raise StoreUnavailableError
        return self.database.controls.states()

    def act(self, stage: str, action: ControlAction) -> None:
        act = Act(Actor("acme", "key"), f"stage.{action}", stage)
        self.database.controls.set(stage, action, act)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def a_reader(counted: Counted) -> tuple[ControlReader, Clock]:
    clock = Clock()
    return ControlReader(counted, clock=clock), clock  # type: ignore[arg-type]


def test_the_states_are_read_once_in_two_seconds_however_often_somebody_asks() -> None:
    counted = Counted()
    reader, clock = a_reader(counted)
    for _ in range(100):
        reader.is_paused("chunk")
        reader.check_admission()
    first = counted.reads
    clock.now += 1.9
    reader.is_paused("store")
    before = counted.reads
    clock.now += 0.2
    reader.is_paused("store")

    assert (first, before, counted.reads) == (1, 1, 2)


def test_an_act_is_known_after_two_seconds() -> None:
    counted = Counted()
    reader, clock = a_reader(counted)
    seen = [reader.is_paused("chunk")]
    counted.act("chunk", PAUSE)
    seen.append(reader.is_paused("chunk"))
    clock.now += 2
    seen.append(reader.is_paused("chunk"))

    assert seen == [False, False, True]


@pytest.mark.parametrize("action", [PAUSE, RESUME])
def test_the_last_state_holds_while_the_database_is_away(action: ControlAction) -> None:
    counted = Counted()
    counted.act("chunk", action)
    reader, clock = a_reader(counted)
    before = reader.state("chunk")
    counted.is_away = True
    for _ in range(10):
        clock.now += 1
        reader.is_paused("chunk")

    assert reader.state("chunk") == before == action.state
    # No more often than otherwise: a database that is away takes seconds to say so.
    assert counted.reads == 6


def test_a_stage_runs_as_long_as_nobody_could_be_asked() -> None:
    reader, _ = a_reader(Counted(is_away=True))

    assert reader.state("embed") is StageState.RUNNING
    assert not reader.is_known
    reader.check_admission()


@pytest.mark.parametrize(
    ("acts", "code"),
    [
        ([("submit", PAUSE)], "PAUSED"),
        ([("submit", DRAIN)], "DRAINING"),
        ([("store", DRAIN)], "DRAINING"),
        ([("store", DRAIN), ("submit", PAUSE)], "PAUSED"),
    ],
)
def test_nothing_is_admitted_by_a_door_that_is_shut(
    acts: list[tuple[str, ControlAction]], code: str
) -> None:
    counted = Counted()
    for stage, action in acts:
        counted.act(stage, action)
    reader, _ = a_reader(counted)

    with pytest.raises(AdmissionClosedError) as caught:
        reader.check_admission()

    assert (caught.value.code, caught.value.retry_after_s) == (code, 30.0)


def test_what_came_all_the_same_is_hidden_for_a_minute() -> None:
    clock = Clock()
    queue = MemoryQueue("chunk", clock=clock, visibility_s=360.0)
    queue.send([Outgoing("0", "{}", group_id="acme"), Outgoing("1", "{}", group_id="acme")])
    received = queue.receive()

    ids = hand_back(received, queue, RetryPolicy())

    clock.now += 59
    hidden = queue.depth
    clock.now += 1
    assert ids == [one.message_id for one in received]
    assert (hidden, queue.depth) == (0, 2)


def test_the_receives_that_a_queue_gives_are_not_spent_in_an_hour() -> None:
    clock = Clock()
    queue = MemoryQueue("chunk", clock=clock)
    queue.send([Outgoing("0", "{}", group_id="acme")])
    for _ in range(10):
        hand_back(queue.receive(wait_s=0), queue, RetryPolicy())
        while not queue.depth:
            clock.now += 10

    assert clock.now > 3600


def test_a_queue_that_is_away_leaves_them_to_their_visibility() -> None:
    queue = MemoryQueue("chunk")
    queue.send([Outgoing("0", "{}", group_id="acme")])
    received = queue.receive()
    queue.is_available = False

    assert hand_back(received, queue, RetryPolicy()) == [received[0].message_id]


class Late(MemoryEventSources):
    """While it is switched, somebody else acts."""

    def __init__(self, counted: Counted) -> None:
        super().__init__()
        self._counted: Counted | None = counted

    def set_enabled(self, stage: str, is_enabled: bool) -> bool:
        if self._counted is not None:
            self._counted.act("chunk", RESUME)
            self._counted = None
        return super().set_enabled(stage, is_enabled)


def test_of_two_operators_at_once_the_one_who_committed_last_wins() -> None:
    counted = Counted()
    counted.act("chunk", PAUSE)
    sources = Late(counted)

    assert align("chunk", counted.database.controls, sources)

    assert sources.states()["chunk"] == "Enabled"


def test_a_stage_without_an_event_source_has_nothing_to_align() -> None:
    assert not align("embed", MemoryDatabase().controls, MemoryEventSources())


def test_what_could_not_be_switched_is_found_and_aligned_later() -> None:
    counted, sources = Counted(), MemoryEventSources()
    counted.act("chunk", PAUSE)
    sources.is_available = False
    with pytest.raises(EventSourceError):
        align("chunk", counted.database.controls, sources)
    sources.is_available = True
    found = misaligned(counted.database.controls, sources)

    align("chunk", counted.database.controls, sources)

    assert found == ["chunk"]
    assert misaligned(counted.database.controls, sources) == []
