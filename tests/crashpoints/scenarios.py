"""What a process is in the middle of when it dies: handlers, and what they find."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from embedpipe.domain.dead_letters import MAX_PUT_BACK
from embedpipe.domain.lanes import QUEUES
from embedpipe.messages import StoreRequested, decode

from tests.crashpoints.process import Process, killed
from tests.crashpoints.queues import send_again
from tests.crashpoints.world import INLINE_BYTES, KILLER, POISON, VISIBILITY_S, World

#: Three chunks, so two messages to embed.
TEXT = "The cat sleeps on the warm roof. " * 4
OTHER = "A dog runs after the red ball. " * 4
LONG = TEXT * (INLINE_BYTES // len(TEXT) + 1)

Act = Callable[[World, Process], object]


@dataclass(frozen=True)
class Scenario:
    """One handler in one situation.

    Attributes
    ----------
    prepare
        Brings about the situation, without any failure.
    act
        What is stopped at each point.
    expected
        How each version's job must stand in the end.
    dlq
        The stages whose DLQ must then hold something; all others must be empty.
    is_asked
        Whether somebody waits for an answer, and asks again when there is none.
    is_lost
        Whether messages were lost before, so that jobs have to be rescued.
    epochs
        The epochs that jobs must then be in, those in their first left out; not looked at if empty.
    may_hold
        The stages whose DLQ may hold something: a copy that a death kept from being removed.
    """

    handler: str
    situation: str
    prepare: Callable[[World], object]
    act: Act
    expected: dict[str, str]
    dlq: frozenset[str] = field(default_factory=frozenset)
    is_asked: bool = False
    is_lost: bool = False
    epochs: dict[str, int] = field(default_factory=dict)
    may_hold: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """For tables and tests."""
        return f"{self.handler}, {self.situation}"


# -------------------------------------------------------------------------------- what goes before


def visible(world: World) -> None:
    """A first version that is there to be searched."""
    world.submit(TEXT)
    world.deliver()


def submitted(world: World) -> None:
    """A second version whose job waits for the chunk stage."""
    visible(world)
    world.submit(OTHER)


def chunked(world: World) -> None:
    """A second version that waits for the embed stage."""
    submitted(world)
    world.chunk()


def embedded(world: World) -> None:
    """A second version that waits for the store stage."""
    chunked(world)
    world.embed()


def twice(prepare: Callable[[World], object]) -> Callable[[World], object]:
    """Make every message that waits wait twice."""

    def prepared(world: World) -> None:
        prepare(world)
        for queue in world.queues.values():
            send_again(queue)

    return prepared


def beside(prepare: Callable[[World], object], queue: str) -> Callable[[World], object]:
    """Put messages beside that are none: no JSON, and one that lacks most of its fields."""

    def prepared(world: World) -> None:
        world.queues[queue]._put("not a message", "default", 0, {})
        prepare(world)
        world.queues[queue]._put('{"msg_version": 1}', "default", 0, {})

    return prepared


def suspected(prepare: Callable[[World], object], stage: str) -> Callable[[World], object]:
    """Let a process die over the messages that wait, at the end of its work."""

    def prepared(world: World) -> None:
        prepare(world)
        world.save("undisturbed")
        process = Process()
        handler(stage)(world, process)
        world.restore("undisturbed")
        with killed():
            handler(stage)(world, Process(die_at=max(len(process.points) // 2, 1)))
        world.pass_time(VISIBILITY_S + 1)

    return prepared


def handler(stage: str) -> Act:
    """Give what a stage does once."""
    acts: dict[str, Act] = {
        "chunk": lambda world, process: world.chunk(process),
        "embed": lambda world, process: world.embed(process),
        "store": lambda world, process: world.store(process),
    }
    return acts[stage]


def lost_content(world: World) -> None:
    """A document whose text is gone, beside a good one."""
    visible(world)
    world.submit(LONG, document="bad")
    world.blobs.objects.clear()
    world.submit(OTHER)


def poisonous(world: World, word: str = POISON) -> None:
    """A document that cannot be computed, beside a good one."""
    visible(world)
    world.submit(f"{word} {TEXT} {TEXT}", document="bad")
    world.submit(OTHER)
    world.chunk()


def misshapen(world: World) -> None:
    """Vectors of another length than the collection's, beside good ones."""
    visible(world)
    world.submit(TEXT, document="bad")
    world.submit(OTHER)
    world.chunk()
    world.embed()
    queue = world.queues["store"]
    for stored in queue._messages.values():
        asked = decode(StoreRequested, stored.message.body)
        if asked.document_id == "bad":
            stored.message = replace(stored.message, body=_shorter(asked).encode())


def _shorter(asked: StoreRequested) -> StoreRequested:
    vectors = base64.b64decode(asked.vectors)
    row, shorter = 4 * asked.dimensions, 4 * (asked.dimensions - 1)
    cut = b"".join(vectors[at : at + shorter] for at in range(0, len(vectors), row))
    return asked.model_copy(
        update={"dimensions": asked.dimensions - 1, "vectors": base64.b64encode(cut).decode()}
    )


def unsent(world: World) -> None:
    """Rows that nobody sent: of three admissions and of one cut document."""
    visible(world)
    world.submit(OTHER)
    world.queues["embed"].is_available = False
    world.chunk()
    world.queues["embed"].is_available = True
    world.queues["chunk"].is_available = False
    for name in ("one", "two", "three"):
        world.submit(TEXT, document=name)
    world.queues["chunk"].is_available = True
    world.pass_time(60)


def forgotten(world: World) -> None:
    """Jobs whose messages every queue lost: one waits to be cut, one to be embedded."""
    chunked(world)
    world.submit(TEXT, document="one")
    for queue in world.queues.values():
        queue._messages.clear()
    world.pass_time()


def given_up(world: World) -> None:
    """The same, after as many rescues as a job gets."""
    forgotten(world)
    world.owner.execute("UPDATE jobs SET rescues = 5, touched_at = touched_at - interval '9 days'")


# ----------------------------------------------------------------------------------- the scenarios


def of_stage(stage: str, ready: Callable[[World], object], bad: Scenario) -> list[Scenario]:
    """Give the situations that every stage may be in."""
    good = {"doc/1": "succeeded", "doc/2": "succeeded"}
    act = handler(stage)
    dlq = frozenset({stage})
    return [
        Scenario(stage, "all is well", ready, act, good),
        bad,
        Scenario(stage, "every message twice", twice(ready), act, good),
        Scenario(stage, "beside what is no message", beside(ready, stage), act, good, dlq),
        Scenario(stage, "after a death", suspected(ready, stage), act, good),
    ]


def _bad(stage: str, prepare: Callable[[World], object], code: str) -> Scenario:
    expected = {"doc/1": "succeeded", "doc/2": "succeeded", "bad/1": f"failed:{code}"}
    return Scenario(stage, "poison", prepare, handler(stage), expected, frozenset({stage}))


def murderous(world: World) -> None:
    """A document that ends whatever computes it, beside a good one."""
    poisonous(world, KILLER)


def unlucky(world: World) -> None:
    """Messages that were received again and again by what died of something else."""
    chunked(world)
    for _ in range(6):
        for name in QUEUES.values():
            world.queues[name].receive(wait_s=0)
        world.pass_time(VISIBILITY_S + 1)


def late(world: World) -> None:
    """A job in its second epoch, with all that it needs, and the messages of its first before."""
    embedded(world)
    queue = world.queues["store"]
    earlier = dict(queue._messages)
    queue._messages = {}
    world.pass_time()
    world.maintain()
    world.chunk()
    # One of the two batches of this epoch is still to be computed.
    waiting = world.queues["embed"]._messages
    first, *rest = waiting.items()
    world.queues["embed"]._messages = dict([first])
    world.embed()
    world.queues["embed"]._messages = dict(rest)
    queue._messages = {**earlier, **queue._messages}


def stages() -> list[Scenario]:
    """What the consumers do."""
    good = {"doc/1": "succeeded", "doc/2": "succeeded"}
    embed, store, dlq = handler("embed"), handler("store"), frozenset({"embed"})
    killed_by = good | {"bad/1": "failed:POISON_CRASH"}
    return [
        Scenario("embed", "what ends the process", murderous, embed, killed_by, dlq, is_lost=True),
        Scenario("embed", "after deaths of others", unlucky, embed, good),
        Scenario("store", "beside an earlier epoch", late, store, good, is_lost=True),
        *of_stage("chunk", submitted, _bad("chunk", lost_content, "CONTENT_LOST")),
        *of_stage("embed", chunked, _bad("embed", poisonous, "POISON_CHUNK")),
        *of_stage("store", embedded, _bad("store", misshapen, "DIMENSION_MISMATCH")),
    ]


def asked() -> list[Scenario]:
    """What clients ask the API for."""
    first, second = {"doc/1": "succeeded"}, {"doc/1": "succeeded", "doc/2": "succeeded"}
    superseded = {"doc/1": "succeeded", "doc/2": "cancelled:SUPERSEDED", "doc/3": "succeeded"}
    stopped = {"doc/1": "succeeded", "doc/2": "cancelled:CANCELLED"}
    deleted = {"doc/1": "succeeded", "doc/2": "cancelled:DOCUMENT_DELETED"}

    def post(text: str) -> Act:
        return lambda world, process: world.submit(text, key="a key", process=process)

    def post_twice(world: World, process: Process) -> None:
        world.submit(OTHER, key="a key", process=process)
        world.submit(OTHER, key="a key", process=process)

    def cancel(world: World, process: Process) -> None:
        world.cancel(world.job_id("doc", 2), process)

    def delete(world: World, process: Process) -> None:
        world.delete("doc", process)

    def scenario(
        handler: str,
        situation: str,
        prepare: Callable[[World], object],
        act: Act,
        expected: dict[str, str],
    ) -> Scenario:
        return Scenario(handler, situation, prepare, act, expected, is_asked=True)

    return [
        scenario("submit", "a new document", lambda world: None, post(OTHER), first),
        scenario("submit", "by the object store", visible, post(LONG), second),
        scenario("submit", "twice with one key", visible, post_twice, second),
        scenario("submit", "over a version being cut", submitted, post(TEXT), superseded),
        scenario("submit", "over a version being stored", embedded, post(TEXT), superseded),
        scenario("cancel", "waiting to be cut", submitted, cancel, stopped),
        scenario("cancel", "waiting to be embedded", chunked, cancel, stopped),
        scenario("cancel", "half stored", half_stored, cancel, stopped),
        scenario("delete", "waiting to be embedded", twice(chunked), delete, deleted),
        scenario("delete", "half stored", half_stored, delete, deleted),
    ]


def half_stored(world: World) -> None:
    """A second version of which one of two batches is stored; the other's message waits."""
    embedded(world)
    queue = world.queues["store"]
    first, *rest = queue._messages.items()
    queue._messages = dict([first])
    world.store()
    queue._messages = dict(rest)


def maintenance() -> list[Scenario]:
    """What runs on the schedule."""

    def act(world: World, process: Process) -> None:
        world.maintain(process)

    both = {"doc/1": "succeeded", "doc/2": "succeeded"}
    others = {f"{name}/1": "succeeded" for name in ("one", "two", "three")}
    spent = {"doc/1": "succeeded", "doc/2": "failed:RESCUES_SPENT", "one/1": "failed:RESCUES_SPENT"}
    return [
        Scenario("maintenance", "rows nobody sent", unsent, act, both | others),
        Scenario(
            "maintenance",
            "lost messages",
            forgotten,
            act,
            both | {"one/1": "succeeded"},
            is_lost=True,
        ),
        Scenario("maintenance", "rescued in vain", given_up, act, spent, is_lost=True),
        Scenario("maintenance", "while all is under way", twice(half_stored), act, both),
    ]


def spent(world: World, put_back: int = 0) -> None:
    """A message whose receives were spent: it lies in the DLQ, and nothing says why."""
    chunked(world)
    queue = world.queues["embed"]
    first = queue.peek()[0]
    attributes = {"put_back": str(put_back)} if put_back else {}
    world.dlqs["embed"]._put(first.body, first.group_id, 0, attributes)
    del queue._messages[first.message_id]


def mended(world: World) -> None:
    """A document that could not be computed, and now can; its dead letter is approved."""
    poisonous(world)
    world.deliver()
    world.approve()
    world.has_poison = False


def refilled(world: World) -> None:
    """A document whose text was gone, and is back; its dead letter is approved."""
    visible(world)
    world.submit(LONG, document="bad")
    objects = dict(world.blobs.objects)
    world.blobs.objects.clear()
    world.deliver()
    world.blobs.objects.update(objects)
    world.approve()


def with_tasks(prepare: Callable[[World], object]) -> Callable[[World], object]:
    """Let the backend move messages by itself."""

    def prepared(world: World) -> None:
        prepare(world)
        world.has_tasks = True

    return prepared


def _skip(world: World, process: Process) -> None:
    world.skip(world.job_id("doc", 2), process)


def _requeue(world: World, process: Process) -> None:
    for entry in world.rows("SELECT stage, entry_id FROM dlq_entries"):
        world.operate("dlq/requeue", entry, process)


def _requeue_all(stage: str) -> Act:
    return lambda world, process: world.operate("dlq/requeue", {"stage": stage}, process)


def _redrive(stage: str) -> Act:
    value = {"stage": stage, "operator_note": "mended"}
    return lambda world, process: world.operate("dlq/redrive", value, process)


def _pause(world: World, process: Process) -> None:
    world.control("chunk", "pause", process)
    world.chunk(process)
    world.control("chunk", "resume", process)


def _reset(world: World, process: Process) -> None:
    world.operate("orchestrator/reset-stuck", {"idle_seconds": 900}, process)


def _clear(world: World, process: Process) -> None:
    world.operate("orchestrator/clear", {"tenant": "default"}, process)


def operators() -> list[Scenario]:
    """What operators ask for."""

    def scenario(
        handler: str,
        situation: str,
        prepare: Callable[[World], object],
        act: Act,
        expected: dict[str, str],
        **more: Any,
    ) -> Scenario:
        first = {"doc/1": "succeeded"}
        return Scenario(handler, situation, prepare, act, first | expected, is_asked=True, **more)

    second, bad = {"doc/2": "succeeded"}, {"bad/1": "succeeded"}
    skipped, cleared = {"doc/2": "cancelled:SKIPPED"}, {"doc/2": "cancelled:CLEARED"}
    lost, both = second | {"one/1": "succeeded"}, second | bad
    again: Any = {"epochs": {"bad/1": 2}}
    chunk, embed = _redrive("chunk"), _redrive("embed")
    return [
        scenario("skip", "half stored", half_stored, _skip, skipped),
        scenario("clear", "half stored", twice(half_stored), _clear, cleared),
        scenario("pause", "and resume", twice(submitted), _pause, second),
        scenario("reset-stuck", "lost messages", forgotten, _reset, lost, is_lost=True),
        scenario("requeue", "of the chunk stage", refilled, _requeue, bad, **again),
        scenario("requeue", "of the embed stage", mended, _requeue, both, **again),
        scenario("requeue", "of all approved", mended, _requeue_all("embed"), both, **again),
        scenario("redrive", "of the chunk stage", refilled, chunk, bad, **again),
        scenario("redrive", "of the embed stage", mended, embed, both, **again),
        scenario("redrive", "by the backend", with_tasks(mended), embed, both, **again),
    ]


def dead_letters() -> list[Scenario]:
    """What maintenance does about dead letters."""

    def act(world: World, process: Process) -> None:
        world.maintain(process)

    def poisoned(world: World) -> None:
        poisonous(world)
        world.deliver()

    def last_time(world: World) -> None:
        spent(world, put_back=MAX_PUT_BACK)

    both = {"doc/1": "succeeded", "doc/2": "succeeded"}
    failed = {"doc/1": "succeeded", "doc/2": "failed:RECEIVES_SPENT"}
    bad, dlq = {"bad/1": "failed:POISON_CHUNK"}, frozenset({"embed"})
    return [
        Scenario("mirror", "a dead letter with a reason", poisoned, act, both | bad, dlq),
        Scenario("mirror", "receives spent", spent, act, both, may_hold=dlq),
        Scenario("mirror", "receives spent too often", last_time, act, failed, dlq),
    ]


def all_scenarios() -> list[Scenario]:
    """Give every one."""
    return [*asked(), *stages(), *maintenance(), *dead_letters(), *operators()]
