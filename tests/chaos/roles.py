"""What a forked child becomes: a Lambda execution environment, or the embed worker.

Both run the deployed entry points with the deployed wiring. What is not deployed: the model of the
worker, and a sender that sends some messages again, as SQS may deliver any message twice.
"""

from __future__ import annotations

import os
import random
import runpy
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import embedpipe.bootstrap as bootstrap
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.local import frames, runtime

from tests.chaos.embedder import ChaosEmbedder, ChaosEmbedders

#: How many of ten thousand messages are sent again at once, and how many late.
SOON, LATE = 1_200, 800
_LATEST_S = 25

_state: dict[str, Any] = {}


def prepare(events: str) -> None:
    """Do once, in the zygote, what every child would do again: opens nothing but a file."""
    _state["events"] = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _keep_what_is_read()


def _keep_what_is_read() -> None:
    """Read the descriptions of AWS's services once: it takes a tenth of a second, each time."""
    loaders: Any = botocore.loaders
    loaders.JSONFileLoader.load_file = _kept(loaders.JSONFileLoader.load_file)
    loaders.Loader.list_available_services = _kept(loaders.Loader.list_available_services)
    session = boto3.Session("nobody", "nothing", region_name="us-east-1")
    for service in ("sqs", "s3", "lambda"):
        make: Any = session.client
        make(service, endpoint_url="http://127.0.0.1:9")


def _kept(method: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def reading(self: object, *arguments: Any, **named: Any) -> Any:
        key = (arguments, tuple(named.items()))
        if key not in known:
            known[key] = method(self, *arguments, **named)
        return known[key]

    return reading


def run(asked: Mapping[str, Any], fds: list[int]) -> int:
    """Be what is asked for, to the end."""
    _send_again()
    if asked["role"] == "worker":
        return _worker(asked)
    return _function(asked, fds[0])


def note(kind: str, *counts: int) -> None:
    """Write down what happened, in one write, so that no line is ever half there."""
    line = " ".join((kind, *map(str, counts)))
    os.write(_state["events"], f"{line}\n".encode())


def _function(asked: Mapping[str, Any], descriptor: int) -> int:
    with socket.socket(fileno=descriptor) as sock:
        handler = runtime.load(Path(asked["cwd"]), asked["handler"])
        frames.send(sock, {"ready": True})
        runtime.serve(sock, handler)
    return 0


def _worker(asked: Mapping[str, Any]) -> int:
    wired = bootstrap.embed

    def with_our_model() -> bootstrap.EmbedServices:
        services = wired()
        model = services.models.get(services.settings.default_model_id)
        embedder = ChaosEmbedder(model, lambda count: note("pass", count), asked["slow_s"])
        return replace(services, embedders=ChaosEmbedders(embedder))

    setattr(bootstrap, "embed", with_our_model)  # noqa: B010 - it is a function, not ours to type
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        runpy.run_path(asked["program"], run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _send_again() -> None:
    """Send some messages twice, at once or late, whatever stage sends them."""
    send = SqsQueue._send_batch

    def sending(self: SqsQueue, batch: Any) -> set[str]:
        accepted = send(self, batch)
        again = [message for message in batch if message.key in accepted]
        note("sent", len(again), sum(_again(self, message) for message in again))
        return accepted

    setattr(SqsQueue, "_send_batch", sending)  # noqa: B010


def _again(queue: SqsQueue, message: Any) -> int:
    drawn = random.randrange(10_000)
    if drawn >= SOON + LATE:
        return 0
    delay: Any = {"DelaySeconds": random.randint(1, _LATEST_S)} if drawn < LATE else {}
    try:
        queue._get().send_message(
            QueueUrl=queue._url,
            MessageBody=message.body,
            MessageGroupId=message.group_id or "again",
            **delay,
        )
    # The network may be down: then there is no second message.
    except Exception:  # noqa: BLE001
        return 0
    return 1
