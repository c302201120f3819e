"""The local cloud: what starts after what, what stops before what, and what is started again."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from embedpipe.api.cors import Cors
from embedpipe.local.backing import Backing
from embedpipe.local.directory import DataDirectory
from embedpipe.local.errors import InvocationError, LocalCloudError
from embedpipe.local.functions import API, Functions, Workers, worker_variables
from embedpipe.local.gateway import Gateway
from embedpipe.local.keeper import Keeper
from embedpipe.local.process import Guard
from embedpipe.local.scraped import Scraped
from embedpipe.local.server import Server, listen
from embedpipe.local.template import Template
from embedpipe.local.variables import Addresses

logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 90.0
LOOK_S = 0.5
READY = "/api/v1/embeddings/ready"
CORS = "CORS_ALLOW_ORIGINS"


@dataclass(frozen=True)
class Options:
    """What `embedpipe up` takes."""

    root: Path
    data_dir: Path
    models_dir: Path | None = None
    port: int = 8080
    host: str = "127.0.0.1"
    fresh: bool = False
    endpoint_url: str | None = None
    database_url: str | None = None
    workers: int = 1


class LocalCloud:
    """The whole cloud as child processes of this one.

    One thread starts everything and then looks after it; `stop` may be called at any time from
    another, and leaves nothing running whatever the first one was doing.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._directory = DataDirectory(options.data_dir, options.models_dir)
        self._template = Template.load(options.root / "template.yaml")
        self._cors = _cors(os.environ.get(CORS, ""))
        self._listening = listen(options.port, options.host)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._guard = Guard()
        self._stopping = threading.Event()
        self._backing: Backing | None = None
        self._functions: Functions | None = None
        self._workers: Workers | None = None
        self._server: Server | None = None
        self._told: dict[str, Any] = {}

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Start everything, call back when it serves, and look after it until it is stopped.

        Raises
        ------
        LocalCloudError
            Something does not start. `stop` must be called then, too.
        """
        started = time.monotonic()
        if self._options.fresh:
            self._directory.clear()
        try:
            keepers = self._start()
            self._wait_until_healthy()
        except InvocationError as exc:
            message = f"a function does not start: {exc}"
            raise LocalCloudError(message, f"see {self._directory.logs}") from None
        except Exception:
            # Whatever fails while everything is being ended has failed because of that.
            if self._stopping.is_set():
                return
            raise
        self._tell()
        logger.info("started in %.1f s", time.monotonic() - started)
        on_ready(self.url)
        self._look_after(keepers)

    def stop(self) -> None:
        """Stop gateway, pollers, worker, environments, emulator and PostgreSQL, in this order."""
        self._stopping.set()
        logger.info("stopping")
        if self._server is not None:
            self._server.stop()
        self._listening.close()
        if self._functions is not None:
            self._functions.ask_to_stop()
        if self._workers is not None:
            self._workers.ask_to_stop()
        if self._functions is not None:
            self._functions.join(15.0)
        if self._workers is not None:
            self._workers.stop()
        if self._functions is not None:
            self._functions.close()
        if self._backing is not None:
            self._backing.stop()
        self.end()
        logger.info("stopped")

    def end(self) -> None:
        """End whatever still runs, now."""
        self._stopping.set()
        self._guard.close()
        self._directory.remove_endpoint()

    def _start(self) -> list[Keeper]:
        options, directory = self._options, self._directory
        logger.info("starting in %s", directory.path)
        self._backing = Backing(
            directory,
            self._template,
            guard=self._guard,
            endpoint_url=options.endpoint_url,
            database_url=options.database_url,
            is_reached_by_tcp=not options.workers,
        )
        addresses = self._backing.start()
        ports = [addresses.worker_port] if options.workers else []
        ports += [directory.port(f"worker-{n}") for n in range(2, options.workers + 1)]
        if not options.workers:
            self._invite_worker(addresses)
        self._workers = Workers(
            options.root, addresses, ports, guard=self._guard, logs=directory.logs
        )
        self._workers.start()
        self._functions = Functions(
            options.root,
            self._template,
            addresses,
            guard=self._guard,
            logs=directory.logs,
            event_sources=directory.event_sources,
        )
        # Before anything is printed that counts.
        scraped = Scraped(
            directory.logs,
            {f"worker-{n}": f"http://127.0.0.1:{port}/metrics" for n, port in enumerate(ports, 1)},
        )
        self._functions.start()
        self._server = Server(self._gateway(self._functions, scraped), self._listening)
        self._server.start()
        return [*self._backing.keepers(), *self._workers.keepers()]

    def _gateway(self, functions: Functions, scraped: Scraped) -> Gateway:
        return Gateway(
            functions.pools[API],
            binary_media_types=self._template.binary_media_types(),
            cors=self._cors,
            more_metrics=scraped.text,
        )

    def _invite_worker(self, addresses: Addresses) -> None:
        """Write down what a worker that somebody else starts, such as a container, is told."""
        assert self._backing is not None
        told = worker_variables(addresses)
        if url := self._backing.database_url_by_tcp():
            told["DATABASE_URL"] = url
        self._directory.write_worker_environment(told)

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._stopping.is_set():
            status, said = _get(self.url + READY)
            if status == 200 or (not self._options.workers and _lacks_only_worker(said)):
                return
            if time.monotonic() > deadline:
                message = f"the API is not healthy after {READY_TIMEOUT_S:g} s: {said[:500]}"
                raise LocalCloudError(message, f"see {self._directory.logs}")
            self._stopping.wait(0.1)

    def _look_after(self, keepers: list[Keeper]) -> None:
        while not self._stopping.wait(LOOK_S):
            for keeper in keepers:
                try:
                    said = keeper.look()
                except LocalCloudError as exc:
                    said = exc.message
                if said and not self._stopping.is_set():
                    logger.warning("%s", said)
            self._tell()

    def _tell(self) -> None:
        """Write where we are for the command line, when it has changed."""
        assert self._backing is not None and self._functions is not None
        assert self._workers is not None
        backing = self._backing
        pids: dict[str, Any] = {
            "postgres": backing.postgres.child.pid
            if backing.postgres and backing.postgres.child
            else None,
            "emulator": backing.emulator.child.pid if backing.emulator else None,
            "workers": [child.pid for child in self._workers.children],
            "functions": self._functions.pids(),
        }
        told = {"url": self.url, "pid": os.getpid(), "pids": pids, **backing.describe()}
        if told != self._told and not self._stopping.is_set():
            self._directory.write_endpoint(told)
            self._told = told


def _get(url: str) -> tuple[int, str]:
    try:
        # No proxy of the environment: it is on loopback.
        answer = httpx.get(url, timeout=10, trust_env=False)
    except httpx.HTTPError as exc:
        return 0, type(exc).__name__
    return answer.status_code, "" if answer.is_success else answer.text


def _cors(text: str) -> Cors:
    try:
        return Cors.of(text)
    except ValueError as exc:
        raise LocalCloudError(f"{CORS}: {exc}", "see docs/settings.md") from None


def _lacks_only_worker(said: str) -> bool:
    try:
        checks = json.loads(said)["checks"]
    except (ValueError, KeyError, TypeError):
        return False
    return all(check["ok"] for name, check in checks.items() if name != "query_embedder")
