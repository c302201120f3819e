"""The deployed functions as they run here: environments, pollers, schedules, gateway, worker."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from embedpipe.local import variables
from embedpipe.local.emulator import client
from embedpipe.local.environment import Function
from embedpipe.local.event_source import Poller
from embedpipe.local.keeper import Keeper
from embedpipe.local.lambda_api import LambdaApi
from embedpipe.local.pool import Pool
from embedpipe.local.process import Child, Guard
from embedpipe.local.scheduler import Scheduler
from embedpipe.local.server import Server, listen
from embedpipe.local.template import FunctionTemplate, Template
from embedpipe.local.variables import Addresses

API = "api"
# The worker's long poll is also how long its stop may take.
WORKER_WAIT_S = "2"


def concurrency(name: str, cores: int | None = None) -> int:
    """Give how many environments of a function may run on a machine of this size."""
    count = cores or os.cpu_count() or 1
    if name == API:
        return 2 if count < 8 else 4
    return 2 if name == "chunk" and count >= 4 else 1


class Functions:
    """Everything that runs the project's own code.

    Parameters
    ----------
    event_sources
        The file that keeps which event source mappings are switched off.
    """

    def __init__(
        self,
        root: Path,
        template: Template,
        addresses: Addresses,
        *,
        guard: Guard,
        logs: Path,
        event_sources: Path,
    ) -> None:
        self._template = template
        self._addresses = addresses
        self._guard = guard
        self._logs = logs
        self._root = root
        described = template.functions()
        self.pools = {name: self._pool(function) for name, function in described.items()}
        sqs = client("sqs", addresses.endpoint_url)
        self._clocks: list[Poller | Scheduler] = []
        mappings: dict[str, Poller] = {}
        for name, function in described.items():
            pool = self.pools[name]
            pollers = {
                source.uuid: Poller(
                    source,
                    sqs=sqs,
                    queue_url=addresses.queue_urls[source.queue],
                    queue_arn=template.queues[source.queue].arn,
                    function=pool,
                    concurrency=pool.max_concurrency,
                )
                for source in function.event_sources
            }
            mappings |= pollers
            self._clocks += pollers.values()
            self._clocks += [Scheduler(schedule, pool) for schedule in function.schedules]
        self._lambda = Server(
            LambdaApi(mappings, event_sources),
            listen(urlsplit(addresses.lambda_url).port or 0),
            "lambda",
        )

    def start(self) -> None:
        """Start an environment of each function that is needed soon, then poll.

        Raises
        ------
        InvocationError
            A handler cannot be imported.
        """
        soon = [pool for name, pool in self.pools.items() if name != "maintenance"]
        with ThreadPoolExecutor(len(soon), "start") as threads:
            for started in [threads.submit(pool.start) for pool in soon]:
                started.result()
        self._lambda.start()
        for clock in self._clocks:
            clock.start()

    def ask_to_stop(self) -> None:
        """Receive and begin nothing more."""
        for clock in self._clocks:
            clock.ask_to_stop()

    def join(self, timeout_s: float) -> None:
        """Wait for what is in progress, up to a limit."""
        deadline = time.monotonic() + timeout_s
        for clock in self._clocks:
            clock.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End every environment."""
        self._lambda.stop()
        for pool in self.pools.values():
            pool.close()

    def pids(self) -> dict[str, list[int]]:
        """Give the processes of each function."""
        return {name: pool.pids() for name, pool in self.pools.items()}

    def _pool(self, function: FunctionTemplate) -> Pool:
        environment = variables.of_function(function.name, self._addresses, function.environment)
        return Pool(
            Function(
                name=function.name,
                code_directory=self._root / function.code,
                handler=function.handler,
                timeout_s=function.timeout_s,
                memory_mb=function.memory_mb,
                environment=environment,
            ),
            guard=self._guard,
            log=self._logs / f"{function.name}.log",
            max_concurrency=concurrency(function.name),
        )


def worker_variables(addresses: Addresses) -> dict[str, str]:
    """Give what an embed worker of this cloud is told by its environment."""
    return variables.of_function("embed", addresses, {"EMBED_WAIT_S": WORKER_WAIT_S})


class Workers:
    """The embed worker's processes, exactly the container's program."""

    def __init__(
        self, root: Path, addresses: Addresses, ports: list[int], *, guard: Guard, logs: Path
    ) -> None:
        base = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        shared = worker_variables(addresses)
        self.children = [
            Child(
                f"worker-{number}",
                [sys.executable, str(root / "functions" / "embed_gpu" / "app.py")],
                guard=guard,
                log=logs / f"worker-{number}.log",
                environment={
                    **base,
                    **shared,
                    "PYTHONUNBUFFERED": "1",
                    "EMBED_HTTP_PORT": str(port),
                },
                cwd=root,
                grace_s=20.0,
            )
            for number, port in enumerate(ports, start=1)
        ]

    def start(self) -> None:
        """Start them all."""
        for child in self.children:
            child.start()

    def keepers(self) -> list[Keeper]:
        """Give what starts them again when they die."""
        return [Keeper(child, child.start) for child in self.children]

    def ask_to_stop(self) -> None:
        """Let them finish what they hold."""
        for child in self.children:
            child.ask_to_stop()

    def stop(self) -> None:
        """Wait for them, and kill those that do not end."""
        for child in self.children:
            child.stop()
