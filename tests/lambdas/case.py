"""What an event comes into, what it must be answered with, and what it must change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lambdas.world import World
from tests.sqs_events import event

API, CHUNK, STORE, MAINTENANCE = "api", "chunk", "store", "maintenance"
#: No Lambda: a program that receives from its queues, so its events are sent there.
EMBED = "embed"

Step = Callable[[World], object]


def _nothing(_: World) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """An event, the world that it comes into, and what is to come of it.

    Attributes
    ----------
    answer
        What must be in the answer: fields may be left out, `...` stands for any value, and lists
        have the same length. Of an HTTP answer: `status`, and `body` as JSON.
    effect
        Asserts what has changed.
    is_alone
        Whether the execution environment is its own: one remembers for seconds what its stage is
        let do.
    """

    event: str
    function: str
    answer: Mapping[str, Any] = field(default_factory=dict)
    prepare: Step = _nothing
    effect: Step = _nothing
    about: str = ""
    is_alone: bool = False

    def __str__(self) -> str:
        return f"{self.event}, {self.about}" if self.about else self.event


#: Gives what the function of a case answers to its event.
Invoke = Callable[[Case], Any]


def run(case: Case, world: World, invoke: Invoke) -> Any:
    """Bring a case about; give the answer. Raises AssertionError when it is not as expected."""
    world.reset()
    case.prepare(world)
    if case.function == EMBED:
        world.send("EmbedQueue", event(case.event)["Records"])
        answer: Any = {}
    else:
        answer = readable(invoke(case))
    check(case.answer, answer)
    case.effect(world)
    return answer


def readable(answer: Any) -> Any:
    """Give an answer for API Gateway as status and JSON; any other as it is."""
    if isinstance(answer, dict) and "statusCode" in answer:
        return {"status": answer["statusCode"], "body": json.loads(answer["body"])}
    return answer


def check(expected: Any, given: Any, path: str = "answer") -> None:
    """Assert that everything expected is there."""
    if expected is ...:
        return
    if isinstance(expected, Mapping):
        assert isinstance(given, dict), f"{path} is {given!r}"
        for key, value in expected.items():
            assert key in given, f"{path} has no {key}: {given!r}"
            check(value, given[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert isinstance(given, list), f"{path} is {given!r}"
        assert len(given) == len(expected), f"{path} has {len(given)} items: {given!r}"
        for number, (one, other) in enumerate(zip(expected, given, strict=True)):
            check(one, other, f"{path}[{number}]")
    else:
        assert given == expected, f"{path} is {given!r}, not {expected!r}"
