"""What is counted of versions behind an alias; `make alarms` has real ones."""

from __future__ import annotations

from typing import Any, cast

import pytest
from embedpipe.local.environment import Environment
from embedpipe.local.errors import InvocationError

from tests.alarms.versions import NEW, OLD, Alias


class Version:
    """An environment that answers with its name, or fails."""

    def __init__(self, name: str, *, is_broken: bool = False) -> None:
        self.name, self.is_broken, self.is_stopped = name, is_broken, False
        self.pid = 1

    def invoke(self, _event: Any) -> str:
        if self.is_broken:
            raise InvocationError("RuntimeError", "broken")
        return self.name

    def stop(self) -> None:
        self.is_stopped = True

    def as_environment(self) -> Environment:
        return cast("Environment", self)


def invoked(alias: Alias, times: int) -> list[str]:
    """Give what became of so many invocations."""
    found = []
    for _ in range(times):
        try:
            found.append(alias.invoke({}))
        except InvocationError as error:
            found.append(error.error_type)
    return found


@pytest.mark.parametrize(
    ("is_new", "canary", "running"), [(True, NEW, OLD), (False, OLD, NEW)], ids=["new", "old"]
)
def test_every_second_invocation_is_the_canary_s_and_is_counted_as_its(
    is_new: bool, canary: str, running: str
) -> None:
    alias = Alias(Version("sound").as_environment())
    broken = Version("broken", is_broken=True)
    alias.release(broken.as_environment(), is_new=is_new)

    answers = invoked(alias, 4)
    alias.take_back()
    answers += invoked(alias, 2)

    assert answers == ["RuntimeError", "sound", "RuntimeError", "sound", "sound", "sound"]
    assert [(version, is_error) for version, _, is_error in alias.noted] == [
        (canary, True),
        (running, False),
        (canary, True),
        (running, False),
        (running, False),
        (running, False),
    ]
    assert broken.is_stopped


def test_without_a_deployment_all_is_counted_as_the_newest_version_s() -> None:
    alias = Alias(Version("sound").as_environment())

    invoked(alias, 2)

    assert [(version, is_error) for version, _, is_error in alias.noted] == [(NEW, False)] * 2
    assert all(milliseconds >= 0 for _, milliseconds, _ in alias.noted)
