"""The functions of the template, each under a Lambda runtime of its own.

Either from the checkout: a function's folder is its task root, `layers/pipeline` that of the layer,
and what the layer needs comes from the environment of the tests. Or what `sam build` made: its
folders are all that there is, beside Python itself and the runtime client.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

from embedpipe.local.process import Guard
from embedpipe.local.template import FunctionTemplate

from tests.lambdas.case import Case
from tests.lambdas.rie import COLD_START, Deployed, Runtime, the_emulator
from tests.lambdas.world import ROOT, World
from tests.sqs_events import event

BUILT = ROOT / ".aws-sam" / "build"
#: The packages that Lambda has in /var/runtime, as far as they are needed.
RUNTIME_CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
#: Where everything is tested at once, on two cores, a start takes many times what it takes alone.
PATIENCE = 4


@dataclass(frozen=True)
class Layout:
    """Where the code of functions is, and what runs it."""

    code: Callable[[FunctionTemplate], Path]
    path: tuple[Path, ...]
    python: tuple[str, ...] = (sys.executable,)


SOURCE = Layout(lambda function: ROOT / function.code, (ROOT / "layers" / "pipeline",))


def built(scratch: Path) -> Layout:
    """Give the layout that `sam build` made, without any site-packages."""
    layer = BUILT / "PipelineLayer" / "python"
    if not layer.is_dir():
        raise FileNotFoundError(f"{layer} is missing: `make build` makes it")
    client = scratch / "runtime"
    client.mkdir()
    for name in RUNTIME_CLIENT:
        for file in distribution(name).files or ():
            top = file.parts[0]
            if not (client / top).exists() and ".dist-info" not in top and top != "..":
                (client / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    return Layout(
        lambda function: BUILT / function.logical_id, (layer, client), (sys.executable, "-S", "-B")
    )


class Functions:
    """Lambda runtimes by function; each starts when it is first needed."""

    def __init__(self, world: World, layout: Layout, logs: Path, guard: Guard) -> None:
        self._world = world
        self._layout = layout
        self._logs = logs
        self._guard = guard
        self._program = the_emulator()
        self._runtimes: dict[str, Runtime] = {}

    @classmethod
    @contextmanager
    def of(cls, world: World, logs: Path, layout: Layout = SOURCE) -> Iterator[Self]:
        """Give the functions in this world; end their processes at the end."""
        guard = Guard()
        functions = cls(world, layout, logs, guard)
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

    def _variables(self, name: str) -> dict[str, str]:
        """Give what is set for it; its models come from the bucket, as on AWS."""
        variables = self._world.variables(name)
        if "MODELS_DIR" in variables:
            # An execution environment has a /tmp of its own, with nothing in it.
            variables["MODELS_DIR"] = mkdtemp(prefix=f"models-{name}-", dir=self._logs)
            variables["MODELS_URI"] = self._world.models_uri
        return variables

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
                code=self._layout.code(described),
                handler=described.handler,
                timeout_s=described.timeout_s * PATIENCE,
                memory_mb=described.memory_mb,
                path=self._layout.path,
                python=self._layout.python,
                environment=self._variables(name),
            )
            runtime = Runtime(self._program, deployed, guard=self._guard, log=self._log(name))
            runtime.start()
            self._runtimes[name] = runtime
        return self._runtimes[name]
