"""Versions of a function behind its alias, and what Lambda would count of each.

Every environment of the local cloud is put behind an `Alias`, which is what a canary deployment
makes of it: some invocations go to another version. Each is noted, and becomes what AWS publishes:
`Invocations`, `Errors` and `Duration` by function, alias and executed version. An invocation counts
as an error when it raised, timed out, died or could not import its handler.

Source: AWS Lambda Developer Guide, "Types of metrics for Lambda functions" and "Implement Lambda
canary deployments using a weighted alias" (the dimension ExecutedVersion).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from embedpipe.local.environment import Environment, Function
from embedpipe.local.functions import Functions
from embedpipe.local.pool import Pool

from tests.alarms.samples import Metric

NAMESPACE = "AWS/Lambda"
OLD, NEW = "1", "2"
RAISES = """
def lambda_handler(event, context):
    raise RuntimeError("a new version that is broken")
"""

#: A version, milliseconds, and whether it ended in an error.
Invocation = tuple[str, float, bool]


class Alias:
    """An environment that stands for those of two versions."""

    def __init__(self, running: Environment) -> None:
        self._running, self._version = running, NEW
        self._canary: Environment | None = None
        self._number = 0
        self.noted: list[Invocation] = []

    @property
    def pid(self) -> int | None:
        """Process id of what runs."""
        return self._running.pid

    def start(self) -> None:
        """Start what runs."""
        self._running.start()

    def stop(self) -> None:
        """End both."""
        self._running.stop()
        self.take_back()

    def invoke(self, event: Any) -> Any:
        """Invoke either version in turn, and note what became of it."""
        self._number += 1
        environment, version = self._running, self._version
        if self._canary is not None and self._number % 2:
            environment, version = self._canary, self._other()
        began, is_error = time.monotonic(), True
        try:
            answer = environment.invoke(event)
            is_error = False
        finally:
            self.noted.append((version, (time.monotonic() - began) * 1000, is_error))
        return answer

    def release(self, canary: Environment, *, is_new: bool) -> None:
        """Let half of the invocations go to another version, newer or older than what runs."""
        self._version = OLD if is_new else NEW
        self._canary, self._number = canary, 0

    def take_back(self) -> None:
        """Let none go there any more."""
        if self._canary is not None:
            self._canary.stop()
        self._canary = None

    def _other(self) -> str:
        return NEW if self._version == OLD else OLD


class Deployments:
    """The aliases of all functions of a cloud.

    Parameters
    ----------
    scratch
        Where code of broken versions is written.
    make
        Makes an environment of a function, with the cloud's own logs and its guard.
    """

    def __init__(
        self, functions: Functions, scratch: Path, make: Callable[[Function], Environment]
    ) -> None:
        self._pools = functions.pools
        self._scratch = scratch
        self._make = make
        self._aliases = {
            name: list(_put_behind_aliases(pool)) for name, pool in self._pools.items()
        }

    def release_broken(self, name: str, *, is_new: bool = True) -> None:
        """Deploy a version whose handler raises."""
        code = self._scratch / "broken"
        code.mkdir(exist_ok=True)
        (code / "app.py").write_text(RAISES)
        self._release(replace(self._pools[name].function, code_directory=code), is_new=is_new)

    def release_with(self, name: str, variables: Mapping[str, str]) -> None:
        """Deploy a version with other environment variables."""
        function = self._pools[name].function
        self._release(replace(function, environment={**function.environment, **variables}))

    def take_back(self, *names: str) -> None:
        """Give all invocations to what ran before."""
        for name in names or self._aliases:
            for alias in self._aliases[name]:
                alias.take_back()

    def measured(self) -> Iterator[tuple[Metric, list[float]]]:
        """Give what Lambda would have published since this was asked last."""
        for name, aliases in self._aliases.items():
            for alias in aliases:
                noted, alias.noted = alias.noted, []
                for version, milliseconds, is_error in noted:
                    dimension = dimension_of(f"{name.title()}Function", version)
                    yield Metric(NAMESPACE, "Invocations", dimension), [1.0]
                    yield Metric(NAMESPACE, "Errors", dimension), [float(is_error)]
                    yield Metric(NAMESPACE, "Duration", dimension), [milliseconds]

    def _release(self, function: Function, *, is_new: bool = True) -> None:
        for alias in self._aliases[function.name]:
            alias.release(self._make(function), is_new=is_new)


def dimension_of(function: str, version: str) -> str:
    """Give the dimensions of a version's metrics, as `definitions` writes several."""
    return f"ExecutedVersion={version} FunctionName={function} Resource={function}:live"


def _put_behind_aliases(pool: Pool) -> Iterator[Alias]:
    with pool._changed:
        assert pool._changed.wait_for(lambda: len(pool._idle) == len(pool._all), 60)
        made = [Alias(environment) for environment in pool._all]
        pool._all[:] = pool._idle[:] = cast("list[Environment]", made)
    yield from made
