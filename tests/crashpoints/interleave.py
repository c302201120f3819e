"""Two acts at once on one document: one waits at a point of its way, the other runs meanwhile.

The other runs to its end, or until it waits for a lock of the first; then the first goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from threading import Event, Thread

from tests.crashpoints.explore import ENOUGH, Explored
from tests.crashpoints.process import Process
from tests.crashpoints.queues import RedrivingQueue, saved, send_again
from tests.crashpoints.scenarios import OTHER, TEXT, Act, handler
from tests.crashpoints.world import POISON, RefusedError, World
from tests.invariants import as_table

_LOOK_S = 0.001
_LONGEST_S = 30.0


# ------------------------------------------------------------------------------------- the scenes


def _late(stage: str) -> Callable[[World], None]:
    """Make a scene in which a job waits for a stage, and so late that it passes for lost.

    Its message is there twice, and so are those of the stages before. A job that came after it is
    done. A row in the outbox waits to be swept.
    """

    def prepare(world: World) -> None:
        world.submit(TEXT)
        world.deliver()
        world.submit(OTHER)
        old: dict[str, dict[str, object]] = {}
        for before in ("chunk", "embed", "store"):
            queue = world.queues[before]
            send_again(queue)
            if before == stage:
                break
            old[before] = saved(queue)
            handler(before)(world, Process())
        waiting = {name: saved(queue) for name, queue in world.queues.items()}
        for queue in world.queues.values():
            queue._messages.clear()
        _leave_a_row(world)
        world.pass_time()
        world.submit(TEXT, document="after")
        world.deliver()
        for name, messages in {**waiting, **old}.items():
            _add(world.queues[name], messages)

    return prepare


def _leave_a_row(world: World) -> None:
    world.queues["chunk"].is_available = False
    world.submit(TEXT, document="unsent")
    world.queues["chunk"].is_available = True


def _add(queue: RedrivingQueue, messages: dict[str, object]) -> None:
    for stored in messages.values():
        message = stored.message  # type: ignore[attr-defined]
        queue._put(message.body, message.group_id, 0, {})


def _dead(world: World) -> None:
    """Make a scene in which a job failed, its dead letter is approved and what was wrong mended."""
    world.submit(TEXT)
    world.deliver()
    world.submit(f"{POISON} {OTHER}")
    world.deliver()
    world.approve()
    world.has_poison = False


SCENES = {**{stage: _late(stage) for stage in ("chunk", "embed", "store")}, "requeue": _dead}


# --------------------------------------------------------------------------------------- the acts


@dataclass(frozen=True)
class Does:
    """An act, where it is at home, and how a job may end by it."""

    act: Act
    scenes: tuple[str, ...] = ("chunk", "embed", "store")
    ends: frozenset[str] = frozenset()


def _submit(world: World, process: Process) -> None:
    try:
        world.submit(TEXT, process=process)
    except RefusedError as refused:
        # Whoever drains or pauses the door closes it.
        assert refused.answer.status == 503, refused.answer.body


def _cancel(world: World, process: Process) -> None:
    world.cancel(world.job_id("doc", 2), process)


def _delete(world: World, process: Process) -> None:
    world.delete("doc", process)


def _maintain(world: World, process: Process) -> None:
    world.maintain(process)


def _skip(world: World, process: Process) -> None:
    world.skip(world.job_id("doc", 2), process)


def _pause(world: World, process: Process) -> None:
    world.control("embed", "pause", process)
    world.control("embed", "resume", process)


def _clear(world: World, process: Process) -> None:
    world.operate("orchestrator/clear", {"tenant": "default"}, process)


def _reset(world: World, process: Process) -> None:
    world.operate("orchestrator/reset-stuck", {"idle_seconds": 900}, process)


def _requeue(world: World, process: Process) -> None:
    world.operate("dlq/requeue", {"stage": "embed"}, process)


DOES: dict[str, Does] = {
    "submit": Does(_submit, ends=frozenset({"cancelled:SUPERSEDED"})),
    "chunk": Does(handler("chunk"), scenes=("chunk",)),
    "embed": Does(handler("embed"), scenes=("embed",)),
    "store": Does(handler("store"), scenes=("store",)),
    "maintenance": Does(_maintain),
    "cancel": Does(_cancel, ends=frozenset({"cancelled:CANCELLED"})),
    "delete": Does(_delete, ends=frozenset({"cancelled:DOCUMENT_DELETED"})),
    "skip": Does(_skip, ends=frozenset({"cancelled:SKIPPED"})),
    "clear": Does(_clear, ends=frozenset({"cancelled:CLEARED"})),
    "reset-stuck": Does(_reset),
    "pause": Does(_pause),
    "requeue": Does(_requeue, scenes=("requeue",), ends=frozenset({"failed:POISON_CHUNK"})),
}


def pairs() -> list[tuple[str, str, str]]:
    """Give each act with each other one, in the scenes where both have something to do."""
    found = []
    for number, (first, second) in enumerate(product(DOES, DOES)):
        if second == "requeue" and first in ("chunk", "embed", "store"):
            # Of a job that failed no message is left.
            continue
        scenes = DOES["requeue"].scenes if second == "requeue" else DOES[first].scenes
        # All of it is too much for those that do much.
        is_short = first in ("cancel", "delete")
        is_close = (first, second) == ("maintenance", "cancel")
        some = scenes if is_short or is_close else (scenes[number % len(scenes)],)
        found += [(first, second, scene) for scene in some]
    return found


# ---------------------------------------------------------------------------------- the schedules


class _Gate:
    """Where the first act waits."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.is_reached = Event()
        self._is_open = Event()

    def __call__(self, number: int, name: str) -> None:
        if number == self._at:
            self.is_reached.set()
            self._is_open.wait(_LONGEST_S)

    def open(self) -> None:
        """Let it go on."""
        self._is_open.set()


class _Running:
    """An act in a thread of its own."""

    def __init__(self, world: World, act: Act, process: Process) -> None:
        self.process = process
        self.error: BaseException | None = None
        self._thread = Thread(target=self._run, args=(world, act), daemon=True)
        self._thread.start()

    def _run(self, world: World, act: Act) -> None:
        try:
            act(world, self.process)
        # Whatever it is, the test names it.
        except BaseException as error:  # noqa: BLE001
            self.error = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> None:
        self._thread.join(_LONGEST_S)
        if self._thread.is_alive():
            self.error = TimeoutError("it does not end")


@dataclass
class Schedules(Explored):
    """What came of a pair; `waited` counts the schedules in which the second waited for a lock."""

    waited: int = 0


def interleave(world: World, first: str, second: str, scene: str) -> Schedules:
    """Stop the first act at each point, with the second in between."""
    result = Schedules(f"{first} | {second}, waiting to {scene}")
    world.restore("blank")
    SCENES[scene](world)
    world.save("scene")
    alone = Process()
    DOES[first].act(world, alone)
    is_idle = False
    for at, name in enumerate(alone.points, 1):
        # The end of a transaction that only looked holds nothing either.
        is_idle = _is_idle(name, scene) or (name == "commit" and is_idle)
        if is_idle:
            continue
        if len(result.wrong) >= ENOUGH:
            break
        world.restore("scene")
        result.points += 1
        result.runs += 1
        errors, has_waited = _schedule(world, DOES[first].act, DOES[second].act, at)
        result.waited += has_waited
        world.settle()
        if wrong := [*errors, *_judge(world, first, second)]:
            result.wrong.append(f"{at} ({name}): {'; '.join(wrong)}")
    return result


#: Parts of maintenance that have nothing to do in most scenes.
_ELSEWHERE = ("housekeeping.", "overview.", "dlq_entries.", "redrives.", "heartbeats.")


def _is_idle(name: str, scene: str) -> bool:
    """Whether nothing is held and nothing seen between this point and the one before."""
    if name.startswith("sessions.") or name.endswith((".receive", ".backlog", ".depth", ".depths")):
        return True
    return scene != "requeue" and name.startswith(_ELSEWHERE)


def _schedule(world: World, first: Act, second: Act, at: int) -> tuple[list[str], bool]:
    gate = _Gate(at)
    one = _Running(world, first, Process(before=gate))
    while not gate.is_reached.wait(_LOOK_S) and not one.is_over:
        pass
    two = _Running(world, second, Process())
    has_waited = False
    while not two.is_over and not has_waited:
        has_waited = _is_blocked(world, two.process)
        time.sleep(_LOOK_S)
    gate.open()
    one.end()
    two.end()
    errors = [f"{type(run.error).__name__}: {run.error}" for run in (one, two) if run.error]
    for connections in world.connections.values():
        errors += connections.refused
        connections.refused.clear()
    return errors, has_waited


def _is_blocked(world: World, process: Process) -> bool:
    pids = [connection.info.backend_pid for connection in process.connections]
    query = "SELECT 1 FROM unnest(%(pids)s::integer[]) AS pid WHERE pg_blocking_pids(pid) <> '{}'"
    return bool(world.rows(query, {"pids": pids}))


def _judge(world: World, first: str, second: str) -> list[str]:
    wrong = [as_table(found)] if (found := world.found()) else []
    allowed = {"succeeded"} | DOES[first].ends | DOES[second].ends
    ended = world.statuses()
    if others := {name: end for name, end in ended.items() if end not in allowed}:
        wrong.append(f"jobs: {others}")
    if epochs := {name: epoch for name, epoch in world.epochs().items() if epoch > 2}:
        wrong.append(f"epochs: {epochs}")
    if world.failed_parts:
        wrong.append(f"parts of maintenance failed: {world.failed_parts}")
    if "requeue" not in (first, second) and (
        dead := [stage for stage, queue in world.dlqs.items() if queue.peek()]
    ):
        wrong.append(f"dead letters: {dead}")
    return wrong
