"""What the functions need before the first of them starts: database, queues, bucket, model."""

from __future__ import annotations

import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedpipe.errors import ModelFilesError
from embedpipe.local import databases, emulator
from embedpipe.local.directory import DataDirectory
from embedpipe.local.emulator import Emulator
from embedpipe.local.errors import LocalCloudError
from embedpipe.local.keeper import Keeper
from embedpipe.local.postgres import Postgres
from embedpipe.local.process import Guard
from embedpipe.local.template import Template
from embedpipe.local.variables import Addresses

if TYPE_CHECKING:
    from embedpipe.ports import ModelInfo

logger = logging.getLogger(__name__)

BUCKET = "embedpipe-content"


class Backing:
    """Starts, restarts and stops PostgreSQL and the emulator, and prepares the model.

    Parameters
    ----------
    endpoint_url, database_url
        Where they run already; None starts our own.
    is_reached_by_tcp
        Whether our own PostgreSQL is to take connections over loopback, too.
    """

    def __init__(
        self,
        directory: DataDirectory,
        template: Template,
        *,
        guard: Guard,
        endpoint_url: str | None = None,
        database_url: str | None = None,
        is_reached_by_tcp: bool = False,
    ) -> None:
        self._directory = directory
        self._template = template
        self._database_url = database_url
        self._endpoint_url = endpoint_url
        self._queue_urls: dict[str, str] = {}
        logs = directory.logs
        self.postgres = (
            None
            if database_url
            else Postgres(
                directory.postgres,
                guard=guard,
                log=logs / "postgres.log",
                tcp_port=directory.port("postgres") if is_reached_by_tcp else None,
            )
        )
        self.emulator = (
            None
            if endpoint_url
            else Emulator(
                directory.emulator,
                directory.port("emulator"),
                guard=guard,
                log=logs / "emulator.log",
            )
        )

    def start(self) -> Addresses:
        """Start everything at once; give where it is.

        Raises
        ------
        LocalCloudError
            Something does not start.
        """
        with ThreadPoolExecutor(3, "backing") as threads:
            model = threads.submit(prepare_model, self._directory.models)
            queues = threads.submit(self._start_emulator)
            roles = threads.submit(self._start_postgres)
            queues.result()
            databases.prepare_tenant(roles.result()["maintenance"], model.result())
        worker_port = self._directory.port("worker")
        return Addresses(
            endpoint_url=self._emulator_url(),
            queue_urls=self._queue_urls,
            bucket=BUCKET,
            database_url=roles.result()["app"],
            maintenance_url=roles.result()["maintenance"],
            models_dir=str(self._directory.models),
            worker_url=f"http://127.0.0.1:{worker_port}",
            worker_port=worker_port,
            worker_token=secrets.token_urlsafe(32),
            api_key=self._directory.api_key(),
            dlq_key=self._directory.dlq_key(),
            lambda_url=f"http://127.0.0.1:{self._directory.port('lambda')}",
            event_source_ids=self._template.event_source_ids(),
        )

    def database_url_by_tcp(self) -> str | None:
        """Give the URL of our own PostgreSQL for a worker that cannot reach its socket."""
        if self.postgres is None:
            return None
        secret = self._directory.password(databases.APP_ROLE)
        databases.set_password(self.postgres.url("postgres"), databases.APP_ROLE, secret)
        return self.postgres.tcp_url(databases.APP_ROLE, secret)

    def keepers(self) -> list[Keeper]:
        """Give what starts them again when they die."""
        keepers = []
        if self.postgres is not None and self.postgres.child is not None:
            keepers.append(Keeper(self.postgres.child, self.postgres.start))
        if self.emulator is not None:
            # It forgets what it held since its last graceful stop: maintenance starts the jobs
            # whose messages those were again, after RESCUE_IDLE_S.
            keepers.append(Keeper(self.emulator.child, self._start_emulator))
        return keepers

    def describe(self) -> dict[str, Any]:
        """Say where queues and database are, for the command line and the tests."""
        return {
            "endpoint_url": self._emulator_url(),
            "queues": self._queue_urls,
            "bucket": BUCKET,
            "database": "external" if self.postgres is None else self.postgres.url("postgres"),
        }

    def stop(self) -> None:
        """Stop the emulator, which saves its state, then PostgreSQL."""
        if self.emulator is not None:
            self.emulator.child.stop()
        if self.postgres is not None:
            self.postgres.stop()

    def _emulator_url(self) -> str:
        return self._endpoint_url or (self.emulator.url if self.emulator else "")

    def _start_emulator(self) -> None:
        child = None
        if self.emulator is not None:
            self.emulator.start()
            child = self.emulator.child
        url = self._emulator_url()
        sqs = emulator.wait_for_sqs(url, child)
        self._queue_urls = emulator.create_queues(sqs, self._template)
        emulator.create_bucket(url, BUCKET)
        logger.info("queues and bucket are ready at %s", url)

    def _start_postgres(self) -> dict[str, str]:
        if self.postgres is not None:
            self.postgres.prepare()
            self.postgres.start()
            owner = self.postgres.url("postgres")
            roles = databases.by_socket(self.postgres.url)
        else:
            assert self._database_url is not None
            owner = self._database_url
        databases.migrate(owner)
        if self.postgres is None:
            roles = databases.with_passwords(owner, self._directory.password)
        logger.info("the database is ready")
        return roles


def prepare_model(models_dir: Path) -> ModelInfo:
    """Make the default model's directory if it is missing.

    Raises
    ------
    LocalCloudError
        It cannot be made.
    """
    from embedpipe.models.prepare import prepare

    if not any(models_dir.glob("*/embedpipe.yaml")):
        logger.info("preparing the model; this happens once")
    try:
        return prepare(models_dir)
    except (ModelFilesError, OSError) as exc:
        raise LocalCloudError(f"the model cannot be prepared: {exc}") from exc
