"""`embedpipe up`: the whole cloud on this machine, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from embedpipe.cli import output
from embedpipe.cli.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    from embedpipe.local.cloud import Options

STOP_TIMEOUT_S = 90.0


Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 takes any.")]
Host = Annotated[
    str,
    typer.Option(
        help="IPv4 address of the API. In a container, 0.0.0.0 lets published ports reach it."
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Remove what was stored before. Models are kept.")
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        help="SQS and S3 that run elsewhere, such as LocalStack.", envvar="AWS_ENDPOINT_URL"
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="PostgreSQL with pgvector that runs elsewhere, as its owner.", envvar="DATABASE_URL"
    ),
]
ModelsDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of models. Default: models in the data directory.", envvar="MODELS_DIR"
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=0,
        max=16,
        help="Embed workers. With 0, start your own, such as the container: its environment is in "
        "embed.env in the data directory.",
    ),
]
Project = Annotated[
    Path | None, typer.Option(help="Root of the checkout, if it is not found by itself.")
]


def up_command(
    port: Port = 8080,
    host: Host = "127.0.0.1",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    fresh: Fresh = False,
    endpoint_url: EndpointUrl = None,
    database_url: DatabaseUrl = None,
    models_dir: ModelsDir = None,
    workers: Workers = 1,
    project: Project = None,
) -> None:
    """Start the whole cloud: API, queues, functions, embed worker, database. No Docker.

    Prints one line, `ready URL`, once it serves; Ctrl-C stops everything in order. What was
    stored stays in the data directory.
    """
    from embedpipe.local import project as projects
    from embedpipe.local.cloud import Options
    from embedpipe.local.directory import DataDirectory

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    options = Options(
        root=projects.find(project),
        data_dir=data_dir,
        models_dir=models_dir,
        port=port,
        host=host,
        fresh=fresh,
        endpoint_url=endpoint_url,
        database_url=database_url,
        workers=workers,
    )
    with DataDirectory(data_dir).lock():
        code = run(options)
    if code:
        raise typer.Exit(code)


def run(options: Options) -> int:
    """Run the cloud until a signal comes or it fails; give the exit code."""
    from embedpipe.local.cloud import LocalCloud
    from embedpipe.local.errors import LocalCloudError

    stop = threading.Event()
    failures: list[BaseException] = []
    cloud = LocalCloud(options)

    def work() -> None:
        try:
            cloud.run(lambda url: typer.echo(f"ready {url}"))
        except LocalCloudError as exc:
            failures.append(exc)
        finally:
            stop.set()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            # Asked twice: in order takes too long for somebody.
            cloud.end()
            os._exit(output.EXIT_INTERRUPTED)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    worker = threading.Thread(target=work, name="cloud", daemon=True)
    worker.start()
    stop.wait()
    _stop_within(cloud.stop, cloud.end, STOP_TIMEOUT_S)
    worker.join(5.0)
    for failure in failures:
        hint = getattr(failure, "hint", "")
        typer.echo(f"error: {failure}" + (f"; {hint}" if hint else ""), err=True)
    if worker.is_alive():
        # It waits for something outside, a download perhaps; nothing of ours runs any more.
        sys.stdout.flush()
        os._exit(output.EXIT_FAILED if failures else 0)
    return output.EXIT_FAILED if failures else 0


def _stop_within(stop: Callable[[], None], end: Callable[[], None], timeout_s: float) -> None:
    """Stop in order; end what is left when that takes too long."""
    stopping = threading.Thread(target=stop, name="stop", daemon=True)
    stopping.start()
    deadline = time.monotonic() + timeout_s
    while stopping.is_alive() and time.monotonic() < deadline:
        # A short wait, so that this thread sees a second signal.
        stopping.join(0.2)
    if stopping.is_alive():
        end()
