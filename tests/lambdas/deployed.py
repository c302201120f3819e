"""The functions of the template, each under a Lambda runtime of its own, from the checkout.

The layout is the source's: a function's folder is its task root, `layers/pipeline` is the layer's
folder, and what the layer needs comes from the environment of the tests. `make sam-local` runs what
`sam build` makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from embedpipe.local.process import Guard

from tests.lambdas.case import Case
from tests.lambdas.rie import COLD_START, Deployed, Runtime, the_emulator
from tests.lambdas.world import ROOT, World
from tests.sqs_events import event

LAYER = ROOT / "layers" / "pipeline"
#: Where everything is tested at once, on two cores, a start takes many times what it takes alone.
PATIENCE = 4


class Functions:
    """Lambda runtimes by function; each starts when it is first needed."""

    def __init__(self, world: World, logs: Path, guard: Guard) -> None:
        self._world = world
        self._logs = logs
        self._guard = guard
        self._program = the_emulator()
        self._runtimes: dict[str, Runtime] = {}

    @classmethod
    @contextmanager
    def of(cls, world: World, logs: Path) -> Iterator[Self]:
        """Give the functions in this world; end their processes at the end."""
        guard = Guard()
        functions = cls(world, logs, guard)
        try:
            yield functions
        finally:
            for runtime in functions._runtimes.values():
                runtime.stop()
            guard.close()

    def invoke(self, case: Case) -> Any:
        """Invoke the function of a case with its event. Raises FunctionError."""
        if case.is_alone:
            self._end(case.function)
        try:
            return self._runtime(case.function).invoke(event(case.event))
        finally:
            if case.is_alone:
                self._end(case.function)

    def cold_start_ms(self, function: str) -> float | None:
        """Give what its last start took, as the emulator reports it; None before the first."""
        log = self._log(function)
        found = COLD_START.findall(log.read_text(errors="replace")) if log.exists() else []
        return float(found[-1]) if found else None

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _end(self, name: str) -> None:
        if runtime := self._runtimes.pop(name, None):
            runtime.stop()

    def _runtime(self, name: str) -> Runtime:
        if name not in self._runtimes:
            described = self._world.functions()[name]
            deployed = Deployed(
                name=name,
                code=ROOT / described.code,
                handler=described.handler,
                timeout_s=described.timeout_s * PATIENCE,
                memory_mb=described.memory_mb,
                path=(LAYER,),
                environment=self._world.variables(name),
            )
            runtime = Runtime(self._program, deployed, guard=self._guard, log=self._log(name))
            runtime.start()
            self._runtimes[name] = runtime
        return self._runtimes[name]
