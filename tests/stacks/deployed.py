"""The real template, built by `sam build` and deployed by `sam deploy` to an emulator of AWS.

What no emulator has stands beside the stack as a process: PostgreSQL, which the template takes as
`DatabaseHost`, and the embed task, with the environment that its task definition would give it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
from embedpipe.local import databases
from embedpipe.local.backing import prepare_model
from embedpipe.local.postgres import Postgres
from embedpipe.local.process import Child, Guard

from tests.e2e.client import Client, wait_until
from tests.ministack import free_port
from tests.stacks.stack import ROOT, Stack

INHERITED = ("PATH", "HOME", "LANG", "PYTHONPATH")
#: The first request unpacks the layer and imports it, on a machine that does much else.
READY_TIMEOUT_S = 300.0


class DeployedStack(Stack):
    """One stack on an emulator, with a database and an embed task of its own.

    Parameters
    ----------
    endpoint_url
        Where the emulator answers.
    directory
        Where logs and the database go.
    scratch
        Where the emulator unpacks and runs functions.
    choices
        Parameters of the template beside those that an emulator needs.
    after_deploy
        What the emulator needs before anything is asked of the stack.
    """

    def __init__(
        self,
        endpoint_url: str,
        directory: Path,
        models: Path,
        *,
        scratch: Path,
        choices: Mapping[str, str] | None = None,
        after_deploy: Callable[[Stack], None] | None = None,
    ) -> None:
        super().__init__(endpoint_url, directory)
        self.scratch = scratch
        self._choices = choices or {}
        self._after_deploy = after_deploy
        self._models = models
        self._guard = Guard()
        self._database_port, self._worker_port = free_port(), free_port()
        self._postgres = Postgres(
            directory / "postgres",
            guard=self._guard,
            log=directory / "postgres.log",
            tcp_port=self._database_port,
        )
        self._worker: Child | None = None

    def start(self) -> None:
        """Deploy it and everything beside it; wait until it is healthy."""
        with ThreadPoolExecutor(2) as threads:
            database = threads.submit(self._start_database)
            self._deploy()
            database.result()
        if self._after_deploy is not None:
            self._after_deploy(self)
        self._let_roles_in()
        self._upload_models()
        self._start_worker()
        self._warm_up()

    def _warm_up(self) -> None:
        """Wait until every function has run: the first of each unpacks and imports the layer."""
        with self.client() as client:
            wait_until(
                lambda: self._is_healthy(client),
                what="the deployed API is healthy",
                timeout_s=READY_TIMEOUT_S,
                pause_s=0.5,
            )
            job = client.submit("default", "Whatever comes first takes its time.")
            finished = client.finished(job["job_id"], READY_TIMEOUT_S)
            assert finished["status"] == "succeeded", finished

    def _is_healthy(self, client: Client) -> bool:
        assert self._worker is not None
        log = self.directory / "worker.log"
        assert self._worker.is_running, f"the embed task ended:\n{log.read_text()[-2000:]}"
        with contextlib.suppress(httpx.TransportError):
            return client.is_healthy()
        return False

    def stop(self) -> None:
        """Stop what stands beside the stack."""
        if self._worker is not None:
            self._worker.stop()
        self._postgres.stop()
        self._guard.close()

    def libraries(self, name: str) -> set[Path]:
        """Give the files of a compiled library that running functions have loaded."""
        found = set()
        for process in psutil.process_iter():
            # Others' processes are not ours to look at, and some end meanwhile.
            with contextlib.suppress(psutil.Error, OSError):
                if Path(process.cwd()).is_relative_to(self.scratch):
                    found |= {Path(mapped.path) for mapped in process.memory_maps()}
        return {path for path in found if name in path.name}

    def rows(self, query: bytes) -> list[tuple[Any, ...]]:
        """Ask its database, as the owner."""
        import psycopg

        with psycopg.connect(self._postgres.url("postgres")) as connection:
            return connection.execute(query).fetchall()

    def _start_database(self) -> None:
        self._postgres.prepare()
        self._postgres.start()
        databases.migrate(self._postgres.url("postgres"))
        model = prepare_model(self._models)
        databases.prepare_tenant(self._postgres.url(databases.MAINTENANCE_ROLE), model)

    def _deploy(self) -> None:
        parameters = {
            "PythonRuntime": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "DatabaseHost": "127.0.0.1",
            "DatabasePort": str(self._database_port),
            "DatabaseSslMode": "prefer",
            "QueryEmbedderUrl": f"http://127.0.0.1:{self._worker_port}",
            # Each execution environment unpacks the whole layer.
            "ChunkMaximumConcurrency": "2",
            "StoreMaximumConcurrency": "2",
            **self._choices,
        }
        self.deploy(parameters)

    def _let_roles_in(self) -> None:
        owner = self._postgres.url("postgres")
        for name in ("AppDatabaseSecret", "MaintenanceDatabaseSecret"):
            secret = json.loads(self.secret(name))
            databases.set_password(owner, secret["username"], secret["password"])

    def _upload_models(self) -> None:
        s3 = self.aws("s3")
        bucket = self.resources["ContentBucket"]
        for path in sorted(self._models.rglob("*")):
            key = path.relative_to(self._models)
            if path.is_file() and not any(part.startswith(".") for part in key.parts):
                s3.upload_file(str(path), bucket, f"models/{key.as_posix()}")

    def _start_worker(self) -> None:
        self._worker = Child(
            "worker",
            [sys.executable, str(ROOT / "functions" / "embed_gpu" / "app.py")],
            guard=self._guard,
            log=self.directory / "worker.log",
            environment={
                **{name: os.environ[name] for name in INHERITED if name in os.environ},
                **self.task_environment(),
                **self.beside_aws(),
                "EMBED_PROVIDER": "cpu",
                "EMBED_HTTP_HOST": "127.0.0.1",
                "EMBED_HTTP_PORT": str(self._worker_port),
                "EMBED_TUNE_S": "0",
                "MODELS_DIR": str(self.directory / "models"),
            },
            cwd=ROOT,
            grace_s=30.0,
        )
        self._worker.start()
